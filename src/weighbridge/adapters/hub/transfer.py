"""How large files travel: by Xet, or by the older LFS protocol.

Decides per push. The client never negotiates: it asks for a Xet token and fails on servers that
have none. Whether it does is one of its constants, which it reads at each upload.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from weighbridge.adapters.hub.metering import batches_tell, interrupts_reach, xet_tells
from weighbridge.domain.errors import Unsupported

if TYPE_CHECKING:
    from weighbridge.adapters.hub.content import Addition
    from weighbridge.adapters.hub.remote import Remote

Transfer = Literal["auto", "xet", "lfs"]

#: The constant belongs to the process, so pushes of one process take turns.
_one_at_a_time = threading.RLock()


@contextmanager
def chosen_transfer(
    remote: Remote, additions: Sequence[Addition], transfer: Transfer
) -> Iterator[None]:
    """Make the client use the right protocol within the context, and read each file once.

    Raises ArtifactChanged if a file has another size than was planned.
    """
    from huggingface_hub import constants

    with _one_at_a_time:
        before = constants.HF_HUB_DISABLE_XET
        # Whoever switched Xet off in the environment keeps it off, unless asking for it here.
        mode = "lfs" if before and transfer == "auto" else transfer
        xet = _wants_xet(remote, additions, mode)
        constants.HF_HUB_DISABLE_XET = not xet
        try:
            if not xet:  # Xet hashes as it reads; what it is told it would not look at.
                for each in additions:
                    each.announce()
            with ExitStack() as around:
                if additions and xet:
                    around.enter_context(xet_tells(additions[0].meter))
                elif additions:
                    around.enter_context(batches_tell(additions[0].meter))
                    around.enter_context(interrupts_reach(additions[0].meter))
                yield
        finally:
            constants.HF_HUB_DISABLE_XET = before


def _wants_xet(remote: Remote, additions: Sequence[Addition], transfer: Transfer) -> bool:
    # A stream among the files makes the client use LFS for all of them, with a warning.
    if transfer == "lfs" or not additions or any(a.is_stream for a in additions):
        return False
    lacking = _lacking(remote)
    if transfer == "xet" and lacking:
        raise Unsupported(
            destination=str(remote.repo),
            reason=f"{lacking}. Nothing was uploaded; set WEIGHBRIDGE_TRANSFER to lfs, or to auto",
        )
    return not lacking


def _lacking(remote: Remote) -> str:
    """What Xet would need, '' if nothing. The client itself would fail with a bare
    ``ConnectionError``, or take the other protocol in silence."""
    if find_spec("hf_xet") is None:
        return "the package hf-xet is not installed"
    return "" if remote.has_xet() else "this server has no Xet"

"""How large files travel: by Xet, or by the older LFS protocol.

Decides per push. The client never negotiates: it asks for a Xet token and fails on servers that
have none. Whether it does is one of its constants, which it reads at each upload.
"""

from __future__ import annotations

import math
import os
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
#: What Xet holds in memory grows with the files that it takes in at once, by 64 MB and more each,
#: and with the blocks on their way, which are as large. One file at a time already fills any line:
#: 2 GB in 5 files took 1034 MB with Xet's own 8, and 567 MB so; more bytes take no more.
_XET_BOUNDS = {
    "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "1",
    "HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "4",
}
#: Its own are 5, each after three times as long a pause: five minutes for an answer of 503.
_ATTEMPTS = "3"
_FASTER = ("HF_XET_HIGH_PERFORMANCE", "HF_XET_HP")

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
                    around.enter_context(_bounded(remote.patience.at_work))
                    around.enter_context(xet_tells(additions[0].meter))
                elif additions:
                    around.enter_context(batches_tell(additions[0].meter))
                    around.enter_context(interrupts_reach(additions[0].meter))
                yield
        finally:
            constants.HF_HUB_DISABLE_XET = before


@contextmanager
def _bounded(silent: float) -> Iterator[None]:
    """Xet reads its environment when it is first used; ``silent`` is how many seconds a server may
    be. What somebody set there stays."""
    bounds = {
        "HF_XET_CLIENT_READ_TIMEOUT": f"{math.ceil(silent)}s",
        "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": _ATTEMPTS,
    }
    if not any(os.environ.get(name) for name in _FASTER):
        bounds |= _XET_BOUNDS
    ours = {name: bound for name, bound in bounds.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


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

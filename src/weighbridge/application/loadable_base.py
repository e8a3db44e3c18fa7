"""A base that both stacks load: itself, or the dequantised checkpoint of one that MLX packed.

A LoRA that was trained on a 4-bit base is proved on that base's own weights, unpacked: there both
stacks compute one function, and what differs is the conversion. How far the full-precision base is
from that is another question, and not the conversion's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from weighbridge.application.ports import FileSystem, Progress, ProofRequest

if TYPE_CHECKING:
    from weighbridge.application.dequantise import Dequantise


@frozen
class LoadableBase:
    """Makes the base of a proof loadable by transformers, for as long as the proof takes.

    ``dequantise`` makes the use case, which most publications need not import.
    """

    files: FileSystem
    dequantise: Callable[[], Dequantise]

    @contextmanager
    def __call__(self, request: ProofRequest, progress: Progress) -> Iterator[ProofRequest]:
        """The request with such a base. Raises NotConvertible if it cannot be unpacked exactly."""
        if request.base is None or not request.known.mlx_format:
            yield request
            return
        from weighbridge.application.dequantise import DequantiseRequest

        with self.files.stage(None) as scratch:
            unpacked = f"{scratch.root}/base"
            self.dequantise()(DequantiseRequest(request.base, unpacked, gaps=True), progress)
            yield evolve(request, base=unpacked)

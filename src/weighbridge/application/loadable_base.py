"""A base that both stacks load: itself, or the dequantised checkpoint of one that MLX packed.

A LoRA that was trained on a 4-bit base is proved on that base's own weights, unpacked: there both
stacks compute one function, and what differs is the conversion. How far the full-precision base is
from that is another question, and not the conversion's fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve, frozen

from weighbridge.application.dequantise import Dequantise, DequantiseRequest
from weighbridge.application.ports import FileSystem, Progress, ProofRequest


@frozen
class LoadableBase:
    """Makes the base of a proof loadable by transformers, for as long as the proof takes."""

    files: FileSystem
    dequantise: Dequantise

    @contextmanager
    def __call__(self, request: ProofRequest, progress: Progress) -> Iterator[ProofRequest]:
        """The request with such a base. Raises NotConvertible if it cannot be unpacked exactly."""
        if request.base is None or not request.known.mlx_format:
            yield request
            return
        with self.files.stage(None) as scratch:
            unpacked = f"{scratch.root}/base"
            self.dequantise(DequantiseRequest(request.base, unpacked, gaps=True), progress)
            yield evolve(request, base=unpacked)

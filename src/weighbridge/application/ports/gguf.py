"""What writes GGUF."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Protocol

from attrs import frozen

from weighbridge.application.ports.progress import Buffer


class GgufType(Enum):
    """Number format of a GGUF file's tensors, by the name that llama.cpp's converter gives it."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"


@frozen
class GgufRequest:
    """``converted``: a directory with a PEFT LoRA; ``base``: one with the base's config.json.

    ``name`` is what the file calls the model if the card does not; None: the directory's name.
    """

    converted: str
    base: str
    name: str | None = None
    outtype: GgufType = GgufType.F32


class GgufWriter(Protocol):
    """Makes the GGUF file that llama.cpp and Ollama load as a LoRA."""

    def obstacle(self) -> str | None:
        """Why no GGUF can be made here, with what to install; None if it can. Imports no vendor."""

    def render(self, request: GgufRequest) -> Iterator[Buffer]:
        """The bytes of the file, in order; the same for the same request.

        Raises before it returns: MissingExtra; NotConvertible for whatever llama.cpp has no exact
        form of, with the reasons and the way out; ArtifactUnreadable; StorageError if a file is
        missing. The chunks raise StorageError, and NotConvertible for a value that float16 cannot
        hold. A chunk is valid until the next one is asked for; memory is one tensor of the output.
        """

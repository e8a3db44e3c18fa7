"""What of an artifact no rule has seen. It is said, and is never taken for fine."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.findings import Subject, Unexamined

#: Files up to this are read even when little is to be read, as of a repository on the Hub.
SMALL_BYTES = 1 << 20


def unexamined(subject: Subject, *, weights: bool = True) -> tuple[Unexamined, ...]:
    """The parts that were left out; ``weights`` says if their statistics were wanted."""
    large = () if weights else _large_files(subject)
    return (*_weights(subject, weights), *_deep_files(subject), *large)


def _weights(subject: Subject, wanted: bool) -> Iterator[Unexamined]:
    if subject.survey is not None or subject.kind is None:
        return
    if not wanted:
        yield Unexamined("values of the weights", "only their headers were asked for", chosen=True)
    elif subject.model is None:
        yield Unexamined("values of the weights", "the model cannot be read")


def _large_files(subject: Subject) -> Iterator[Unexamined]:
    """What is passed over when only headers and small files are read."""
    read = {file.path.text for file in subject.artifact.tensor_files}
    for entry in subject.artifact.scan.files:
        if entry.size > SMALL_BYTES and entry.path.text not in read:
            yield Unexamined(entry.path.text, "only small files were asked for", chosen=True)


def _deep_files(subject: Subject) -> Iterator[Unexamined]:
    """Files of tensors whose headers nobody has read."""
    read = {file.path.text for file in subject.artifact.tensor_files}
    for entry in subject.artifact.scan.files:
        path = entry.path.text
        if path.endswith(".safetensors") and path not in read:
            yield Unexamined(path, "it is too deep in the directory")

"""What of an artifact nobody has looked at: said in every report, and never taken for fine.

One list has all of it. Rule FS019 makes a finding of each file in it, so that a policy can name
what it accepts; what is not accepted leaves the report incomplete.
"""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.artifact import Oddity
from weighbridge.domain.contents import Unexamined, is_companion
from weighbridge.domain.findings import Subject
from weighbridge.domain.tokenizer import TOKENIZER

#: Files up to this are read even when little is to be read, as of a repository on the Hub.
SMALL_BYTES = 1 << 20


def unexamined(subject: Subject, *, weights: bool = True) -> tuple[Unexamined, ...]:
    """The parts that were left out; ``weights`` says if their statistics were wanted."""
    large = () if weights else _large_files(subject)
    return (
        *_weights(subject, weights),
        *_tokenizer(subject, weights),
        *unseen_files(subject),
        *large,
    )


def unseen_files(subject: Subject) -> Iterator[Unexamined]:
    """Files, and directories, that the bounds on all work left out, whole or in part."""
    for odd in subject.artifact.scan.irregular:
        if odd.oddity is Oddity.UNSEEN:
            yield Unexamined.at(odd.name, odd.detail)
    yield from subject.artifact.contents.unexamined
    yield from _deep_files(subject)


def _weights(subject: Subject, wanted: bool) -> Iterator[Unexamined]:
    if subject.survey is not None or subject.kind is None:
        return
    if not wanted:
        yield Unexamined("values of the weights", "only their headers were asked for", chosen=True)
    elif subject.model is None:
        yield Unexamined("values of the weights", "the model cannot be read")


def _tokenizer(subject: Subject, wanted: bool) -> Iterator[Unexamined]:
    found = subject.tokenizer_build
    built = subject.tokenizer is not None and subject.tokenizer.path == TOKENIZER
    if not wanted and built:
        yield Unexamined("building the tokenizer", "only headers were asked for", chosen=True)
    elif found.unasked:
        yield Unexamined("building the tokenizer", found.unasked, chosen=found.optional)


def _large_files(subject: Subject) -> Iterator[Unexamined]:
    """What is passed over when only headers and small files are read."""
    read = {file.path.text for file in subject.artifact.tensor_files}
    for entry in subject.artifact.scan.files:
        if entry.size > SMALL_BYTES and entry.path.text not in read:
            reason = "only small files were asked for"
            yield Unexamined.at(entry.path.text, reason, chosen=True)


def _deep_files(subject: Subject) -> Iterator[Unexamined]:
    """Files of tensors whose headers nobody has read."""
    read = {file.path.text for file in subject.artifact.tensor_files}
    for entry in subject.artifact.scan.files:
        path = entry.path.text
        if path.endswith(".safetensors") and path not in read and not is_companion(path):
            yield Unexamined.at(path, "it is too deep in the directory")

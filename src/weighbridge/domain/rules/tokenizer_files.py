"""TK015, TK016: the files of a tokenizer beside tokenizer.json, and what was left on in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from weighbridge.domain.detection import CONFIG
from weighbridge.domain.findings import Location, Observation, Rule, Severity, Subject
from weighbridge.domain.rules.tokenizer import COPY
from weighbridge.domain.sentencepiece import pieces
from weighbridge.domain.tokenizer import (
    ADDED,
    MERGES,
    PIECES,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
    is_id,
    of_text,
)

#: Of a hundred pieces, so many are renamed at most: those that a base left unused.
_RENAMED = 2
#: Tokens. Some published models say a tenth of what they read, but none so few.
_SHORT = 1024


def _files_disagree(subject: Subject) -> Iterator[Observation]:
    """One of the two is of another tokenizer. transformers takes tokenizer.json; llama.cpp's
    converter and older programs take the others, and read other words than the model does."""
    view, document = subject.tokenizer, subject.artifact.document(TOKENIZER)
    if view is None or document is None:
        return
    for path, numbers in _numbers(subject):
        there = {number: content for content, number in view.ids.items()}
        other = [c for c, n in numbers.items() if _differs(c, n, view.ids, there)]
        if len(other) * 100 > len(numbers) * (_RENAMED if path == PIECES else 0):
            yield _told(path, "token(s)", other)
    raw, merges = subject.tokenizer_files.get(MERGES), document.object["model"].get("merges")
    if raw is not None and isinstance(merges, list):
        yield from _other_merges(raw, merges)


def _numbers(subject: Subject) -> Iterator[tuple[str, Mapping[str, int]]]:
    for path in (VOCABULARY, ADDED):
        document = subject.artifact.document(path)
        if document is not None and document.problem is None:
            yield path, {c: n for c, n in document.object.items() if is_id(n)}
    found = pieces(subject.tokenizer_files.get(PIECES, b""))
    yield PIECES, {content: number for number, content in enumerate(found)}


def _differs(content: str, number: int, ids: Mapping[str, int], there: Mapping[int, str]) -> bool:
    return ids.get(content, number) != number or there.get(number, content) != content


def _other_merges(raw: bytes, merges: list[Any]) -> Iterator[Observation]:
    lines = raw.decode("utf-8", "replace").split("\n")
    written = [line for line in lines if line and not line.startswith("#version")]
    joined = [" ".join(map(str, m)) if isinstance(m, list) else str(m) for m in merges]
    other = [a or b for a, b in zip_longest(written, joined, fillvalue="") if a != b]
    if other:
        yield _told(MERGES, "merge(s)", other)


def _told(path: str, what: str, other: Sequence[str]) -> Observation:
    return Observation(Location(path), {"count": len(other), "what": what, "token": other[0][:60]})


def _cuts(subject: Subject) -> Iterator[Observation]:
    """A setting of training that was left on: who reads the file by the tokenizers package gets
    prompts that are cut, without a word, or filled up."""
    document = subject.artifact.document(TOKENIZER)
    fields = document.object if document else {}
    for key, said in (("truncation", "texts are cut"), ("padding", "texts are filled up")):
        setting = fields.get(key)
        if isinstance(setting, Mapping):
            length = setting.get("max_length", setting.get("strategy"))
            if isinstance(length, Mapping):
                length = next(iter(length.values()), None)
            to = f" to {length}" if is_id(length) else ""
            yield Observation(Location(TOKENIZER, key), {"said": f"{said}{to}"})
    config, settings = map(subject.artifact.document, (CONFIG, TOKENIZER_CONFIG))
    read = of_text(config.object, "max_position_embeddings") if config else None
    most = settings.object.get("model_max_length") if settings else None
    if is_id(most) and is_id(read) and most < _SHORT and most * 4 <= read:
        said = f"texts are cut to {most} tokens, of {read} that the model reads"
        yield Observation(Location(TOKENIZER_CONFIG, "model_max_length"), {"said": said})


_W = Severity.WARNING
RULES = (
    Rule("TK015", "tokenizer-files-disagree", _W, "differs from tokenizer.json in {count} {what}, "
         "{token!r} first", COPY, _files_disagree),
    Rule("TK016", "tokenizer-cuts-texts", _W, "is left on: {said}",
         "write null, or the base model's number", _cuts),
)  # fmt: skip

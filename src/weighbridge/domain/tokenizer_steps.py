"""The steps that a tokenizer.json is made of: what they write, and what they read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.domain.tokenizer import is_id

#: The letters that ByteLevel writes for the bytes: the printable ones stand for themselves.
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)
_LETTERS = {
    **{byte: chr(byte) for byte in _PRINTABLE},
    **{byte: chr(256 + place) for place, byte in enumerate(_OTHERS)},
}
#: Those that texts are written in. Published tokenizers lack some that only control characters and
#: rare planes have, or that UTF-8 has not.
_OF_TEXTS = (0x09, 0x0A, *range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC2, 0xF1))
_SPACE = _LETTERS[0x20]
#: SentencePiece's mark.
_LOW_LINE = "\u2581"
_WRITING, _READING = ("normalizer", "pre_tokenizer"), ("decoder",)


def steps_of(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part of a tokenizer, and each of those that a Sequence puts in a row."""
    pending = [part]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            yield one
            for key in ("normalizers", "pretokenizers", "decoders", "processors"):
                inner = one.get(key)
                pending += inner if isinstance(inner, list) else ()


def _templates(tokenizer: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Each TemplateProcessing, and its table of special tokens."""
    for step in steps_of(tokenizer.get("post_processor")):
        if step.get("type") == "TemplateProcessing":
            specials = step.get("special_tokens")
            yield step, specials if isinstance(specials, dict) else {}


def written_specials(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """What a TemplateProcessing puts around every text: tokens, and the numbers it writes."""
    for _, specials in _templates(tokenizer):
        for entry in specials.values():
            tokens, ids = (entry.get(k) if isinstance(entry, dict) else None
                           for k in ("tokens", "ids"))  # fmt: skip
            if isinstance(tokens, list) and isinstance(ids, list):
                pairs = zip(tokens, ids, strict=False)
                yield from ((t, n) for t, n in pairs if isinstance(t, str) and is_id(n))


def frame_problems(tokenizer: Mapping[str, Any]) -> Iterator[str]:
    """What a TemplateProcessing does to every text that nobody wants, in the words of a finding."""
    for step, specials in _templates(tokenizer):
        for key, wanted in (("single", {"A"}), ("pair", {"A", "B"})):
            pieces = step.get(key)
            texts = set(_named(pieces, "Sequence"))
            if isinstance(pieces, list) and not wanted <= texts:
                yield f"has a post-processor whose {key} leaves out the text"
            for token in sorted(set(_named(pieces, "SpecialToken")) - specials.keys()):
                yield f"has a post-processor that adds {token[:40]!r}, and no number for it"


def _named(pieces: Any, kind: str) -> Iterator[str]:
    for piece in pieces if isinstance(pieces, list) else ():
        one = piece.get(kind) if isinstance(piece, dict) else None
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            yield one["id"]


def expressions(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The part of each regular expression, and the expression."""
    for part in (*_WRITING, *_READING):
        for step in steps_of(tokenizer.get(part)):
            pattern = step.get("pattern")
            if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
                yield part, pattern["Regex"]


def unread_marks(tokenizer: Mapping[str, Any]) -> tuple[str, str] | None:
    """The mark that is written for a space, and the one that is read as one, '' for none, if what
    is written is not read, or nothing is written."""
    written, read = (set(_marks(tokenizer, parts)) for parts in (_WRITING, _READING))
    if written <= read and (written or not read):
        return None
    return min(written - read, default=""), min(read - written, default="")


def _marks(tokenizer: Mapping[str, Any], parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts:
        for step in steps_of(tokenizer.get(part)):
            mark = _mark(step, reads=parts == _READING)
            if isinstance(mark, str) and len(mark) == 1:
                yield mark


def _mark(step: Mapping[str, Any], *, reads: bool) -> Any:
    pattern, content = step.get("pattern"), step.get("content")
    replaced = pattern.get("String") if isinstance(pattern, dict) else None
    match step.get("type"):
        case "ByteLevel":
            return _SPACE
        case "Metaspace":
            return step.get("replacement")
        case "Replace" if reads:
            return replaced if content == " " else None
        case "Replace":
            return content if replaced == " " or content == _LOW_LINE else None
    return None


def unknown_bytes(tokenizer: Mapping[str, Any], known: Mapping[str, int]) -> list[int]:
    """The bytes of texts for which a tokenizer that splits texts into bytes has no token among
    ``known``; none for one that does not."""
    if tokenizer["model"].get("byte_fallback") is True:
        names = {byte: f"<0x{byte:02X}>" for byte in _OF_TEXTS}
    elif any(s.get("type") == "ByteLevel" for p in _WRITING for s in steps_of(tokenizer.get(p))):
        names = {byte: _LETTERS[byte] for byte in _OF_TEXTS}
    else:
        return []
    return [byte for byte, name in names.items() if name not in known]

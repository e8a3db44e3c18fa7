"""TK011, TK012, TK017 and on: what the steps of a tokenizer.json do to texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.domain.findings import Fact, Location, Observation, Rule, Severity, Subject
from weighbridge.domain.regular import repeats_a_repeat
from weighbridge.domain.rules.tokenizer import COPY
from weighbridge.domain.tokenizer import TOKENIZER, TokenizerView, unmade_tokens
from weighbridge.domain.tokenizer_steps import (
    expressions,
    frame_problems,
    steps_of,
    unknown_bytes,
    unread_marks,
)

_WORD = re.compile(r"[^\W\d_]{2,}")
#: Of a hundred tokens, so many may be none that a merge makes: unused ones, or a user's own.
_UNMADE = 10


def _whole(subject: Subject) -> Mapping[str, Any]:
    document = subject.artifact.document(TOKENIZER)
    return document.object if document else {}


def _sound(subject: Subject) -> tuple[Mapping[str, Any], TokenizerView] | None:
    """The tokenizer.json, and the tokenizer that is in it."""
    view = subject.tokenizer
    return None if view is None or view.path != TOKENIZER else (_whole(subject), view)


def _runaway(subject: Subject) -> Iterator[Observation]:
    """The expression is matched against whatever text comes in, by an engine that tries every way:
    one that repeats what repeats takes minutes for a line of thirty letters."""
    for part, pattern in expressions(_whole(subject)):
        if repeats_a_repeat(pattern):
            yield Observation(Location(TOKENIZER, part), {"pattern": pattern[:120]})


def _rewrites(subject: Subject) -> Iterator[Observation]:
    """Words are put for words: the model reads another text than was written, or the reader another
    than it wrote. Tokenizers as published replace spaces and marks."""
    for part in ("normalizer", "decoder"):
        for step in steps_of(_whole(subject).get(part)):
            written = step.get("content") if step.get("type") == "Replace" else None
            if isinstance(written, str) and _WORD.search(written):
                yield Observation(Location(TOKENIZER, part), {"written": written[:60]})


def _frames(subject: Subject) -> Iterator[Observation]:
    """The tokenizer fails at every text, or makes no tokens of it."""
    for problem in frame_problems(_whole(subject)):
        yield Observation(Location(TOKENIZER, "post_processor"), {"problem": problem})


def _renumbered(subject: Subject) -> Iterator[Observation]:
    """Loaders count added tokens on from the vocabulary, whatever number is written: the token is
    another number to them than to programs that read the file, and than the one that is meant."""
    sound = _sound(subject)
    for content, said, counted in sound[1].renumbered() if sound else ():
        facts: dict[str, Fact] = {"token": content[:60], "said": said, "counted": counted}
        yield Observation(Location(TOKENIZER, "added_tokens"), facts)
        return  # those after it are off as well


def _marks(subject: Subject) -> Iterator[Observation]:
    """Words and spaces are not put together again as they were taken apart: what the model writes
    is shown with marks in it, or texts are split into other tokens than it learnt."""
    sound = _sound(subject)
    found = unread_marks(sound[0]) if sound else None
    if found is not None:
        written, read = (repr(mark) if mark else "nothing" for mark in found)
        yield Observation(Location(TOKENIZER, "decoder"), {"written": written, "read": read})


def _unmade(subject: Subject) -> Iterator[Observation]:
    """The merges are of another tokenizer, or a part of them is missing: texts are split into other
    tokens than the model learnt."""
    sound = _sound(subject)
    found = unmade_tokens(*sound) if sound else []
    if sound and len(found) * 100 > len(sound[1].vocabulary) * _UNMADE:
        facts: dict[str, Fact] = {"count": len(found), "token": min(found)[:60]}
        yield Observation(Location(TOKENIZER, "model.merges"), facts)


def _bytes(subject: Subject) -> Iterator[Observation]:
    """A letter that has the byte is left out of every text, or is an unknown one."""
    sound = _sound(subject)
    found = unknown_bytes(sound[0], sound[1].ids) if sound else []
    if found:
        facts: dict[str, Fact] = {"count": len(found), "byte": f"0x{found[0]:02X}"}
        yield Observation(Location(TOKENIZER, "model.vocab"), facts)


_E, _W = Severity.ERROR, Severity.WARNING
RULES = (
    Rule("TK011", "runaway-tokenizer", _W, "splits by {pattern!r}, whose matching can take for "
         "ever", COPY, _runaway),
    Rule("TK012", "tokenizer-rewrites", _W, "writes {written!r} for what it finds", COPY,
         _rewrites),
    Rule("TK017", "post-processor-broken", _E, "{problem}", COPY, _frames),
    Rule("TK018", "added-token-renumbered", _W, "has {token!r} as {said}, which loaders number "
         "{counted}", "add tokens with the tokenizers package, or copy its files from the base "
         "model", _renumbered),
    Rule("TK019", "spaces-not-read-back", _W, "reads {read} as a space, where texts are written "
         "with {written}", COPY, _marks),
    Rule("TK020", "merges-incomplete", _W, "make none of {count} token(s) of the vocabulary, "
         "{token!r} first", COPY, _unmade),
    Rule("TK021", "bytes-unknown", _W, "has no token for {count} byte(s), {byte} first", COPY,
         _bytes),
)  # fmt: skip

"""CT: chat templates, from their syntax trees. None is ever rendered.

A template is a program of a stranger's; sandboxes stop some of what it can do, and not all servers
have one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from weighbridge.domain.artifact import ModelArtifact
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind
from weighbridge.domain.templates import DEFAULT, LARGE_TEMPLATE, Template
from weighbridge.domain.tokenizer import TURN_ENDS, stop_tokens

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_SHOWN = 8


def _at(one: Template) -> Location:
    return Location(one.path, one.inside)


def _hazards(
    code: str, why: str, *, of_chats: bool = False
) -> Callable[[Subject], Iterator[Observation]]:
    """``of_chats`` if it is asked of the one template alone by which chats are written."""

    def check(subject: Subject) -> Iterator[Observation]:
        for one in subject.templates:
            found = [h for h in one.hazards if h.code == code]
            if of_chats and one.name != DEFAULT:
                continue
            for hazard in found[:_MOST_SHOWN]:
                yield Observation(_at(one), {"detail": hazard.detail})
            if len(found) > _MOST_SHOWN:
                yield Observation(_at(one), {"detail": f"and {len(found) - _MOST_SHOWN} more"})

    check.__doc__ = why
    return check


def _bad_name(subject: Subject) -> Iterator[Observation]:
    """save_pretrained makes file names of template names, and transformers before 5.10 wrote
    wherever they led (CVE-2026-9856)."""
    for one in subject.templates:
        if not _NAME.fullmatch(one.name):
            yield Observation(_at(one), {"name": one.name[:80]})


def _large(subject: Subject) -> Iterator[Observation]:
    """No published template is nearly as long; the length hides what is in it."""
    for one in subject.templates:
        if one.size > LARGE_TEMPLATE:
            yield Observation(_at(one), {"size": one.size, "most": LARGE_TEMPLATE})


def _disagree(subject: Subject) -> Iterator[Observation]:
    """Which of the two is used depends on the loader: transformers takes the file, older ones and
    other programs the one in tokenizer_config.json."""
    by_name: dict[str, Template] = {}
    for one in subject.templates:
        if one.text is None:
            continue
        first = by_name.setdefault(one.name, one)
        if first is not one and (first.text or "").strip() != one.text.strip():
            yield Observation(_at(one), {"name": one.name, "other": str(_at(first))})


_UNSEEN = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def _invisible(subject: Subject) -> Iterator[Observation]:
    """Nobody who reads the template sees them, and the model does: in every chat."""
    for one in subject.templates:
        found = _UNSEEN.search(one.text or "")
        if found is not None:
            yield Observation(_at(one), {"point": f"U+{ord(found.group()):04X}"})


def _missing(subject: Subject) -> Iterator[Observation]:
    """The model was trained to end a turn with a token of its own; without a template every
    program guesses how a turn is written."""
    if subject.templates:
        return
    stops = stop_tokens(subject.artifact, subject.tokenizer) & TURN_ENDS
    if stops and _has_tokenizer(subject.artifact):
        yield Observation(Location("tokenizer_config.json", "chat_template"),
                          {"token": min(stops)})  # fmt: skip


def _no_default(subject: Subject) -> Iterator[Observation]:
    """transformers takes the one that is called default, and has no chat without it."""
    found = [t for t in subject.templates if t.inside.startswith("chat_template")]
    if found and not any(t.name == DEFAULT for t in subject.templates):
        names = ", ".join(sorted({t.name for t in found}))[:200]
        yield Observation(Location(found[0].path, "chat_template"), {"names": names})


def _has_tokenizer(artifact: ModelArtifact) -> bool:
    return artifact.document("tokenizer_config.json") is not None


def _turn_end_is_no_stop(subject: Subject) -> Iterator[Observation]:
    """Generation stops at the end-of-sequence token only: the model ends its turn, and then talks
    on to itself until the limit."""
    default = next((t for t in subject.templates if t.name == DEFAULT), None)
    stops = stop_tokens(subject.artifact, subject.tokenizer)
    view = subject.tokenizer
    if default is None or default.text is None or not stops or view is None:
        return
    used = {t for t in TURN_ENDS if t in default.text and t in view.ids}
    if used and not used & stops:
        facts = {"used": ", ".join(sorted(used)), "stops": ", ".join(sorted(stops)[:4])}
        yield Observation(_at(default), facts)


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_COPY = "copy the template from the base model"
RULES = (
    Rule("CT001", "template-syntax", _E, "{detail}", _COPY,
         _hazards("CT001", "Every chat fails with it.")),
    Rule("CT002", "template-introspection", _E, "{detail}", _COPY,
         _hazards("CT002", "A chat needs nothing of Python's internals or other files. A server "
                  "without a sandbox runs code with it (CVE-2024-34359, CVE-2026-5760).")),
    Rule("CT003", "template-name-path", _E, "is named {name!r}",
         "name it with letters, digits, _ and -", _bad_name),
    Rule("CT004", "template-too-large", _W, "has {size} bytes, more than {most}", _COPY, _large),
    Rule("CT005", "template-large-range", _W, "{detail}", _COPY,
         _hazards("CT005", "Sandboxes bound neither nested loops nor repeated text: one request "
                  "occupies a server for minutes, or takes all of its memory.")),
    Rule("CT006", "template-address", _I, "{detail}", "leave it out if the prompt needs it not",
         _hazards("CT006", "The model sees the address in every chat, and may be led to it.")),
    Rule("CT007", "templates-disagree", _W, "is another template {name!r} than {other}",
         "keep one of the two", _disagree),
    Rule("CT008", "template-missing", _W, "is missing, but {token} ends the model's turns", _COPY,
         _missing, Need.SCAN, frozenset({Kind.FUSED})),
    Rule("CT009", "template-not-examined", _E, "{detail}", _COPY,
         _hazards("CT009", "What cannot be examined cannot be published.")),
    Rule("CT010", "turn-end-no-stop", _W, "ends turns with {used}, but generation stops at "
         "{stops}", "add its id to eos_token_id in config.json and generation_config.json",
         _turn_end_is_no_stop, Need.SCAN, frozenset({Kind.FUSED})),
    Rule("CT011", "template-invisible-text", _W, "holds characters that are not shown, {point} "
         "first", _COPY, _invisible),
    Rule("CT015", "template-without-default", _W, "has {names}, and none of them is default",
         "name one of them default", _no_default),
    Rule("CT012", "template-ignores-messages", _W, "{detail}", _COPY,
         _hazards("CT012", "Whatever is asked, the model is given the same text.", of_chats=True)),
    Rule("CT013", "template-always-fails", _E, "{detail}", _COPY,
         _hazards("CT013", "Every chat ends with an error.", of_chats=True)),
    Rule("CT014", "template-without-prompt", _W, "{detail}", "write the beginning of the answer "
         "behind the last turn, if add_generation_prompt",
         _hazards("CT014", "Programs ask the template for the beginning of the answer. Without it "
                  "the model goes on with the user's turn, or begins a turn of anybody's.",
                  of_chats=True)),
)  # fmt: skip

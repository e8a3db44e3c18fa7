"""TK004, TK010, CF014: special tokens, and where generation stops, in all the files that say so."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind
from weighbridge.domain.rules.tokenizer import COPY, inside
from weighbridge.domain.tokenizer import (
    TOKENIZER_CONFIG,
    decoded_tokens,
    listed_tokens,
    special_tokens,
    stop_ids,
)

_MOST_SHOWN = 8


def _special_missing(subject: Subject) -> Iterator[Observation]:
    """Loaders add the token at the end of the vocabulary, where the model has no row, or never
    stop."""
    view = subject.tokenizer
    if view is None:
        return
    more = {content for _, content in decoded_tokens(subject.artifact)}
    known = view.ids
    named = (*special_tokens(subject.artifact), *listed_tokens(subject.artifact))
    missing = (one for one in named if one[2] not in known and one[2] not in more)
    for path, key, content in islice(missing, _MOST_SHOWN):
        yield Observation(Location(path, key), {"token": content[:60]})


def _special_disagree(subject: Subject) -> Iterator[Observation]:
    """Which of the two counts depends on the loader and its version."""
    first: dict[str, tuple[str, str]] = {}
    for path, key, content in special_tokens(subject.artifact):
        other, said = first.setdefault(key, (path, content))
        if said != content:
            facts = {"token": content[:60], "other": other, "said": said[:60]}
            yield Observation(Location(path, key), facts)
    for number, content, said in islice(_renumbered(subject), _MOST_SHOWN):
        where = Location(TOKENIZER_CONFIG, f"added_tokens_decoder.{number[:20]}")
        facts = {"token": content[:60], "other": inside(subject, "").path, "said": said[:60]}
        yield Observation(where, facts)


def _renumbered(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """Number and content of what tokenizer.json has another token for, or another number, and
    what it has; and of what it adds and the settings leave out, which transformers then numbers
    otherwise."""
    view, settings = subject.tokenizer, subject.artifact.document(TOKENIZER_CONFIG)
    if view is None or settings is None or "added_tokens_decoder" not in settings.object:
        return
    decoder = dict(decoded_tokens(subject.artifact))
    listed = {*decoder.values(), *view.vocabulary}
    for content, added in view.added:
        if str(added) not in decoder and content not in listed:
            yield str(added), "no token", content
    there = {str(n): content for content, n in view.ids.items() if str(n) in decoder}
    for number, content in decoder.items():
        said = there.get(number)
        if said != content and (said is not None or content in view.ids):
            yield number, content, "no token" if said is None else said


def _stops_disagree(subject: Subject) -> Iterator[Observation]:
    """mlx-lm stops at config.json's token, transformers at generation_config.json's, servers at
    the tokenizer's. Where they differ the model ends in one and talks on in another."""
    stops, view = stop_ids(subject.artifact), subject.tokenizer
    counted = [set(ids) for ids in stops.values()]
    if len(counted) == 2 and not counted[0] & counted[1]:
        a, b = (", ".join(map(str, ids[:4])) for ids in stops.values())
        yield Observation(Location("generation_config.json", "eos_token_id"),
                          {"own": a, "other": f"config.json {b}"})  # fmt: skip
    everywhere = set().union(*counted)
    named = next((c for _, k, c in special_tokens(subject.artifact) if k == "eos_token"), None)
    number = view.ids.get(named) if view is not None and named is not None else None
    if number is not None and everywhere and number not in everywhere:
        path = next(iter(stops))
        own = ", ".join(map(str, stops[path][:4]))
        facts = {"own": own, "other": f"the tokenizer's eos_token {number}"}
        yield Observation(Location(path, "eos_token_id"), facts)


_W = Severity.WARNING
_AGREE = "write the same tokens in config.json, generation_config.json and tokenizer_config.json"
RULES = (
    Rule("TK004", "special-token-missing", _W, "names {token!r}, which the vocabulary has not",
         COPY, _special_missing),
    Rule("TK010", "special-tokens-disagree", _W, "is {token!r}, but {said!r} in {other}", _AGREE,
         _special_disagree),
    Rule("CF014", "generation-config-contradiction", _W, "is {own}, but {other}", _AGREE,
         _stops_disagree, Need.SCAN, frozenset({Kind.FUSED})),
)  # fmt: skip

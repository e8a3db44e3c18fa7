"""TK: the tokenizer, against itself, the embedding and what the configs say of its tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.domain.contents import texts_in
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.regular import repeats_a_repeat
from weighbridge.domain.rules.whole_model import embedding_rows
from weighbridge.domain.tokenizer import (
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    TokenizerView,
    is_id,
    special_tokens,
    stop_ids,
    structure_problems,
    unknown_merge,
)

_MOST_SHOWN = 8


def _missing(subject: Subject) -> Iterator[Observation]:
    """mlx-lm and transformers load the tokenizer from the same directory, and fail without one."""
    if not TOKENIZER_FILES & subject.artifact.paths and isinstance(subject.model, FusedModel):
        yield Observation(Location())


def _broken(subject: Subject) -> Iterator[Observation]:
    """Loaders fail on it, or encode text as other tokens than the model learnt."""
    document = subject.artifact.document(TOKENIZER)
    if document is None or document.problem is not None:
        return
    problems = list(structure_problems(document.object))
    for problem in problems:
        yield Observation(Location(TOKENIZER), {"problem": problem})
    merge = None if problems else unknown_merge(document.object)
    if not problems and merge is None and (said := subject.tokenizer_build.problem):
        yield Observation(Location(TOKENIZER), {"problem": f"tokenizers cannot build it: {said}"})
    if merge is not None:
        yield Observation(Location(TOKENIZER, "model.merges"),
                          {"problem": f"merges tokens that do not exist: {merge!r}"})  # fmt: skip


def _beyond(subject: Subject, *, added: bool) -> Iterator[tuple[str, int, int]]:
    view, rows = subject.tokenizer, embedding_rows(subject)
    if view is None or rows is None:
        return
    own = set(view.vocabulary.values())
    for content, number in view.added if added else view.vocabulary.items():
        if number >= rows and not (added and number in own):
            yield content, number, rows


def _vocabulary_too_large(subject: Subject) -> Iterator[Observation]:
    """The token has no row in the embedding: MLX reads another's memory, torch fails."""
    found = sorted(_beyond(subject, added=False), key=lambda one: one[1])
    if found:
        content, number, rows = found[-1]
        facts: dict[str, Fact] = {
            "token": content[:60],
            "number": number,
            "rows": rows,
            "count": len(found),
        }
        yield Observation(Location(TOKENIZER, "model.vocab"), facts)


def _added_too_large(subject: Subject) -> Iterator[Observation]:
    """A text that has the token fails. Text models of some families carry tokens for images, which
    they cannot read; others were given tokens without resizing the embedding."""
    for content, number, rows in list(_beyond(subject, added=True))[:_MOST_SHOWN]:
        facts: dict[str, Fact] = {"token": content[:60], "number": number, "rows": rows}
        yield Observation(Location(TOKENIZER, "added_tokens"), facts)


def _special_missing(subject: Subject) -> Iterator[Observation]:
    """Loaders add the token at the end of the vocabulary, where the model has no row, or never
    stop."""
    view = subject.tokenizer
    if view is None:
        return
    added = subject.artifact.document(TOKENIZER_CONFIG)
    decoder = added.object.get("added_tokens_decoder") if added else None
    more = {
        token.get("content")
        for token in (decoder.values() if isinstance(decoder, dict) else ())
        if isinstance(token, dict)
    }
    known = view.ids
    for path, key, content in special_tokens(subject.artifact):
        if content not in known and content not in more:
            yield Observation(Location(path, key), {"token": content[:60]})


def _special_disagree(subject: Subject) -> Iterator[Observation]:
    """Which of the two counts depends on the loader and its version."""
    first: dict[str, tuple[str, str]] = {}
    for path, key, content in special_tokens(subject.artifact):
        other, said = first.setdefault(key, (path, content))
        if said != content:
            facts = {"token": content[:60], "other": other, "said": said[:60]}
            yield Observation(Location(path, key), facts)


#: Keys that transformers takes for paths of files to read, and that save_pretrained never writes.
_FILE_KEYS = frozenset(
    {"vocab_file", "merges_file", "tokenizer_file", "spm_file", "sentencepiece_model_file",
     "source_spm", "target_spm", "target_vocab_file", "vocab", "emoji_file", "word_shape_file",
     "word_pronunciation_file", "monolingual_vocab_file", "added_tokens_file", "bpe_file",
     "phonemizer_file", "entity_vocab_file", "normalizer_file", "chat_template_file",
     "fast_tokenizer_files"}
)  # fmt: skip
#: The files in which it takes them so.
_KEY_FILES = (TOKENIZER_CONFIG, SPECIAL_TOKENS)


def _file_reference(subject: Subject) -> Iterator[Observation]:
    """transformers reads the file that is named, also outside of the model, and writes it into
    whatever the user saves or publishes next: a secret of the machine's may go with it."""
    for document in subject.artifact.documents:
        fields = document.object if document.path.name in _KEY_FILES else {}
        for key in sorted(_FILE_KEYS & fields.keys()):
            if any(texts_in(fields[key])):
                named = ", ".join(texts_in(fields[key]))[:120]
                yield Observation(Location(document.path.text, key), {"file": named})


def _duplicates(subject: Subject) -> Iterator[Observation]:
    """Text and tokens no longer match one to one: what is decoded is not what was encoded. So a
    tokenizer can be made to say other words than the model does."""
    view = subject.tokenizer
    if view is None:
        return
    document = subject.artifact.document(TOKENIZER)
    written = _written_specials(document.object if document else {})
    wrong = (f"the post-processor writes {number} for {content[:40]!r}"
             for content, number in written if view.ids.get(content) != number)  # fmt: skip
    for problem in [*_collisions(view), *wrong][:_MOST_SHOWN]:
        yield Observation(Location(TOKENIZER), {"problem": problem})


def _written_specials(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """What a TemplateProcessing puts around every text: tokens, and the numbers it writes."""
    for step in _steps(tokenizer.get("post_processor")):
        specials = step.get("special_tokens") if step.get("type") == "TemplateProcessing" else None
        for entry in specials.values() if isinstance(specials, dict) else ():
            tokens, ids = (entry.get(k) if isinstance(entry, dict) else None
                           for k in ("tokens", "ids"))  # fmt: skip
            if isinstance(tokens, list) and isinstance(ids, list):
                pairs = zip(tokens, ids, strict=False)
                yield from ((t, n) for t, n in pairs if isinstance(t, str) and is_id(n))


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part of a tokenizer, and each of those that a Sequence puts in a row."""
    pending = [part]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            yield one
            for key in ("normalizers", "pretokenizers", "decoders", "processors"):
                inner = one.get(key)
                pending += inner if isinstance(inner, list) else ()


def _expressions(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        for step in _steps(tokenizer.get(part)):
            pattern = step.get("pattern")
            if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
                yield part, pattern["Regex"]


def _runaway(subject: Subject) -> Iterator[Observation]:
    """The expression is matched against whatever text comes in, by an engine that tries every way:
    one that repeats what repeats takes minutes for a line of thirty letters."""
    document = subject.artifact.document(TOKENIZER)
    for part, pattern in _expressions(document.object if document else {}):
        if repeats_a_repeat(pattern):
            yield Observation(Location(TOKENIZER, part), {"pattern": pattern[:120]})


_WORD = re.compile(r"[^\W\d_]{2,}")


def _rewrites(subject: Subject) -> Iterator[Observation]:
    """Words are put for words: the model reads another text than was written, or the reader another
    than it wrote. Tokenizers as published replace spaces and marks."""
    document = subject.artifact.document(TOKENIZER)
    for part in ("normalizer", "decoder"):
        for step in _steps(document.object.get(part) if document else None):
            written = step.get("content") if step.get("type") == "Replace" else None
            if isinstance(written, str) and _WORD.search(written):
                yield Observation(Location(TOKENIZER, part), {"written": written[:60]})


def _collisions(view: TokenizerView) -> Iterator[str]:
    twice = [n for n, count in Counter(view.vocabulary.values()).items() if count > 1]
    for number in twice:
        yield f"the vocabulary has {number} for several tokens"
    by_id = {number: content for content, number in view.vocabulary.items()}
    seen: dict[str, int] = {}
    for content, number in view.added:
        if by_id.get(number, content) != content:
            yield f"{number} is {by_id[number][:40]!r} and added as {content[:40]!r}"
        known = seen.setdefault(content, view.vocabulary.get(content, number))
        if known != number:
            yield f"{content[:40]!r} has the numbers {known} and {number}"


def _custom_class(subject: Subject) -> Iterator[Observation]:
    """Only code that comes with the model can build it; mlx-lm and most servers refuse that."""
    document = subject.artifact.document(TOKENIZER_CONFIG)
    named = document.object.get("tokenizer_class") if document else None
    mapped = document.object.get("auto_map") if document else None
    if isinstance(mapped, dict) and "AutoTokenizer" in mapped:
        yield Observation(Location(TOKENIZER_CONFIG, "auto_map"), {"named": str(named)[:80]})
    elif isinstance(named, str) and not named.isidentifier():
        yield Observation(Location(TOKENIZER_CONFIG, "tokenizer_class"), {"named": named[:80]})


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


def _tokenizer_differs(subject: Subject) -> Iterator[Observation]:
    """Fine-tuning with MLX changes no token. A row of the embedding then stands for another text
    than the base's."""
    own, base = subject.tokenizer, subject.base_tokenizer
    if own is None or base is None:
        return
    there = base.ids
    other = [c for c, n in own.ids.items() if there.get(c, n) != n]
    if other:
        yield Observation(Location(TOKENIZER), {"count": len(other), "token": min(other)[:60]})


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_FUSED = frozenset({Kind.FUSED})
_COPY = "copy the tokenizer's files from the base model"
_AGREE = "write the same tokens in config.json, generation_config.json and tokenizer_config.json"
RULES = (
    Rule("TK001", "tokenizer-missing", _W, "holds no tokenizer", _COPY, _missing, Need.MODEL,
         _FUSED),
    Rule("TK002", "tokenizer-json-broken", _E, "{problem}", _COPY, _broken),
    Rule("TK003", "vocab-larger-than-embedding", _E, "has {token!r} as {number}, and {count} "
         "token(s) beyond the {rows} rows of the embedding", _COPY, _vocabulary_too_large,
         Need.MODEL, _FUSED),
    Rule("TK004", "special-token-missing", _W, "names {token!r}, which the vocabulary has not",
         _COPY, _special_missing),
    Rule("TK005", "tokenizer-file-reference", _E, "names the file {file!r}",
         "delete the key; loaders find the files by their names", _file_reference),
    Rule("TK006", "token-collision", _W, "{problem}", _COPY, _duplicates),
    Rule("TK007", "tokenizer-differs-from-base", _W, "has other numbers than the base for {count} "
         "token(s), {token!r} first", _COPY, _tokenizer_differs, Need.SCAN),
    Rule("TK008", "tokenizer-class-custom", _W, "needs a class of its own: {named}",
         "use a class that transformers has", _custom_class),
    Rule("TK009", "added-token-outside-embedding", _W, "has {token!r} as {number}; the embedding "
         "has {rows} rows", _COPY, _added_too_large, Need.MODEL, _FUSED),
    Rule("TK010", "special-tokens-disagree", _W, "is {token!r}, but {said!r} in {other}", _AGREE,
         _special_disagree),
    Rule("TK011", "runaway-tokenizer", _W, "splits by {pattern!r}, whose matching can take for "
         "ever", _COPY, _runaway),
    Rule("TK012", "tokenizer-rewrites", _W, "writes {written!r} for what it finds", _COPY,
         _rewrites),
    Rule("CF014", "generation-config-contradiction", _W, "is {own}, but {other}", _AGREE,
         _stops_disagree, Need.SCAN, _FUSED),
)  # fmt: skip

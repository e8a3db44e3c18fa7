"""A tokenizer as its files tell it: tokens with their ids, special tokens, where generation stops.

Read as JSON only; nothing is built, so that a broken or hostile one costs no more than its size.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from operator import add
from typing import Any, TypeGuard

from attrs import field, frozen

from weighbridge.domain.artifact import ModelArtifact

TOKENIZER = "tokenizer.json"
VOCABULARY = "vocab.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
#: SentencePiece's, or tiktoken's.
PIECES = "tokenizer.model"
MERGES = "merges.txt"
ADDED = "added_tokens.json"
SPECIAL_TOKENS = "special_tokens_map.json"
#: Any of these is a tokenizer for some loader; the last are slow ones.
TOKENIZER_FILES = frozenset(
    {TOKENIZER, "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "merges.txt",
     "sentencepiece.bpe.model", "tekken.json", "tokenizer.model.v3", "qwen.tiktoken",
     "tiktoken.model", "vocab.bpe"}
)  # fmt: skip
SPECIAL_KEYS = ("eos_token", "bos_token", "pad_token", "unk_token")
_LISTED_KEYS = ("additional_special_tokens", "extra_special_tokens", "sep_token", "cls_token",
                "mask_token")  # fmt: skip
#: Tokens that end a turn in published chat models, and are no end of text.
TURN_ENDS = frozenset(
    {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|eot|>", "<|turn_end|>",
     "<|end_of_turn|>", "<|END_OF_TURN_TOKEN|>", "<|endofturn|>", "<|return|>", "<turn|>",
     "<|im_sep_end|>", "<|role_end|>", "[e~["}
)  # fmt: skip


@frozen
class TokenizerView:
    """``vocabulary`` is the model's own, ``added`` are those beside it; ``ids`` are both.
    ``path`` is the file that the vocabulary is in."""

    vocabulary: Mapping[str, int] = field(repr=False)
    added: tuple[tuple[str, int], ...] = field(repr=False)
    ids: Mapping[str, int] = field(repr=False)
    path: str = TOKENIZER

    @classmethod
    def of_words(cls, words: Mapping[str, Any], added: Mapping[str, Any]) -> TokenizerView | None:
        """That of a vocab.json, and of the tokens added to it; None if not all have numbers."""
        more = tuple((content, n) for content, n in added.items() if is_id(n))
        if not words or not all(map(is_id, words.values())):
            return None
        return cls(dict(words), more, {**words, **dict(more)}, VOCABULARY)

    @classmethod
    def of(cls, tokenizer: Mapping[str, Any]) -> TokenizerView | None:
        """That of a tokenizer.json; None if it is not sound."""
        if next(structure_problems(tokenizer), None) is not None:
            return None
        vocabulary, added = _vocabulary(tokenizer), tuple(_added(tokenizer))
        return cls(vocabulary, added, {**vocabulary, **dict(added)})

    def renumbered(self) -> Iterator[tuple[str, int, int]]:
        """Added tokens to which loaders give another number than is written: the token, that
        number, and theirs, which are counted on from the size of the vocabulary."""
        seen, following = set[str](), len(self.vocabulary)
        for content, said in self.added:
            if not content or content in seen:
                continue
            seen.add(content)
            number = self.vocabulary.get(content, following)
            following += content not in self.vocabulary
            if number != said:
                yield content, said, number

    def contents(self, ids: Collection[int]) -> frozenset[str]:
        """The tokens of those numbers."""
        return frozenset(content for content, number in self.ids.items() if number in ids)


@frozen
class TokenizerBuild:
    """What the package that loaders use says of a tokenizer.json: that it is ``built``, or else
    what ``problem`` it has.

    ``unasked`` is why it could not be asked, ``optional`` if only for want of the package.
    """

    built: bool = False
    problem: str = ""
    unasked: str = ""
    optional: bool = False


def is_id(value: Any) -> TypeGuard[int]:
    """True if ``value`` can be a token's number."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def content_of(token: Any) -> str | None:
    """The text of a token, which may be written as a mapping."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def tokenizer_view(artifact: ModelArtifact) -> TokenizerView | None:
    """That of tokenizer.json, or without one of vocab.json; None if it is not sound."""
    document = artifact.document(TOKENIZER)
    if document is not None:
        return TokenizerView.of(document.object)
    words, added = (artifact.document(path) for path in (VOCABULARY, ADDED))
    if words is None:
        return None
    decoded = {
        content: int(n) for n, content in decoded_tokens(artifact) if len(n) < 12 and n.isdecimal()
    }
    return TokenizerView.of_words(words.object, {**decoded, **(added.object if added else {})})


def decoded_tokens(artifact: ModelArtifact) -> Iterator[tuple[str, str]]:
    """Number, as text, and content of each added token that tokenizer_config.json has."""
    document = artifact.document(TOKENIZER_CONFIG)
    decoder = document.object.get("added_tokens_decoder") if document else None
    for number, token in decoder.items() if isinstance(decoder, dict) else ():
        if (content := content_of(token)) is not None:
            yield number, content


def _vocabulary(tokenizer: Mapping[str, Any]) -> Mapping[str, int]:
    found: Mapping[str, int] | list[list[Any]] = tokenizer["model"]["vocab"]
    return {item[0]: at for at, item in enumerate(found)} if isinstance(found, list) else found


def _added(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for token in tokenizer.get("added_tokens") or ():
        yield token["content"], token["id"]


def structure_problems(tokenizer: Mapping[str, Any]) -> Iterator[str]:
    """What no loader could build; in the words of a finding."""
    model = tokenizer.get("model")
    if not isinstance(model, Mapping):
        yield "has no model"
        return
    vocab = model.get("vocab")
    if isinstance(vocab, Mapping):
        # Of hundreds of thousands, asked all at once.
        if set(map(type, vocab.values())) - {int} or min(vocab.values(), default=0) < 0:
            yield "has a token without a number"
    elif vocab == []:
        yield "has an empty vocabulary"
    elif not isinstance(vocab, list) or not all(map(_is_piece, vocab)):
        yield "has no vocabulary"
    added = tokenizer.get("added_tokens") or []
    if not isinstance(added, list) or not all(map(_is_added, added)):
        yield "has an added token without id or content"


def _is_piece(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)


def _is_added(token: Any) -> bool:
    return (
        isinstance(token, Mapping)
        and is_id(token.get("id"))
        and isinstance(token.get("content"), str)
    )


def unknown_merge(tokenizer: Mapping[str, Any]) -> str | None:
    """The first merge of a BPE model whose parts, or whose result, are no tokens."""
    model = tokenizer["model"]
    vocab, merges = model.get("vocab"), model.get("merges")
    if model.get("type") not in ("BPE", None) or not isinstance(merges, list):
        return None
    if not isinstance(vocab, Mapping) or model.get("continuing_subword_prefix"):
        return None
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    if _are_known(pairs, vocab):
        return None
    wrong = next(pair for pair in pairs if not _are_known([pair], vocab))
    return (" ".join(map(str, wrong)) if isinstance(wrong, list) else str(wrong))[:80]


def _are_known(pairs: list[Any], vocab: Mapping[str, Any]) -> bool:
    """True if each is two tokens that together are one; of hundreds of thousands, asked at once."""
    if set(map(type, pairs)) - {list} or set(map(len, pairs)) - {2}:
        return False
    parts = list(chain.from_iterable(pairs))
    if set(map(type, parts)) - {str} or not all(map(vocab.__contains__, parts)):
        return False
    return all(map(vocab.__contains__, map(add, parts[::2], parts[1::2])))


_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def unmade_tokens(tokenizer: Mapping[str, Any], view: TokenizerView) -> list[str]:
    """The tokens of several letters that no merge of a BPE model makes, though it makes all by
    merging."""
    model = tokenizer["model"]
    merges, suffix = model.get("merges"), model.get("end_of_word_suffix") or ""
    if model.get("type") != "BPE" or not isinstance(merges, list):
        return []
    if model.get("ignore_merges") or model.get("continuing_subword_prefix"):
        return []
    # Of hundreds of thousands, asked at once; of what is no merge at all, unknown_merge tells.
    lists = isinstance(next(iter(merges), None), list)
    try:
        made = set(map("".join, merges) if lists else (m.replace(" ", "", 1) for m in merges))
    except (AttributeError, TypeError):
        return []
    left = view.vocabulary.keys() - made - dict(view.added).keys()
    return [t for t in left if len(t.removesuffix(suffix)) > 1 and not _BYTE.fullmatch(t)]


def special_tokens(artifact: ModelArtifact) -> Iterator[tuple[str, str, str]]:
    """File, key and content of every special token that a file names."""
    for path in (TOKENIZER_CONFIG, SPECIAL_TOKENS):
        document = artifact.document(path)
        for key in SPECIAL_KEYS:
            content = content_of(document.object.get(key)) if document else None
            if content is not None:
                yield path, key, content


def listed_tokens(artifact: ModelArtifact) -> Iterator[tuple[str, str, str]]:
    """The same of the special tokens that have no part in every model: lists of them, or tables."""
    for path in (TOKENIZER_CONFIG, SPECIAL_TOKENS):
        document = artifact.document(path)
        for key in _LISTED_KEYS:
            value = document.object.get(key) if document else None
            if isinstance(value, Mapping) and "content" not in value:
                value = list(value.values())
            for one in value if isinstance(value, list) else [value]:
                if (content := content_of(one)) is not None:
                    yield path, key, content


def token_ids(value: Any) -> tuple[int, ...]:
    """The ids of a field that holds one or several."""
    listed = value if isinstance(value, list) else [value]
    return tuple(n for n in listed if isinstance(n, int) and not isinstance(n, bool))


def stop_ids(artifact: ModelArtifact) -> Mapping[str, tuple[int, ...]]:
    """The end-of-sequence ids by the file that says so; generation_config.json counts first."""
    found = {}
    for path in ("generation_config.json", "config.json"):
        document = artifact.document(path)
        fields = document.object if document else {}
        if ids := token_ids(of_text(fields, "eos_token_id")):
            found[path] = ids
    return found


def of_text(config: Mapping[str, Any], key: str) -> Any:
    """A field of the text model, which a multimodal one has inside; None if there is none."""
    text, value = config.get("text_config"), config.get(key)
    return text.get(key) if value is None and isinstance(text, Mapping) else value


def stop_tokens(artifact: ModelArtifact, view: TokenizerView | None) -> frozenset[str]:
    """The contents of all tokens at which some loader stops."""
    named = {content for _, key, content in special_tokens(artifact) if key == "eos_token"}
    numbers = {n for ids in stop_ids(artifact).values() for n in ids}
    return frozenset(named) | (view.contents(numbers) if view is not None else frozenset())

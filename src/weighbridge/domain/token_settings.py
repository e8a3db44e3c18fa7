"""The forms in which transformers takes the tokens that tokenizer_config.json and
special_tokens_map.json name: with any other it fails when it loads the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.domain.tokenizer import SPECIAL_KEYS

_SINGLE = (*SPECIAL_KEYS, "sep_token", "cls_token", "mask_token")
_SEVERAL = ("additional_special_tokens", "extra_special_tokens")
_DECODER = "added_tokens_decoder"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_TYPED = 'a string, or an object whose "__type" is "AddedToken"'
_PLAIN = "a string, or an object with its content"


def wrong_settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Key, value and what it should be, of a tokenizer_config.json."""
    for key in _SINGLE:
        if settings.get(key) is not None and not _is_typed(settings[key]):
            yield key, settings[key], _TYPED
    for key in _SEVERAL:
        value = settings.get(key)
        listed = list(value.values()) if isinstance(value, dict) else value
        if listed is not None and not isinstance(listed, list):
            yield key, value, "a list of tokens"
        elif listed and (wrong := [one for one in listed if not _is_typed(one)]):
            yield key, wrong[0], _TYPED
    decoder = settings.get(_DECODER, {})
    if not isinstance(decoder, dict):
        yield _DECODER, decoder, "an object"
        return
    for number, token in decoder.items():
        if not number.isdecimal():
            yield f"{_DECODER}.{number[:20]}", number, "a token's number"
        if not _is_token(token):
            yield f"{_DECODER}.{number[:20]}", token, "an object with content and flags of a token"


def wrong_specials(specials: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """The same of a special_tokens_map.json."""
    for key in _SINGLE:
        value = specials.get(key)
        if value is not None and not isinstance(value, str) and not _is_token(value):
            yield key, value, _PLAIN


def _is_typed(token: Any) -> bool:
    if isinstance(token, dict):
        return token.get("__type") == "AddedToken" and _is_token(token)
    return isinstance(token, str)


def _is_token(token: Any) -> bool:
    if not isinstance(token, dict) or not isinstance(token.get("content"), str):
        return False
    return all(isinstance(token.get(flag, False), bool) for flag in _FLAGS)

"""What the installed transformers takes for each field of a config.json, as it declares it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from importlib import import_module
from typing import Any

_LETTERS = {bool: "b", int: "i", float: "f", str: "s", list: "l", tuple: "l", dict: "d"}


@functools.cache
def declared(model_type: str) -> dict[str, str]:
    """By field of that type's config class, the letters of the forms that it takes: b, i, f, s for
    a flag, an integer, a float and a string, l and d for a list and an object, n for null."""
    mapping = import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    # What is declared by a text is not looked at by transformers either, and of words that it may
    # be, more than the form counts.
    return {
        field.name: "".join(letter for letter in "bifsldn" if letter in _forms(field.type))
        for field in dataclasses.fields(mapping[model_type])
        if not isinstance(field.type, str) and "Literal" not in str(field.type)
    }


def _forms(hint: Any) -> set[str]:
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return {"n"}
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(_forms, inside))
    if origin is typing.Annotated:
        return _forms(inside[0])
    known = origin or hint
    if known in _LETTERS:
        return {_LETTERS[known]}
    nested = inspect.isclass(known) and (
        issubclass(known, dict) or known.__name__.endswith("Config")
    )
    if nested:
        return {"d"}
    raise AssertionError(f"{hint} is of no form that JSON has")

"""The front matter of a model card: YAML between two lines of dashes, read strictly.

Grammar as huggingface_hub has it; PyYAML, which that depends on, does the parsing. Aliases are
refused, since a few of them make terabytes, and duplicate keys, of which parsers keep the last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

#: More than any card has; PyYAML takes a second for it.
_MOST_BYTES = 64 << 10
_MOST_LEVELS = 20
_BEGIN = re.compile(r"\s*---[ \t]*\r?\n")
_END = re.compile(r"(?m)^---[ \t]*\r?$")


@frozen
class FrontMatter:
    """What a card declares. ``problem`` says why it cannot be read; without any, both are empty."""

    fields: Mapping[str, Any] = field(factory=dict)
    problem: str | None = None


def read_front_matter(card: bytes) -> FrontMatter:
    """The front matter of a card, or what is wrong with it. Raises nothing."""
    try:
        text = card.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(card) - 4 or error.reason != "unexpected end of data":
            return FrontMatter(problem=f"is not UTF-8 at byte {error.start}")
        text = card[: error.start].decode("utf-8-sig")
    begin = _BEGIN.match(text)
    if begin is None:
        return FrontMatter()
    end = _END.search(text, begin.end())
    if end is None:
        return FrontMatter(problem="begins with --- and has no second ---")
    if end.start() - begin.end() > _MOST_BYTES:
        return FrontMatter(problem=f"has front matter of more than {_MOST_BYTES} bytes")
    return _parse(text[begin.end() : end.start()])


def _parse(text: str) -> FrontMatter:
    import yaml

    try:
        value = yaml.load(text, _strict_loader())
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 2}" if error.problem_mark else ""
        return FrontMatter(problem=f"{error.problem or 'is no YAML'}{where}")
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        return FrontMatter(problem=f"cannot be read as YAML: {str(error)[:100]}")
    except RecursionError:
        return FrontMatter(problem="is nested too deeply")
    if value is None:
        return FrontMatter()
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return FrontMatter(problem="is no list of 'key: value'")
    return FrontMatter(value)


def _strict_loader() -> Any:
    import yaml

    class Strict(yaml.SafeLoader):  # type: ignore[misc]
        levels = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it holds an alias")
            self.levels += 1
            if self.levels > _MOST_LEVELS:
                raise yaml.YAMLError(f"it is nested more than {_MOST_LEVELS} deep")
            try:
                return super().compose_node(parent, index)
            finally:
                self.levels -= 1

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) != len(keys):
                twice = next(key for key in keys if keys.count(key) > 1)
                raise yaml.YAMLError(f"it has the key {twice!r} twice")
            return super().construct_mapping(node, deep)

    return Strict

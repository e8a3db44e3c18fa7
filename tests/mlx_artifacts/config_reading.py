"""What the installed mlx-lm reads of a config.json and what the installed transformers writes.

mlx-lm's side is taken from its sources' syntax trees, so that nothing of MLX has to be imported.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import frozen

#: The fields of mlx-lm's classes whose defaults decide what is computed.
WATCHED = (
    "rope_theta",
    "rope_scaling",
    "partial_rotary_factor",
    "rope_local_base_freq",
    "sliding_window_pattern",
    "full_attention_interval",
    "tie_word_embeddings",
)
#: A field without a default.
NO_DEFAULT = "required"


@frozen
class ReadingSource:
    """One class of mlx-lm's that is made from the text model's part of a config.

    ``fields`` are all of them with their defaults. ``inside`` are the keys of ``rope_parameters``
    that the module looks at, '*' if it uses the mapping as a whole. ``top_first`` says that a
    top-level rope_theta comes before the one inside.
    """

    fields: Mapping[str, Any]
    inside: tuple[str, ...]
    top_first: bool


def sources() -> Path:
    """The directory of the installed mlx-lm."""
    spec = find_spec("mlx_lm")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def remapped() -> dict[str, str]:
    """mlx-lm's MODEL_REMAPPING: the module of a model type where they differ in name."""
    for node in ast.parse((sources() / "utils.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODEL_REMAPPING":
            found: dict[str, str] = ast.literal_eval(node.value)
            return found
    raise AssertionError("mlx-lm has no MODEL_REMAPPING any more")


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse((sources() / "models" / f"{module}.py").read_text())


def modules() -> tuple[str, ...]:
    """The modules of mlx-lm's that define a model."""
    return tuple(
        sorted(
            path.stem
            for path in (sources() / "models").glob("*.py")
            if "class ModelArgs" in path.read_text()
        )
    )


def _classes(module: str) -> dict[str, ast.ClassDef]:
    return {n.name: n for n in _tree(module).body if isinstance(n, ast.ClassDef)}


def nested(module: str) -> str | None:
    """The module whose class reads ``text_config``; None if this one has no such field."""
    outer = _classes(module).get("ModelArgs")
    if outer is None or "text_config" not in dict(_own_fields(outer)):
        return None
    aliases, calls, parents = [], [], []
    for node in ast.walk(_tree(module)):
        match node:
            case ast.ImportFrom(module=str(other), level=1, names=names):
                aliases += [other for n in names if n.asname == "TextConfig"]
                parents += [other for n in names if n.name == "Model"]
            case ast.Call(func=ast.Attribute(value=reader, attr="from_dict")):
                calls += [ast.unparse(reader)] if "text_config" in ast.unparse(node) else []
    others = [c.removesuffix(".ModelArgs") for c in calls if c.endswith(".ModelArgs")]
    # The last branch is for whatever no other branch takes.
    return (aliases + (others[-1:] or ([module] if calls else [])) + parents)[0]


def _own_fields(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    for each in node.body:
        if isinstance(each, ast.AnnAssign):
            name = ast.unparse(each.target)
            yield name, NO_DEFAULT if each.value is None else _value(each.value)


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _text_class(module: str) -> ast.ClassDef:
    classes = _classes(module)
    for name in ("TextModelArgs", "TextArgs", "TextConfig", "ModelArgs"):
        if name in classes:
            return classes[name]
    raise AssertionError(f"{module} has no class for its config")


def reading(module: str) -> ReadingSource:
    """What that module reads of the text model's config."""
    node = _text_class(module)
    fields: dict[str, Any] = {}
    for each in node.bases:
        parent, _, name = ast.unparse(each).rpartition(".")
        if parent and name == "ModelArgs":
            fields |= reading(parent).fields
    fields |= dict(_own_fields(node))
    inside = tuple(sorted(set(_looked_at(module)))) if "rope_parameters" in fields else ()
    return ReadingSource(fields, ("*",) if "*" in inside else inside, _top_first(module))


def _looked_at(module: str) -> Iterator[str]:
    parents = {c: p for p in ast.walk(_tree(module)) for c in ast.iter_child_nodes(p)}
    for node in ast.walk(_tree(module)):
        if not (isinstance(node, ast.Attribute) and node.attr == "rope_parameters"):
            continue
        parent = parents[node]
        if isinstance(node.ctx, ast.Store) or _only_asked(node, parents):
            continue
        key: ast.AST | None = parent.slice if isinstance(parent, ast.Subscript) else None
        if isinstance(parent, ast.Attribute) and parent.attr in ("get", "pop"):
            key = parents[parent].args[0]  # type: ignore[attr-defined]
        yield str(key.value) if isinstance(key, ast.Constant) else "*"


def _only_asked(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """True if it is asked whether there is something, and no more."""
    below, above = node, parents[node]
    while isinstance(above, ast.BoolOp):
        below, above = above, parents[above]
    return isinstance(above, ast.Compare) or (isinstance(above, ast.If) and above.test is below)


def _top_first(module: str) -> bool:
    return any(
        isinstance(n, ast.If)
        and ast.unparse(n.test) == "self.rope_theta is None"
        and "self.rope_theta = self.rope_parameters" in ast.unparse(n)
        for n in ast.walk(_tree(module))
    )


def written(model_type: str) -> dict[str, Any] | None:
    """The config.json of transformers' defaults for a type; None if it has no such type."""
    transformers = import_module("transformers")
    try:
        config = transformers.AutoConfig.for_model(model_type)
    except (ValueError, KeyError):
        return None
    fields: dict[str, Any] = config.to_dict()
    return fields

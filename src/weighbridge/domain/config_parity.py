"""Where mlx-lm and transformers make different models of one config.json.

transformers 5 writes RoPE's settings into ``rope_parameters`` and renames other fields; most of
mlx-lm's models look for the old names at the top, find none, and take a default without a word. A
LoRA trained on such a base learns to live with the wrong model. Decides from the config alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

from weighbridge.domain.config_view import ConfigView, config_view, number
from weighbridge.domain.mlx.reading import Default
from weighbridge.domain.transformers_defaults import UNKNOWN


class Cause(Enum):
    """What the two read differently."""

    ROPE_BASE = "the base of RoPE"
    ROPE_SCALING = "the scaling of RoPE"
    ROTARY_PART = "the part of a head that RoPE turns"
    MISSING = "a field that mlx-lm cannot do without"
    TIED_HEAD = "whether the head is the embedding"
    LAYER_PATTERN = "which layers are of which kind"
    BUILT_IN = "what mlx-lm's model has built in"


@frozen
class Divergence:
    """One field, by its path in config.json, and what each stack takes it for.

    ``line`` is what makes them agree if it is added beside that field; '' if nothing does.
    """

    cause: Cause
    where: str
    mlx: str
    transformers: str
    line: str = field(default="")

    def __str__(self) -> str:
        fix = f"; add {self.line} to config.json" if self.line else ""
        return f"{self.where}: mlx-lm {self.mlx}, transformers {self.transformers}{fix}"


#: The part of a head that RoPE turns in GLM-4 and RecurrentGemma comes from the code, not the
#: config; mlx-lm's GLM turns the whole head, and its RecurrentGemma knows one base.
_BUILT_IN_PART = {"glm": 1.0}
_BUILT_IN_BASE = {"recurrent_gemma": 10_000.0}
#: mlx-lm's wrapper sets ``tie_word_embeddings`` of the text model itself.
_UNTIES = frozenset({"mistral3", "pixtral", "lfm2-vl"})
#: A vocabulary that the wrapper writes into the text model's config.
_VOCABULARIES = {"gemma3": 262_208, "gemma4": 262_144}
#: Names that transformers 5 writes for fields that mlx-lm has by another.
_RENAMED = {"num_experts": "num_local_experts", "n_ctx": "n_positions"}


def divergences(config: Mapping[str, Any]) -> Iterator[Divergence]:
    """Every field that the two stacks are known to read differently in this config.

    Empty for a type that mlx-lm has no model for. Facts about mlx-lm are those of ``mlx_reading``.
    """
    view = config_view(config)
    if view is None:
        return
    yield from _missing(view)
    yield from _vocabulary(view)
    yield from _rope_base(view)
    yield from _local_base(view)
    yield from _rope_scaling(view)
    yield from _rotary_part(view)
    yield from _tied(view)
    yield from _pattern(view)
    yield from _built_in(view)


def _line(name: str, value: Any) -> str:
    whole = isinstance(value, float) and value == int(value) and abs(value) < 1e15
    return f'"{name}": {json.dumps(int(value) if whole else value)}'


def _theta(view: ConfigView) -> float | None:
    """RoPE's base in transformers; None if its model has no RoPE."""
    if view.defaults != UNKNOWN and view.defaults.theta is None:
        return None
    for value in (view.rope.get("rope_theta"), view.text.get("rope_theta"), view.defaults.theta):
        if (found := number(value)) is not None:
            return found
    return None


def _part(view: ConfigView) -> float | None:
    own = number(view.rope.get("partial_rotary_factor"))
    top = view.number("partial_rotary_factor")
    return own if own is not None else top if top is not None else view.defaults.partial


def _scaled(view: ConfigView) -> bool:
    # mrope is what Qwen's multimodal models are built with anyway.
    kind = view.rope.get("rope_type", view.rope.get("type", "default"))
    return kind not in ("default", "mrope")


def _differs(
    view: ConfigView, cause: Cause, name: str, mlx: float, transformers: float
) -> Iterator[Divergence]:
    if mlx != transformers:
        uses = (f"uses {mlx:.12g}", f"uses {transformers:.12g}")
        yield Divergence(cause, view.prefix + name, *uses, _line(name, transformers))


def _missing(view: ConfigView) -> Iterator[Divergence]:
    absent = (n for n in view.needs if n not in view.text)
    for name in (*absent, *_baseless(view), *_null(view)):
        values = _value(view, name)
        line = _line(name, values[0]) if values else ""
        yield Divergence(Cause.MISSING, view.prefix + name, "needs it", "does without", line)


def _baseless(view: ConfigView) -> Iterator[str]:
    """RoPE's base, where mlx-lm has no default and finds it neither at the top nor inside."""
    places = (view.text.get("rope_theta"), view.inside.get("rope_theta"))
    if view.reading.defaults.get("rope_theta", 0) is None and places == (None, None):
        yield "rope_theta"


def _null(view: ConfigView) -> Iterator[str]:
    """Fields whose null mlx-lm takes instead of its number, and cannot compute with."""
    for name, default in view.reading.defaults.items():
        elsewhere = name in view.reading.inside or view.whole_rope
        if name in view.text and view.text[name] is None and number(default) and not elsewhere:
            yield name


def _value(view: ConfigView, name: str) -> tuple[Any, ...]:
    """The value of a field that is there under another name, or that follows from others."""
    match name:
        case "rope_theta" | "rotary_emb_base":
            found: Any = _theta(view)
        case "rope_local_base_freq":
            found = number(view.local_rope.get("rope_theta"))
        case "partial_rotary_factor" | "rotary_pct":
            found = _part(view)
        case "rope_scaling":
            return (dict(view.rope) if _scaled(view) else None,)
        case "tie_word_embeddings":
            found = bool(view.whole.get("tie_word_embeddings", False))
        case "head_dim":
            heads, width = view.number("num_attention_heads"), view.number("hidden_size")
            found = width // heads if heads and width else None
        case _:
            found = view.text.get(_RENAMED.get(name, name))
    return () if found is None else (found,)


def _vocabulary(view: ConfigView) -> Iterator[Divergence]:
    usual, own = _VOCABULARIES.get(view.module), view.number("vocab_size")
    if usual and view.prefix and own not in (None, usual) and "vocab_size" not in view.whole:
        yield Divergence(Cause.MISSING, "vocab_size", f"without it expects {usual} words and needs",
                         f"takes {own:.0f} from text_config", _line("vocab_size", own))  # fmt: skip


def _rope_base(view: ConfigView) -> Iterator[Divergence]:
    wanted = _theta(view)
    if wanted is None or "rope_theta" not in view.reading.defaults:
        return
    top, inside = view.number("rope_theta"), number(view.inside.get("rope_theta"))
    reads = bool(view.reading.inside) and not (view.reading.top_first and top is not None)
    if reads and (inside is not None or view.whole_rope):
        return
    default = view.mlx_default("rope_theta")
    used = top if "rope_theta" in view.text else number(default)
    built_in = view.module in _BUILT_IN_BASE
    if used is not None and not built_in:
        yield from _differs(view, Cause.ROPE_BASE, "rope_theta", used, wanted)


def _local_base(view: ConfigView) -> Iterator[Divergence]:
    name = "rope_local_base_freq"
    default = view.reading.defaults.get(name)
    wanted = number(view.local_rope.get("rope_theta"))
    used = view.number(name) if name in view.text else number(default)
    if default is not None and wanted is not None and used is not None:
        yield from _differs(view, Cause.ROPE_BASE, name, used, wanted)


def _rope_scaling(view: ConfigView) -> Iterator[Divergence]:
    defaults = view.reading.defaults
    if not _scaled(view) or "rope_theta" not in defaults or view.whole_rope:
        return
    kind = str(view.rope.get("rope_type", view.rope.get("type")))
    if "rope_scaling" not in defaults:
        yield Divergence(Cause.BUILT_IN, f"{view.prefix}rope_parameters", "scales no RoPE in this "
                         "model", f"scales by {kind}")  # fmt: skip
    elif not view.text.get("rope_scaling") and defaults["rope_scaling"] is not Default.REQUIRED:
        yield Divergence(Cause.ROPE_SCALING, f"{view.prefix}rope_scaling", "scales nothing",
                         f"scales by {kind}", _line("rope_scaling", dict(view.rope)))  # fmt: skip


def _rotary_part(view: ConfigView) -> Iterator[Divergence]:
    name, wanted = "partial_rotary_factor", _part(view)
    if name not in view.reading.defaults or wanted is None or view.whole_rope:
        return
    used = view.number(name) if name in view.text else number(view.mlx_default(name))
    if used is not None:
        yield from _differs(view, Cause.ROTARY_PART, name, used, wanted)


def _tied(view: ConfigView) -> Iterator[Divergence]:
    name = "tie_word_embeddings"
    default = view.reading.defaults.get(name)
    # Around a text model transformers looks at the whole model's field; both are usually there.
    if name in view.whole or name in view.text or view.module in _UNTIES:
        return
    wanted = view.defaults.tied
    if isinstance(default, bool) and wanted is not None and default is not wanted:
        says = {True: "ties the head to the embedding", False: "loads a head of its own"}
        yield Divergence(Cause.TIED_HEAD, view.prefix + name, says[default], says[wanted],
                         _line(name, wanted))  # fmt: skip


def _pattern(view: ConfigView) -> Iterator[Divergence]:
    for name in ("sliding_window_pattern", "full_attention_interval"):
        kinds, default = view.text.get("layer_types"), view.reading.defaults.get(name)
        every = view.text.get(name, default)
        if not isinstance(kinds, list) or not kinds or not isinstance(default, int):
            continue
        full = [kind == "full_attention" for kind in kinds]
        if isinstance(every, int) and every > 0 and full == _every(every, len(full)):
            continue
        right = full.index(True) + 1 if True in full else len(full) + 1
        cause, line = Cause.LAYER_PATTERN, _line(name, right)
        if full != _every(right, len(full)):
            cause, line = Cause.BUILT_IN, ""  # mlx-lm knows no other than regular patterns
        mlx = f"has full attention in every layer divisible by {every}"
        yield Divergence(cause, view.prefix + name, mlx, "goes by layer_types", line)


def _every(count: int, layers: int) -> list[bool]:
    return [(number + 1) % count == 0 for number in range(layers)]


def _built_in(view: ConfigView) -> Iterator[Divergence]:
    part, base = _BUILT_IN_PART.get(view.module), _BUILT_IN_BASE.get(view.module)
    wanted, theta = _part(view), _theta(view)
    if part is not None and wanted is not None and part != wanted:
        yield Divergence(Cause.BUILT_IN, "partial_rotary_factor", "turns the whole head",
                         f"turns {wanted:g} of it")  # fmt: skip
    if base is not None and theta is not None and base != theta:
        yield Divergence(Cause.BUILT_IN, "rope_theta", f"knows only {base:g}",
                         f"uses {theta:g}")  # fmt: skip
    if view.module == "ernie4_5_moe":
        yield Divergence(Cause.BUILT_IN, "moe_use_aux_free", "drops the router's correction bias",
                         "adds it when it chooses experts")  # fmt: skip

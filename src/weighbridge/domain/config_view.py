"""A base's config.json as mlx-lm takes it: which of its models reads it, and from where.

Also says what transformers 5 makes of RoPE's fields, which may stand in three places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.mlx.needs import NEEDS
from weighbridge.domain.mlx.reading import NESTED, READINGS, REMAPPED, MlxReading
from weighbridge.domain.transformers_defaults import DEFAULTS, UNKNOWN, Defaults

Fields = Mapping[str, Any]

_NOTHING: Fields = {}
_AROUND_OTHERS = frozenset({"ministral3", "mistral4"})
_V3_CLASS = "BailingMoeV3ForCausalLM"


@frozen
class ConfigView:
    """``text`` are the fields of the text model; ``prefix`` is '' or 'text_config.'.

    ``module`` is mlx-lm's for the whole model, ``reading`` what is read of the text's, ``needs``
    what has to be there.
    """

    whole: Fields
    text: Fields
    prefix: str
    module: str
    reading: MlxReading
    defaults: Defaults
    needs: tuple[str, ...] = ()

    @property
    def rope(self) -> Fields:
        """The RoPE settings that transformers uses: of full attention, if each kind has its own.

        An old ``rope_scaling`` comes before ``rope_parameters`` (convert_rope_params_to_dict).
        """
        return self._rope("full_attention")

    @property
    def local_rope(self) -> Fields:
        """Those of sliding attention, if they are told apart."""
        return self._rope("sliding_attention") if "sliding_attention" in self.ropes else _NOTHING

    @property
    def ropes(self) -> Fields:
        """The mapping that holds them."""
        for name in ("rope_scaling", "rope_parameters"):
            found = self.text.get(name)
            if isinstance(found, Mapping) and found:
                return found
        return _NOTHING

    def _rope(self, kind: str) -> Fields:
        own = self.ropes.get(kind)
        return own if isinstance(own, Mapping) else self.ropes

    @property
    def inside(self) -> Fields:
        """``rope_parameters``, which some of mlx-lm's models read."""
        found = self.text.get("rope_parameters")
        return found if isinstance(found, Mapping) else _NOTHING

    @property
    def whole_rope(self) -> bool:
        """True if mlx-lm's model takes ``rope_parameters`` as a whole, as transformers does."""
        return "*" in self.reading.inside and bool(self.inside)

    def number(self, name: str) -> float | None:
        """The top-level field of that name in the text's part, if it is a number."""
        return number(self.text.get(name))

    def mlx_default(self, name: str) -> Any:
        """The default of mlx-lm's field; ``Default.REQUIRED`` or KeyError if it has none."""
        return self.reading.defaults[name]


def number(value: Any) -> float | None:
    """``value`` as a finite number; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # An integer of 400 digits is no float.
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def config_view(config: Fields) -> ConfigView | None:
    """None if config.json names no type, or one that mlx-lm has no model for."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return None
    module = _module(config, model_type)
    text, prefix, reader, text_type = config, "", module, model_type
    nested = config.get("text_config")
    if module in NESTED and isinstance(nested, Mapping):
        text, prefix, reader = nested, "text_config.", NESTED[module]
        text_type = str(nested.get("model_type"))
        if module == "mistral3" and text_type in _AROUND_OTHERS:
            reader = text_type
    elif module in NESTED:
        reader = NESTED[module]
    elif module == "muse_glimmer" and isinstance(nested, Mapping):
        text = {**nested, **config}
    if reader not in READINGS and reader not in NEEDS:
        return None
    # mlx-lm chooses Bailing's third version by its class; transformers has one type for all.
    own = UNKNOWN if module == "bailing_moe_v3" else DEFAULTS.get(text_type, UNKNOWN)
    reading = READINGS.get(reader, MlxReading({}))
    return ConfigView(config, text, prefix, module, reading, own, NEEDS.get(reader, ()))


def _module(config: Fields, model_type: str) -> str:
    named = config.get("architectures")
    if model_type == "bailing_hybrid" and isinstance(named, list) and _V3_CLASS in named:
        return "bailing_moe_v3"
    return REMAPPED.get(model_type, model_type)

"""The effective LoRA scale: what mlx-lm multiplied by, decided from the config's signature.

``scale`` changed its meaning on 2024-06-02 (mlx-lm 0.14.2): before, ``scale * alpha / rank`` was
applied; since, ``scale`` alone, although ``alpha`` was still written until 2025-04.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attrs import frozen


@frozen
class Scale:
    """The multiplier, or the reason why it cannot be known."""

    value: float | None
    reason: str = ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def is_forge(config: Mapping[str, Any]) -> bool:
    """True for what MLX Forge writes beside an adapter that it uploads, and nobody else does."""
    return set(config) == {"method", "rank", "scale", "base_model"}


def effective_scale(config: Mapping[str, Any], rank: int) -> Scale:
    """The multiplier for LoRA tensors of that rank, or why ``--scale`` must say it."""
    parameters = config.get("lora_parameters")
    if is_forge(config) and (divided := _number(config["scale"])) is not None:
        return Scale(divided / rank)
    if not isinstance(parameters, dict):
        return Scale(None, _without_parameters(config))
    scale, alpha = _number(parameters.get("scale")), _number(parameters.get("alpha"))
    if scale is None:
        return Scale(None, "lora_parameters.scale is missing or no number; give --scale")
    if "lora_layers" not in config or alpha is None or alpha == rank:
        return Scale(scale)
    if "use_dora" not in config:  # 0.6.0 to 0.13.0
        return Scale(scale * alpha / rank)
    return Scale(
        None,
        f"the config is from mlx-lm 0.13.1 to 0.18.1, where the scale was {scale * alpha / rank:g} "
        f"or {scale:g} depending on the version; give --scale",
    )


def scale_to_use(config: Mapping[str, Any], rank: int, said: float | None = None) -> Scale:
    """What ``--scale`` said, else what the config tells; or why nothing can be made with that.

    A negative one is applied by MLX as any other, but more often it is a slip that makes the LoRA
    do the opposite: so ``--scale`` has to say it.
    """
    found = effective_scale(config, rank) if said is None else Scale(said)
    if found.value is None:
        return found
    if found.value == 0 or not math.isfinite(found.value):
        return Scale(None, f"scale {found.value:g} leaves nothing of the LoRA; give what MLX "
                     "multiplied by with --scale")  # fmt: skip
    if found.value < 0 and said is None:
        return Scale(None, f"scale {found.value:g} makes the LoRA do the opposite; if MLX "
                     "multiplied by that, say so with --scale")  # fmt: skip
    return found


def _without_parameters(config: Mapping[str, Any]) -> str:
    """Why a config in another form than mlx-lm's does not tell the scale."""
    rank, alpha = _number(config.get("rank")), _number(config.get("alpha"))
    if rank and alpha is not None:
        return (
            f"the config is mlx-vlm's, which multiplied by alpha ({alpha:g}) before 2026-04-18 and "
            f"by alpha / rank ({alpha / rank:g}) since, and its files do not tell which; "
            "give --scale"
        )
    if not config:
        return "there is no config that says what the LoRA is multiplied by; give --scale"
    return "lora_parameters is missing; give --scale"

"""Whether two stacks that ran the same model agree, and how small a mistake would have shown.

The evidence is four arrays of logits on the same tokens: two stacks (MLX, and transformers with
PEFT), each without and with the LoRA. Comparing the two LoRA runs alone mixes two things up, so
this module first asks whether the *base* models agree, and then compares *effects*, logits with
the LoRA minus logits without: a systematic difference of the stacks (another GELU formula)
cancels there. Decides on numbers only; how they are obtained is the prover's business.

The limits are chosen from measurements with mlx-lm 0.32, transformers 5.23 and PEFT 0.21, in
float32 on a CPU. Strong LoRAs change a logit by a fifth of M, the largest logit, or more: seven
tiny families and SmolLM2-135M. Weak ones change it by 2e-4 to 5e-2 of M: Llama, Gemma, SmolLM2.

===============================  ============  ====================
                                 right         lora_alpha 1 % wrong
===============================  ============  ====================
base difference / M              4e-7 to 9e-5  the same
base difference / M, other RoPE  0.09 to 1.0   the same
effect error, strong LoRA        7e-7 to 3e-4  8e-3 to 1.4e-2
effect error, weak LoRA          2e-5 to 7e-3  9.9e-3 to 1.2e-2
scale error, size                3e-9 to 2e-4  2.9e-3 to 1.0e-2
===============================  ============  ====================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from weighbridge.domain.config_parity import divergences
from weighbridge.domain.proof import Figure

BASE_LIMIT: Final = 1e-3
"""Largest base difference, relative to the largest logit: three times what the worst GELU variants
give (GPT-NeoX, StarCoder2: 3e-4), a ninetieth of the mildest wrong RoPE."""

EFFECT_LIMIT: Final = 3e-3
"""Largest relative error of the LoRA's effect."""

SCALE_LIMIT: Final = 2e-3
"""Largest relative error of the LoRA's strength. A strong LoRA saturates the norms after it, so
that 1 % of alpha is as little as 0.3 % of its effect."""

_ROUNDING = 2e-6
_MOST_ROUNDING = 1e-5
_MEASURABLE = 10.0


@frozen
class LogitParity:
    """What two stacks' logits have in common. Differences are absolute, in units of a logit.

    ``largest_logit``: the largest magnitude in the first stack's base logits.
    ``base_difference``, ``lora_difference``: the largest difference between the stacks.
    ``lora_effect``: the largest change that the LoRA makes in the first stack.
    ``base_square``, ``effect_square``, ``error_square``: means of the squares of the base
    difference, of the first stack's effect, and of the difference between both effects.
    ``error_projection``: mean of effect times difference of effects.
    ``positions``: tokens that were judged. ``argmax_agreement``: the part of them at which both
    stacks with the LoRA prefer the same token. ``finite``: no logit is an infinity or NaN.
    """

    largest_logit: float
    base_difference: float
    lora_difference: float
    lora_effect: float
    base_square: float
    effect_square: float
    error_square: float
    error_projection: float
    positions: int
    argmax_agreement: float
    finite: bool = True

    @property
    def base_agrees(self) -> bool:
        """True if the base models differ by no more than arithmetic explains."""
        return self.finite and self.base_difference <= BASE_LIMIT * self.largest_logit

    @property
    def noise(self) -> float:
        """Root mean square that rounding may give the difference of effects.

        Three times what the bases differ by, within bounds: a systematic difference is larger,
        and cancels; and two bases that happen to agree exactly prove no exact arithmetic.
        """
        measured = 3 * math.sqrt(self.base_square)
        bounds = _ROUNDING * self.largest_logit, _MOST_ROUNDING * self.largest_logit
        return min(max(measured, bounds[0]), bounds[1])

    @property
    def measurable(self) -> bool:
        """True if the LoRA changes logits by much more than rounding does."""
        return math.sqrt(self.effect_square) > _MEASURABLE * self.noise

    @property
    def effect_error(self) -> float:
        """How far the second stack's effect is from the first's, relative to it (0: equal)."""
        return math.sqrt(self.error_square / self.effect_square) if self.effect_square else 0.0

    @property
    def effect_resolution(self) -> float:
        """The smallest ``effect_error`` that is taken for a mistake."""
        if not self.effect_square:
            return math.inf
        explained = 10 * self.base_difference / self.largest_logit if self.largest_logit else 0.0
        return max(self.noise / math.sqrt(self.effect_square), EFFECT_LIMIT, explained)

    @property
    def scale_error(self) -> float:
        """By how much the second stack's effect is stronger (0.01: by one per cent).

        The least-squares factor between the effects. It averages rounding over all positions,
        so it shows a wrong alpha in a LoRA so weak that ``effect_error`` cannot.
        """
        return self.error_projection / self.effect_square if self.effect_square else 0.0

    @property
    def scale_resolution(self) -> float:
        """The smallest ``scale_error`` that is taken for a mistake: three standard errors.

        Only positions are counted as independent, not the thousands of logits at each.
        """
        if not self.effect_square:
            return math.inf
        left = max(self.error_square / self.effect_square - self.scale_error**2, 0.0)
        return max(3 * math.sqrt(left / self.positions), SCALE_LIMIT)

    @property
    def lora_limit(self) -> float:
        """The largest ``lora_difference`` that is not taken for a mistake."""
        return max(3 * self.base_difference, 1e-4 * self.largest_logit)

    @property
    def figures(self) -> tuple[tuple[str, Figure], ...]:
        """The numbers to report, by name."""
        largest = self.largest_logit or 1.0
        return (
            ("positions", self.positions),
            ("largest_logit", self.largest_logit),
            ("base_difference", self.base_difference),
            ("base_difference_relative", self.base_difference / largest),
            ("lora_effect", self.lora_effect),
            ("lora_effect_relative", self.lora_effect / largest),
            ("lora_difference", self.lora_difference),
            ("lora_difference_relative", self.lora_difference / largest),
            ("effect_error", self.effect_error),
            ("smallest_visible_effect_error", self.effect_resolution),
            ("scale_error", self.scale_error),
            ("smallest_visible_scale_error", self.scale_resolution),
            ("argmax_agreement", self.argmax_agreement),
        )


def lora_problems(parity: LogitParity) -> tuple[str, ...]:
    """What is wrong with the second stack's LoRA, given that the base models agree."""
    if not parity.measurable:
        return (
            f"the LoRA has no measurable effect: it changes logits by {parity.lora_effect:.2e},"
            f" rounding by about {parity.noise:.2e}; nothing can be proved with it",
        )
    found = []
    if parity.lora_difference > parity.lora_limit:
        found.append(
            f"with the LoRA, MLX and PEFT differ by {parity.lora_difference:.2e} in a logit;"
            f" {parity.lora_limit:.2e} would be explained by their arithmetic"
        )
    if parity.effect_error > parity.effect_resolution:
        found.append(
            f"the LoRA's effect in PEFT is {parity.effect_error:.2%} away from that in MLX;"
            f" {parity.effect_resolution:.2%} would be explained by rounding"
        )
    if abs(parity.scale_error) > parity.scale_resolution:
        found.append(
            f"the LoRA's effect in PEFT is {1 + parity.scale_error:.4f} times that in MLX;"
            " look at lora_alpha first if nothing else is wrong"
        )
    return tuple(found)


def base_suspects(config: Mapping[str, Any], unfound: Sequence[str] = ()) -> Iterator[str]:
    """Likely causes of a difference between the base models, most likely first.

    ``config`` is the base's config.json; ``unfound`` names the weights that transformers did not
    find and made up. What the two stacks read differently is ``config_parity``'s; a suspicion is
    no verdict.
    """
    if unfound:
        shown = ", ".join(unfound[:5]) + (", ..." if len(unfound) > 5 else "")
        yield f"transformers did not find {len(unfound)} weights and made them up: {shown}"
    yield from map(str, divergences(config))
    text = config.get("text_config")
    fields = text if isinstance(text, Mapping) else config
    activation = str(fields.get("hidden_activation") or fields.get("hidden_act"))
    if "gelu" in activation:
        yield f"config.json asks for {activation}: mlx-lm has one GELU built into each model"

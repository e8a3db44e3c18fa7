"""The CATALOGUE: every rule, family by family, in the order of their codes' families."""

from __future__ import annotations

from weighbridge.domain.findings import Rule
from weighbridge.domain.rules import (
    adapter_settings,
    base_parity,
    card,
    config,
    container,
    directory,
    executable,
    fused,
    header_contents,
    index,
    layout,
    lora,
    lora_base,
    lora_forms,
    peft,
    peft_settings,
    quantisation,
    secrets,
    templates,
    tokenizer,
    weight_values,
    weights,
    whole_model,
)

CATALOGUE: tuple[Rule, ...] = (
    *layout.RULES,
    *directory.RULES,
    *executable.RULES,
    *secrets.RULES,
    *card.RULES,
    *container.RULES,
    *header_contents.RULES,
    *index.RULES,
    *config.RULES,
    *whole_model.RULES,
    *base_parity.RULES,
    *lora.RULES,
    *lora_base.RULES,
    *lora_forms.RULES,
    *adapter_settings.RULES,
    *peft_settings.RULES,
    *peft.RULES,
    *fused.RULES,
    *quantisation.RULES,
    *weights.RULES,
    *weight_values.RULES,
    *tokenizer.RULES,
    *templates.RULES,
)


def find_rule(key: str) -> Rule | None:
    """The rule of that code or name."""
    wanted = key.strip()
    return next((r for r in CATALOGUE if wanted.upper() == r.code or wanted == r.name), None)

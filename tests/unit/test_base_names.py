"""What the name of a base tells: MLX's own conversions, and those that others call alike."""

from __future__ import annotations

import pytest

from weighbridge.domain.base_names import looks_quantised


@pytest.mark.parametrize(
    "name",
    ["mlx-community/Qwen3-4B-4bit-DWQ-053125", "mlx-community/gpt-oss-20b-MXFP4-Q8",
     "mlx-community/Qwen3-8B-4bit-AWQ", "lmstudio-community/Qwen3-4B-MLX-8bit",
     "mlx-community/DeepSeek-V3.1-4.5bpw", "mlx-community/QwQ-32b-6.5bit",
     "mlx-community/Llama-3.2-1B-3bit-gs32", "mlx-community/Qwen3-8B-mixed_3_6bit",
     "me/base-mxfp4", "me/base-nvfp4", "me/base_4bit"],
)  # fmt: skip
def test_what_mlx_packed(name: str) -> None:
    assert looks_quantised(name)


@pytest.mark.parametrize(
    "name",
    ["Qwen/Qwen3-0.6B", "mlx-community/Qwen3-0.6B-bf16", "nvidia/Qwen3-8B-NVFP4",
     "RedHatAI/Llama-3.3-70B-Instruct-NVFP4", "unsloth/Llama-3.2-1B-Instruct-bnb-4bit",
     "mobiuslabsgmbh/Llama-2-7b-chat-hf-4bit_g64-HQQ", "me/Llama-3-8B-autoround-4bit",
     "me/Qwen3-8B-exl2-4bit", "me/Llama-3-8B-AQLM-2Bit", "me/Llama-3-8B-Q4", "me/habit"],
)  # fmt: skip
def test_what_others_packed_or_nobody(name: str) -> None:
    assert not looks_quantised(name)

"""What the name of a base tells: MLX's own conversions, and those that others call alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import lora_files, write
from weighbridge.domain.base_names import looks_quantised
from weighbridge.entrypoints.options import base_directory
from weighbridge.entrypoints.settings import Settings


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


@pytest.mark.parametrize(
    ("trained_on", "said", "found"),
    [
        ("acme/base", None, "acme/base"),
        ("mlx-community/base-4bit", None, "mlx-community/base-4bit"),
        ("mlx-community/base-4bit", "acme/base", "acme/base"),
        ("mlx-community/base-4bit", "acme/none", "mlx-community/base-4bit"),
        ("acme/base", "acme/none", None),
        ("acme/none", None, None),
    ],
)
def test_the_base_in_the_cache(
    trained_on: str, said: str | None, found: str | None, tmp_path: Path
) -> None:
    """The original if it is there, else the quantised copy that the run names, and no other."""
    run = write(tmp_path / "run", lora_files(model=trained_on))
    for name in ("acme/base", "mlx-community/base-4bit"):
        folder = f"hub/models--{name.replace('/', '--')}"
        write(
            tmp_path, {f"{folder}/refs/main": b"abc", f"{folder}/snapshots/abc/config.json": b"{}"}
        )
    place = base_directory(run, None, said, None, Settings(hub_cache=str(tmp_path / "hub")))
    assert (place and Path(place).parts[-3]) == (found and "models--" + found.replace("/", "--"))

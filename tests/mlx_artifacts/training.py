"""mlx-lm's own entry points, run on a tiny data set: train, fuse, quantise."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .cache import cached

_SENTENCES = (
    "a lorry is weighed before it leaves the yard and the slip is signed",
    "weights are checked before they leave the machine and the digest is kept",
    "what is published is what was trained and that is proved not assumed",
    "a broken artifact is refused before the first byte is written or sent",
)

# Small enough for a second of training, and strong enough (Adam moves each lora_b by about the
# learning rate per step) that the LoRA changes logits far above the rounding of float32.
_QUICK = {
    "train": True,
    "batch_size": 2,
    "val_batches": 1,
    "learning_rate": 1e-3,
    "steps_per_report": 5,
    "max_seq_length": 64,
}


def write_data(directory: Path) -> Path:
    """Write train.jsonl and valid.jsonl in mlx-lm's text form; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": sentence}) + "\n" for sentence in _SENTENCES]
    (directory / "train.jsonl").write_text("".join(lines * 2))
    (directory / "valid.jsonl").write_text("".join(lines))
    return directory


def train_lora(
    base: Path,
    run_dir: Path,
    *,
    rank: int = 8,
    scale: float = 20.0,
    num_layers: int = -1,
    keys: list[str] | None = None,
    iters: int = 5,
    fine_tune_type: str = "lora",
    model_name: str | None = None,
    **config: Any,
) -> Path:
    """Train with ``mlx_lm.lora`` and return ``run_dir/adapters``.

    The directory holds what mlx-lm wrote: adapters.safetensors, adapter_config.json and one
    numbered checkpoint (``save_every`` is ``iters`` unless given). ``keys`` None trains mlx-lm's
    default, every linear module of the chosen layers. ``config`` overrides any other option.

    ``model_name`` replaces the ``model`` of adapter_config.json afterwards. mlx-lm needs a local
    path here, for want of a network; on a user's Mac the same file holds the Hub id that was
    passed as ``--model``. It is the only byte of these artifacts that mlx-lm did not write.
    """
    from mlx_lm.lora import CONFIG_DEFAULTS, run

    parameters: dict[str, Any] = {"rank": rank, "dropout": 0.0, "scale": scale}
    if keys is not None:
        parameters["keys"] = keys
    adapters = run_dir / "adapters"
    options = {
        "model": str(base),
        "data": str(write_data(run_dir / "data")),
        "adapter_path": str(adapters),
        "fine_tune_type": fine_tune_type,
        "num_layers": num_layers,
        "iters": iters,
        "save_every": iters,
        "lora_parameters": parameters,
    }
    run(SimpleNamespace(**{**CONFIG_DEFAULTS, **_QUICK, **options, **config}))
    if model_name is not None:
        _rename_model(adapters / "adapter_config.json", model_name)
    return adapters


def tiny_lora(base: Path, **options: Any) -> Path:
    """``train_lora`` on a cached base, from the cache; the directory that mlx-lm wrote to."""
    name = f"lora-on-{base.name.rpartition('-')[0]}"
    return cached(name, functools.partial(train_lora, base, **options)) / "adapters"


def fuse(base: Path, adapters: Path, out: Path, dequantize: bool = False) -> Path:
    """Run ``mlx_lm fuse`` and return ``out``. Raises RuntimeError with what it printed."""
    # A subprocess, for fuse has no entry point but a main() that reads sys.argv.
    command = [sys.executable, "-m", "mlx_lm", "fuse", "--model", str(base)]
    command += ["--adapter-path", str(adapters), "--save-path", str(out)]
    command += ["--dequantize"] if dequantize else []
    done = subprocess.run(
        command,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"mlx_lm fuse: {done.stderr[-2000:]}")
    return out


def quantise(base: Path, out: Path, bits: int = 4) -> Path:
    """Run ``mlx_lm.convert --quantize`` and return ``out``, which must not exist yet."""
    from mlx_lm import convert

    convert(str(base), str(out), quantize=True, q_bits=bits)
    return out


def _rename_model(path: Path, model_name: str) -> None:
    config = json.loads(path.read_text())
    config["model"] = model_name
    # As mlx_lm.utils.save_config writes it: sorted, four spaces, no final newline.
    path.write_text(json.dumps(dict(sorted(config.items())), indent=4))

"""Conversions as people write them: published scripts that turn an MLX LoRA into a PEFT adapter,
re-told with the mistakes that each of them makes. None of them is right.

Every function reads the directory that mlx-lm wrote and fills ``out``; what it gets wrong is in
its docstring and nothing else is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Script = Callable[[Path, Path], Path]

_SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _load(adapters: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors.numpy import load_file

    config = json.loads((adapters / "adapter_config.json").read_text())
    return load_file(adapters / "adapters.safetensors"), config


def _save(
    out: Path, tensors: dict[str, Any], config: Any, name: str = "adapter_model.safetensors"
) -> Path:
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / name)
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2))
    return out


def _peft(config: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The settings that all of these scripts have about right."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config["model"],
        "r": config["lora_parameters"]["rank"],
        "lora_alpha": config["lora_parameters"]["scale"],
        "lora_dropout": config["lora_parameters"]["dropout"],
        "bias": "none",
        "inference_mode": True,
    } | changed


def _suffix(name: str) -> str:
    return name.replace(".lora_a", ".lora_A.weight").replace(".lora_b", ".lora_B.weight")


def _turned(array: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(array.T)


def stripped_prefix(adapters: Path, out: Path) -> Path:
    """Keeps MLX's orientation; strips ``model.`` before it adds PEFT's prefix; takes the scale for
    lora_alpha; lists seven modules whatever was trained."""
    tensors, config = _load(adapters)
    named = {
        "base_model.model." + _suffix(name.removeprefix("model.")): array
        for name, array in tensors.items()
    }
    return _save(out, named, _peft(config, target_modules=_SEVEN))


def half_prefix(adapters: Path, out: Path) -> Path:
    """Adds ``base_model.`` where ``base_model.model.`` is wanted; keeps the orientation; takes the
    scale for lora_alpha; four attention modules by heart."""
    tensors, config = _load(adapters)
    named = {"base_model." + _suffix(name): array for name, array in tensors.items()}
    return _save(out, named, _peft(config, target_modules=_SEVEN[:4]))


def scale_for_alpha(adapters: Path, out: Path) -> Path:
    """Right tensors; lora_alpha is float(scale); without ``keys`` only q_proj and v_proj are
    listed, so that PEFT ignores the rest."""
    tensors, config = _load(adapters)
    named = {"base_model.model." + _suffix(n): _turned(a) for n, a in tensors.items()}
    keys = config["lora_parameters"].get("keys") or ["q_proj", "v_proj"]
    targets = sorted({key.rpartition(".")[2] for key in keys})
    alpha = float(config["lora_parameters"]["scale"])
    return _save(out, named, _peft(config, lora_alpha=alpha, target_modules=targets))


def view_of_the_transpose(adapters: Path, out: Path, rank: int = 16) -> Path:
    """Saves ``array.T``, a view, which safetensors.numpy 0.8.0 writes in the old order; takes the
    rank from an option's default, and the same number for lora_alpha."""
    tensors, config = _load(adapters)
    named = {
        _suffix(name.replace("model.layers.", "base_model.model.model.layers.")): array.T
        for name, array in tensors.items()
    }
    return _save(out, named, _peft(config, r=rank, lora_alpha=rank, target_modules=_targets(named)))


def view_with_the_right_settings(adapters: Path, out: Path) -> Path:
    """Nothing is wrong but the bytes: ``array.T`` by way of safetensors.numpy."""
    tensors, config = _load(adapters)
    named = {"base_model.model." + _suffix(name): array.T for name, array in tensors.items()}
    parameters = config["lora_parameters"]
    alpha = int(parameters["scale"] * parameters["rank"])
    return _save(out, named, _peft(config, lora_alpha=alpha, target_modules=_targets(named)))


def dumped_settings(adapters: Path, out: Path) -> Path:
    """No prefix at all, and mlx-lm's own settings where PEFT's belong, with a lora_alpha that is
    the scale."""
    tensors, config = _load(adapters)
    named = {_suffix(name): array for name, array in tensors.items()}
    return _save(out, named, config | {"lora_alpha": config["lora_parameters"]["scale"]})


def default_in_names(adapters: Path, out: Path) -> Path:
    """PEFT's names in memory rather than in a file; the rest is right, but only what is below
    ``model.layers`` is taken."""
    tensors, config = _load(adapters)
    named = {
        "base_model.model." + _suffix(name).replace(".weight", ".default.weight"): _turned(array)
        for name, array in tensors.items()
        if name.startswith("model.layers.")
    }
    parameters = config["lora_parameters"]
    alpha = parameters["scale"] * parameters["rank"]
    targets = sorted({name.split(".")[-4] for name in named})
    return _save(out, named, _peft(config, lora_alpha=alpha, target_modules=targets))


def other_file_name(adapters: Path, out: Path) -> Path:
    """Right orientation, no prefix, and a file that no loader looks for."""
    tensors, config = _load(adapters)
    named = {_suffix(name): _turned(array) for name, array in tensors.items()}
    settings = _peft(config, target_modules=_SEVEN)
    return _save(out, named, settings, "pytorch_model.safetensors")


def mlx_file_name(adapters: Path, out: Path) -> Path:
    """Right names in a file with the name that MLX gives it."""
    tensors, config = _load(adapters)
    named = {"base_model.model." + _suffix(n): _turned(a) for n, a in tensors.items()}
    settings = _peft(config, target_modules=_targets(named))
    return _save(out, named, settings, "adapters.safetensors")


def multimodal_prefix(adapters: Path, out: Path) -> Path:
    """The containers of a multimodal wrapper, for a base that has none; the quantised repository
    of the training as base."""
    tensors, config = _load(adapters)
    named = {
        "base_model.model.language_model." + _suffix(n): _turned(a) for n, a in tensors.items()
    }
    parameters = config["lora_parameters"]
    alpha = int(parameters["scale"] * parameters["rank"])
    base = "mlx-community/tiny-4bit"
    settings = _peft(config, lora_alpha=alpha, base_model_name_or_path=base)
    return _save(out, named, settings | {"target_modules": _targets(named)})


def copied_weights(adapters: Path, out: Path) -> Path:
    """Copies the file under PEFT's name, and writes PEFT's settings beside it; ``peft_type`` in
    lower case, the converter's own mark in the config."""
    _, config = _load(adapters)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(adapters / "adapters.safetensors", out / "adapter_model.safetensors")
    settings = _peft(config, peft_type="lora", target_modules=_SEVEN, converted_from="mlx")
    (out / "adapter_config.json").write_text(json.dumps(settings))
    return out


def stub(adapters: Path, out: Path) -> Path:
    """Says that it converts, and writes settings only."""
    _, config = _load(adapters)
    out.mkdir(parents=True, exist_ok=True)
    (out / "adapter_config.json").write_text(json.dumps(_peft(config, target_modules=_SEVEN)))
    return out


def _targets(named: dict[str, Any]) -> list[str]:
    return sorted({name.split(".")[-3] for name in named})


#: Those that hold every value, in whatever disguise.
SCRIPTS: tuple[Script, ...] = (
    stripped_prefix,
    half_prefix,
    scale_for_alpha,
    view_of_the_transpose,
    view_with_the_right_settings,
    dumped_settings,
    default_in_names,
    other_file_name,
    mlx_file_name,
    multimodal_prefix,
    copied_weights,
)

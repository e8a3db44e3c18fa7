"""Computes logits with MLX: of the base model, and of the base with the LoRA as mlx-lm wrote it.

Request: ``base`` and ``source`` (directories), ``weights`` (a file of the latter), ``scale``,
``tokens`` (rows of ids), ``output`` (a directory for base.npy and lora.npy, float32 of shape
rows x columns x vocabulary), ``answer``.

The LoRA is attached by mlx-lm's own ``load_adapters``, which is what training and generation
use. Only where the source's config cannot be read by today's mlx-lm, or means another scale by
now than when it was written, is the config stated anew; the answer says so.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from weighbridge.adapters.workers.stages import begin
from weighbridge.domain.detection import pair_targets
from weighbridge.domain.tensors import TensorSpec

WEIGHTS = "adapters.safetensors"
CONFIG = "adapter_config.json"


def compute(request: dict[str, Any]) -> dict[str, Any]:
    """Write both arrays and return the answer. Raises what mlx-lm raises."""
    # Imported by name, so that type checking needs no vendor; Any is confined to these files.
    begin(request, "importing MLX")
    mx = import_module("mlx.core")
    # One arithmetic on every machine: the tolerances were measured on the CPU.
    mx.set_default_device(mx.cpu)
    started = time.monotonic()
    base, source = Path(request["base"]), Path(request["source"])
    output, tokens = Path(request["output"]), mx.array(request["tokens"])
    begin(request, "the base model in MLX")
    model = load_base(base)
    save_logits(model, tokens, output / "base.npy")
    begin(request, "the LoRA in MLX")
    model, stated_anew = attach(model, base, source, request["weights"], request["scale"])
    save_logits(model, tokens, output / "lora.npy")
    return {
        "largest_lora_b": largest_lora_b(model),
        "stated_anew": stated_anew,
        "seconds": time.monotonic() - started,
        "versions": {
            "mlx": str(mx.__version__),
            "mlx_lm": str(import_module("mlx_lm").__version__),
        },
    }


def load_base(base: Path) -> Any:
    """The base model; its weights are read when they are first used."""
    load_model = import_module("mlx_lm.utils").load_model
    return load_model(base, lazy=True, get_model_classes=in_float32)[0]


def in_float32(config: dict[str, Any]) -> tuple[Any, Any]:
    """mlx-lm's classes for that config, of which the model has its weights in float32 before
    ``sanitize``: what that adds to the norms of Qwen3.5 and Qwen3-Next it rounds to bfloat16, where
    transformers adds it in float32 to what is stored. And GPT-2's without the prefix that
    checkpoints may have for transformers, and mlx-lm does not know."""
    mx = import_module("mlx.core")
    model, arguments = import_module("mlx_lm.utils")._get_classes(config=config)
    own = getattr(model, "sanitize", lambda _, weights: weights)

    def sanitize(self: Any, weights: dict[str, Any]) -> Any:
        halves = (mx.bfloat16, mx.float16)
        prefix = "transformer." if config.get("model_type") == "gpt2" else ""
        return own(self, {
            name.removeprefix(prefix): value.astype(mx.float32) if value.dtype in halves else value
            for name, value in weights.items()
        })  # fmt: skip

    return type(model.__name__, (model,), {"sanitize": sanitize}), arguments


def save_logits(model: Any, tokens: Any, path: Path) -> None:
    """Cast the model to float32, run it without dropout, and save its logits."""
    mx, numpy = import_module("mlx.core"), import_module("numpy")
    model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    # load_adapters adds layers in training mode, where dropout would draw random numbers.
    model.eval()
    numpy.save(path, numpy.array(model(tokens).astype(mx.float32)))


def attach(model: Any, base: Path, source: Path, weights: str, scale: float) -> tuple[Any, bool]:
    """The model with the LoRA in ``source``, and whether it had to be stated anew."""
    load_adapters = import_module("mlx_lm.tuner.utils").load_adapters
    mx = import_module("mlx.core")
    tensors = as_mlx_lm(mx.load(str(source / weights)))
    actual = facts(tensors, scale)
    if weights == WEIGHTS and means_the_same(written_config(source), actual):
        try:
            return load_adapters(model, str(source)), False
        except (AttributeError, KeyError, ValueError):
            # An older mlx-lm's layers, keys or rank. The model may have some LoRA layers by now.
            model = load_base(base)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / CONFIG).write_text(json.dumps(actual), encoding="utf-8")
        mx.save_safetensors(str(Path(scratch) / WEIGHTS), tensors)
        return load_adapters(model, scratch), True


def written_config(source: Path) -> dict[str, Any]:
    """The source's config; empty if the trainer wrote none."""
    path = source / CONFIG
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def as_mlx_lm(tensors: dict[str, Any]) -> dict[str, Any]:
    """The same LoRA under today's names, in today's shapes, and of one rank.

    mlx-vlm called the factors A and B, layers of nn.Linear and MLX Forge hold them transposed,
    mlx-lm before 0.28.3 flattened stacked experts, and other trainers give each module a rank of
    its own.
    """
    mx = import_module("mlx.core")
    found = {}
    turned = turned_factors(tensors)
    for name, value in tensors.items():
        value = value.T if name in turned else value
        if name.endswith((".lora_a.weight", ".lora_b.weight")):
            name = name.removesuffix(".weight")
        for old, new in ((".A", ".lora_a"), (".B", ".lora_b"), (".magnitude", ".m")):
            name = name.removesuffix(old) + new if name.endswith(old) else name
        found[name] = value
    rank = max(ranks(found), default=1)
    for name, a in found.items():
        b = found.get(f"{name.removesuffix('lora_a')}lora_b")
        if not name.endswith(".lora_a") or b is None:
            continue
        if b.ndim == 3:
            a = a.reshape(b.shape[0], b.shape[-1], -1)
            missing = rank - b.shape[-1]
            pads = [(0, 0), (0, missing), (0, 0)], [(0, 0), (0, 0), (0, missing)]
        else:
            missing = rank - b.shape[0]
            pads = [(0, 0), (0, missing)], [(0, missing), (0, 0)]
        found[name], found[f"{name[:-1]}b"] = mx.pad(a, pads[0]), mx.pad(b, pads[1])
    return found


def turned_factors(tensors: dict[str, Any]) -> set[str]:
    """The names of the factors that lie as those of linear layers."""
    specs = [TensorSpec(name, "F32", tuple(value.shape)) for name, value in tensors.items()]
    targets, _ = pair_targets(specs)
    return {spec.name for t in targets if t.turned for spec in (t.a, t.b)}


def ranks(tensors: dict[str, Any]) -> set[int]:
    """The last axis of lora_b is the rank for stacked experts, the first one for a matrix."""
    return {t.shape[0 if t.ndim == 2 else -1] for k, t in tensors.items() if k.endswith("lora_b")}


def facts(tensors: dict[str, Any], scale: float) -> dict[str, Any]:
    """The config that the tensors themselves state, in the form of today's mlx-lm."""
    return {
        "fine_tune_type": "dora" if any(key.endswith(".m") for key in tensors) else "lora",
        "num_layers": -1,
        "lora_parameters": {
            "rank": max(ranks(tensors)),
            "scale": scale,
            "dropout": 0.0,
            "keys": sorted({key.rpartition(".")[0] for key in tensors}),
        },
    }


def means_the_same(written: dict[str, Any], actual: dict[str, Any]) -> bool:
    """True if today's mlx-lm, should it accept the config, computes what training did.

    What it would misread without an error: an effective scale that once was scale * alpha / rank,
    and DoRA in the config of what was trained as plain LoRA.
    """
    scale = (written.get("lora_parameters") or {}).get("scale")
    kind = written.get("fine_tune_type", "lora")
    return bool(scale == actual["lora_parameters"]["scale"] and kind == actual["fine_tune_type"])


def largest_lora_b(model: Any) -> float:
    """The largest magnitude in any lora_b; 0.0 if the LoRA was never trained."""
    mx = import_module("mlx.core")
    leaves = import_module("mlx.utils").tree_flatten(model.parameters())
    found = [mx.abs(value).max().item() for key, value in leaves if key.endswith("lora_b")]
    return float(max(found, default=0.0))


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    Path(request["answer"]).write_text(json.dumps(compute(request)), encoding="utf-8")


if __name__ == "__main__":
    main()

"""A PEFT LoRA as llama.cpp reads it: every tensor of the GGUF file and what it is made of.

llama.cpp adds ``alpha / r * B(A x)`` as PEFT does, with the r of each pair and one alpha for all.
It knows no other form of LoRA, and an alpha of 0 means a scale of 1 to it; so all else is refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.gguf.names import (
    GgufArchitecture,
    UnknownArchitecture,
    gguf_architecture_of,
    text_parameters,
)
from weighbridge.domain.gguf.tensors import (
    WAY_OUT,
    FindName,
    GgufTensor,
    LoraPair,
    TensorPlanner,
)
from weighbridge.domain.peft.config import unselected
from weighbridge.domain.peft.selection import CHANGED_BASE, base_change
from weighbridge.domain.tensors import TensorSpec

_MOST_NAMED = 10
_FACTOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\."
    r"(?:lora_(?P<linear>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))"
)
_DTYPES = frozenset({"F32", "F16", "BF16"})
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_MOST_LAYERS = 10_000
#: Fields of adapter_config.json that llama.cpp's converter does not read, and what is lost so.
_UNREAD = {
    "use_dora": "DoRA has no form in llama.cpp",
    "use_rslora": "llama.cpp divides by r, not by its root",
    "rank_pattern": "llama.cpp has one lora_alpha for all ranks",
    "alpha_pattern": "llama.cpp has one lora_alpha for all modules",
    "target_parameters": "experts that share one LoRA tensor have no form in llama.cpp",
    "modules_to_save": "llama.cpp takes no whole modules",
    "fan_in_fan_out": "llama.cpp's converter exchanges the two factors of such modules",
    "lora_bias": "llama.cpp takes no biases",
    "alora_invocation_tokens": "an activated LoRA is not converted",
    "use_qalora": "QA-LoRA pools its inputs, which llama.cpp does not",
    "use_bdlora": "block diagonal factors have no form in llama.cpp",
    "layer_replication": "llama.cpp repeats no layers",
    "arrow_config": "llama.cpp routes between no LoRAs",
}


@frozen
class GgufPlan:
    """What will be written, in file order. ``architecture`` is llama.cpp's name."""

    architecture: str
    alpha: float
    tensors: tuple[GgufTensor, ...]


def gguf_base(config: Mapping[str, Any], *, location: str) -> tuple[GgufArchitecture, int]:
    """The architecture and the number of layers of a base's config.json. Raises NotConvertible."""
    found = gguf_architecture_of(config)
    if isinstance(found, UnknownArchitecture):
        raise NotConvertible(location=location, reasons=(f"{found.reason}; {WAY_OUT}",))
    parameters = text_parameters(config)
    named = (parameters.get(key) for key in _LAYER_COUNTS)
    layers = next((n for n in named if type(n) is int and 0 < n < _MOST_LAYERS), None)
    if layers is None:
        reason = "the base's config.json gives no number of layers"
        raise NotConvertible(location=location, reasons=(reason,))
    return found, layers


def plan_gguf(
    adapter_config: Mapping[str, Any],
    base_config: Mapping[str, Any],
    specs: Sequence[TensorSpec],
    find_name: FindName,
    *,
    location: str,
) -> GgufPlan:
    """The plan for a PEFT LoRA with those tensors, in their order.

    Raises NotConvertible with every reason at once, and what to do instead.
    """
    architecture, _ = gguf_base(base_config, location=location)
    reasons = list(_config_reasons(adapter_config))
    pairs = _pairs(specs, reasons)
    reasons += _rank_reasons(pairs, adapter_config.get("r"))
    reasons += [
        f"{module}: is not selected by the config: PEFT passes its tensors over, llama.cpp would "
        "not; weighbridge repair writes the selection"
        for module in unselected([p.module for p in pairs], adapter_config)
    ]
    planner = TensorPlanner(architecture, base_config, find_name, reasons)
    tensors = tuple(planner.tensors(pairs))
    reasons += _repeated(tensors)
    if reasons:
        more = len(reasons) - _MOST_NAMED
        shown = reasons[:_MOST_NAMED] + ([f"and {more} more like these"] if more > 0 else [])
        raise NotConvertible(location=location, reasons=tuple(shown))
    return GgufPlan(architecture.name, float(adapter_config["lora_alpha"]), tensors)


def _config_reasons(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("peft_type") != "LORA":
        yield f"adapter_config.json: peft_type is {config.get('peft_type')!r}, not LORA"
    for key, reason in _UNREAD.items():
        if config.get(key):
            yield f"adapter_config.json: {key} is set, but {reason}; {WAY_OUT}"
    if (setting := base_change(config)) is not None:
        yield f"adapter_config.json: {setting}: {CHANGED_BASE}"
    if config.get("bias", "none") != "none":
        yield f"adapter_config.json: bias is set, but llama.cpp takes none; {WAY_OUT}"
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) < 1e38:
        yield f"adapter_config.json: lora_alpha {str(alpha)[:40]} is no number"
    elif alpha == 0:
        yield "adapter_config.json: lora_alpha is 0, which means a scale of 1 to llama.cpp"
    elif struct.unpack("<f", struct.pack("<f", alpha))[0] != alpha:
        yield f"adapter_config.json: lora_alpha {alpha} is no float32; fold the rest into lora_B"


def _way_out(spec: TensorSpec) -> str:
    """PEFT saves whole embeddings and heads along with a LoRA on them, mostly the base's own."""
    if not spec.name.endswith(".weight"):
        return WAY_OUT
    return ("if it is the base's own, weighbridge convert --to mlx --base DIR leaves it out, and "
            "--to gguf takes what that writes; a trained one is no LoRA: PEFT's merge_and_unload, "
            "and llama.cpp's own converter")  # fmt: skip


def _pairs(specs: Sequence[TensorSpec], reasons: list[str]) -> list[LoraPair]:
    halves: dict[tuple[str, bool], dict[str, TensorSpec]] = {}
    for spec in specs:
        found = _FACTOR.fullmatch(spec.name)
        if found is None:
            reasons.append(f"{spec.name}: is not lora_A or lora_B of a module; {_way_out(spec)}")
        elif spec.dtype not in _DTYPES or len(spec.shape) != 2 or 0 in spec.shape:
            reasons.append(f"{spec.name}: {spec.dtype} {list(spec.shape)} is no matrix of floats")
        else:
            half = found["linear"] or found["embedding"]
            key = found["module"], found["embedding"] is not None
            halves.setdefault(key, {})[half] = spec
    if not halves and not reasons:
        reasons.append("adapter_model.safetensors: holds no LoRA tensors")
    for (module, _), held in halves.items():
        if len(held) != 2:
            reasons.append(f"{module}: has only one of lora_A and lora_B")
    return [LoraPair(*key, h["A"], h["B"]) for key, h in halves.items() if len(h) == 2]


def _rank_reasons(pairs: Sequence[LoraPair], rank: Any) -> Iterator[str]:
    for pair in pairs:
        found = pair.a.shape[0], pair.b.shape[1]
        if not found[0] == found[1] == rank:
            # llama.cpp divides alpha by the rank of the tensors, not by that of the config
            yield (
                f"{pair.module}: ranks {found[0]} and {found[1]}, but adapter_config.json says "
                f"r {rank!r}; pad lora_A and lora_B with zeros to one rank"
            )


def _repeated(tensors: Sequence[GgufTensor]) -> Iterator[str]:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            yield f"{tensor.name}: two modules of the LoRA are this one tensor to llama.cpp"
        seen.add(tensor.name)

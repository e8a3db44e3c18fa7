"""Toy base models of ``families``, and for each a random LoRA on every module, in our PEFT form.

The modules are found in the checkpoint that transformers writes (per expert, therefore), not by
any code of ours.
"""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.mlx_artifacts.bases import save_tokenizer

from .families import FAMILIES, PUBLISHED, SIZES

RANK, ALPHA = 4, 6
_EMBEDDING = re.compile(r"(.*\.)?(embed_tokens|embed_in|wte)")
# Neither norms and positions, nor what the table refuses.
_NO_LINEAR = re.compile(r".*(norm|wpe|per_layer_model_projection|embed_tokens_per_layer).*")


def make_toy(directory: Path, family: str, *, seed: int = 0) -> Path:
    """Write a random base of that family with a tokenizer; return ``directory``."""
    import torch

    transformers = import_module("transformers")
    known = transformers.AutoConfig.for_model(family)
    names = {*known.to_dict(), *known.attribute_map}
    fields = {k: v for k, v in {**SIZES, **FAMILIES[family]}.items() if k in names}
    config = transformers.AutoConfig.for_model(family, **fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(directory)
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **PUBLISHED.get(family, {})}))
    save_tokenizer(directory)
    return directory


def weights_of(base: Path) -> dict[str, Any]:
    """Every tensor of the checkpoint, as torch has it."""
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for path in sorted(base.glob("*.safetensors")):
        found |= load_file(path)
    return found


def random_lora(base: Path, directory: Path, *, seed: int = 7, dtype: str = "float32") -> Path:
    """Write a LoRA on every linear module and, if it is not tied, the embedding."""
    import torch

    tied = json.loads((base / "config.json").read_text())["tie_word_embeddings"]
    generator = torch.Generator().manual_seed(seed)

    def matrix(*shape: int, strength: float = 1.0) -> Any:
        return (strength * torch.randn(*shape, generator=generator)).to(getattr(torch, dtype))

    tensors: dict[str, Any] = {}
    for name, weight in sorted(weights_of(base).items()):
        module = name.removesuffix(".weight")
        vocabulary = _EMBEDDING.fullmatch(module) or module == "lm_head"
        if name == module or weight.ndim != 2 or _NO_LINEAR.fullmatch(module):
            continue
        if vocabulary and tied:
            continue
        stem = f"base_model.model.{module}"
        rows, columns = weight.shape
        if _EMBEDDING.fullmatch(module):
            tensors[f"{stem}.lora_embedding_A"] = matrix(RANK, rows)
            tensors[f"{stem}.lora_embedding_B"] = matrix(columns, RANK, strength=0.05)
        else:
            tensors[f"{stem}.lora_A.weight"] = matrix(RANK, columns)
            tensors[f"{stem}.lora_B.weight"] = matrix(rows, RANK, strength=0.05)
    return write_lora(directory, tensors)


def write_lora(directory: Path, tensors: dict[str, Any], **config: Any) -> Path:
    """Write both files of a PEFT LoRA with those tensors, in the portable form."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    modules = {re.sub(r"\.lora_(embedding_)?[AB].*", "", name) for name in tensors}
    written = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "acme/toy",
        "revision": None,
        "inference_mode": True,
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
        "layers_to_transform": None,
        "layers_pattern": None,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    (directory / "adapter_config.json").write_text(json.dumps({**written, **config}, indent=2))
    return directory


def merged(base: Path, lora: Path, directory: Path) -> Path:
    """Write the base with ``alpha / r * B @ A`` added to every weight: what the LoRA means."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, directory, ignore=shutil.ignore_patterns("*.safetensors*"))
    weights, factors = weights_of(base), load_file(lora / "adapter_model.safetensors")
    for name, a in factors.items():
        found = re.fullmatch(r"base_model\.model\.(.+)\.lora_(embedding_)?A(\.weight)?", name)
        if found is None:
            continue
        b = factors[re.sub(r"lora_(embedding_)?A", r"lora_\1B", name)]
        delta = ALPHA / RANK * b.float() @ a.float()
        weights[f"{found[1]}.weight"] += delta.T if found[2] else delta
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def wrapped(base: Path, lora: Path, cls: str, directory: Path) -> tuple[Path, Path]:
    """The same as part of a model for images: its config.json, and a LoRA with its paths."""
    from safetensors.torch import load_file

    config = json.loads((base / "config.json").read_text())
    config.pop("architectures")
    outer, inner = directory / "base", directory / "lora"
    outer.mkdir(parents=True)
    shutil.copy(base / "tokenizer.json", outer)
    document = {"architectures": [cls], "model_type": "toy", "text_config": config}
    (outer / "config.json").write_text(json.dumps(document))
    factors = load_file(lora / "adapter_model.safetensors")
    renamed = {re.sub(r"^(base_model\.model\.model\.)", r"\1language_model.", k): v
               for k, v in factors.items()}  # fmt: skip
    return outer, write_lora(inner, renamed)

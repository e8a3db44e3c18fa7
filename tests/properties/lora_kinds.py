"""Random LoRAs of every kind, on bases of which only the config and the headers are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from tests.properties.test_conversion import Tensors, encoded
from weighbridge.domain.architectures import architecture_of
from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.conversion import PeftRequest, Profile, plan_peft
from weighbridge.domain.detection import pair_targets
from weighbridge.domain.models import LoraModel
from weighbridge.domain.placement import Layout, Stored
from weighbridge.domain.tensor_plan import ConversionPlan
from weighbridge.domain.tensors import TensorSpec

LAYERS, EXPERTS = 3, 3
#: The odd ones are no fraction of two, so that a portable file has to fold them.
SCALES = (0.3, 1.7, 2.0, 10.0, 20.0, 33.33)


@frozen
class Module:
    """A module of MLX: its path, with ``{}`` for the layer if it is in one, and its form."""

    path: str
    wide: int = 8
    out: int = 8
    experts: int | None = None

    def in_layer(self, layer: int) -> str:
        """Its path there."""
        return self.path.replace("{}", str(layer))


_LAYER = "model.layers.{}"
_ATTENTION = tuple(Module(f"{_LAYER}.self_attn.{leaf}_proj", 8, out)
                   for leaf, out in (("q", 8), ("k", 4), ("v", 4), ("o", 8)))  # fmt: skip


def _gated(stem: str, experts: int | None = None) -> tuple[Module, ...]:
    forms = (("gate", 8, 12), ("up", 8, 12), ("down", 12, 8))
    return tuple(Module(f"{_LAYER}.{stem}.{leaf}_proj", wide, out, experts)
                 for leaf, wide, out in forms)  # fmt: skip


#: The trees by the name that a test's id shows; the first word is the model type.
TREES: Mapping[str, tuple[Module, ...]] = {
    "llama": (*_ATTENTION, *_gated("mlp"), Module("lm_head", 8, 40)),
    "llama embeddings": (
        *_ATTENTION, Module("lm_head", 8, 40), Module("model.embed_tokens", 40, 8),
    ),
    "gpt2": (
        Module("model.h.{}.attn.c_attn", 8, 24), Module("model.h.{}.attn.c_proj"),
        Module("model.h.{}.mlp.c_fc", 8, 32), Module("model.h.{}.mlp.c_proj", 32, 8),
    ),
    "mixtral": (
        *_ATTENTION, *_gated("block_sparse_moe.switch_mlp", EXPERTS),
        Module(f"{_LAYER}.block_sparse_moe.gate", 8, EXPERTS),
    ),
    "qwen3_moe": (
        *_ATTENTION, *_gated("mlp.switch_mlp", EXPERTS), Module(f"{_LAYER}.mlp.gate", 8, EXPERTS),
    ),
    "qwen2_moe": (
        *_ATTENTION, *_gated("mlp.switch_mlp", EXPERTS), *_gated("mlp.shared_expert"),
        Module(f"{_LAYER}.mlp.gate", 8, EXPERTS), Module(f"{_LAYER}.mlp.shared_expert_gate", 8, 1),
    ),
    "granitemoehybrid": (
        *_ATTENTION, *_gated("block_sparse_moe.switch_mlp", EXPERTS),
        Module(f"{_LAYER}.block_sparse_moe.router.layer", 8, EXPERTS),
        Module(f"{_LAYER}.shared_mlp.input_linear", 8, 24),
        Module(f"{_LAYER}.shared_mlp.output_linear", 12, 8),
    ),
    "granitemoehybrid dense": (*_ATTENTION, *_gated("mlp")),
}  # fmt: skip
STACKED = tuple(name for name, tree in TREES.items() if any(m.experts for m in tree))


def base_of(tree: str) -> BaseModel:
    """The base with that tree in every layer, its head untied."""
    model_type = tree.split()[0]
    architecture = architecture_of(model_type)
    headers: dict[str, TensorSpec] = {}
    for module in (*TREES[tree], Module("model.embed_tokens", 40, 8), Module("lm_head", 8, 40)):
        for path in _paths(module, range(LAYERS)):
            stored = architecture.restore(f"{path}.weight")
            assert isinstance(stored, Stored)
            embedding = path in architecture.embeddings
            shape = (module.wide, module.out) if embedding else (module.out, module.wide)
            for name, form in _stored(stored, shape, module.experts):
                headers[name] = TensorSpec(name, "F32", form)
    config = {"model_type": model_type, "tie_word_embeddings": False}
    config |= {"num_hidden_layers": LAYERS, "n_layer": LAYERS}
    experts = EXPERTS if tree in STACKED else 0
    return BaseModel.of(config | {"num_local_experts": experts}, headers)


def _stored(
    stored: Stored, shape: tuple[int, int], experts: int | None
) -> Iterator[tuple[str, tuple[int, ...]]]:
    rows, columns = shape[0] * stored.count, shape[1]
    if stored.layout is Layout.TRANSPOSED:
        rows, columns = columns, rows
    if "{}" in stored.name:
        yield from ((stored.name.format(e), (rows, columns)) for e in range(experts or 0))
    else:
        yield stored.name, (rows, columns) if experts is None else (experts, rows, columns)


def _paths(module: Module, layers: Sequence[int]) -> Iterator[str]:
    yield from (module.in_layer(n) for n in layers) if "{}" in module.path else [module.path]


@frozen
class AnyLora:
    """A LoRA as MLX would write it, the base it is for, and the scale that MLX would apply."""

    tree: str
    tensors: Tensors
    scale: float

    @property
    def base(self) -> BaseModel:
        """What is known of the base."""
        return base_of(self.tree)

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The tensors' specs."""
        return tuple(TensorSpec(n, d, w.shape) for n, (d, w) in self.tensors.items())

    def plan(self, profile: Profile) -> ConversionPlan:
        """The PEFT form. Raises NotConvertible."""
        targets, others = pair_targets(self.specs)
        config = {"model": "acme/base", "lora_parameters": {"scale": self.scale}}
        model = LoraModel("", "adapters.safetensors", "c.json", config, targets, others)
        return plan_peft(model, location="here", request=PeftRequest(self.base, profile))

    def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
        """See ``TensorSource``."""
        buffer[:] = self.tensors[name][1].tobytes()[offset : offset + len(buffer)]


@frozen
class Shape:
    """How a LoRA is drawn. ``mixed``: ranks and dtypes differ by module and factor, modules are
    missing here and there, and some stacks are flattened as older releases wrote them."""

    mixed: bool = True
    dora: bool = False
    together: bool = False


def draw_lora(tree: str, seed: int, shape: Shape) -> AnyLora:
    """A LoRA on some modules of some layers; at least one. ``together``: on all of one layer."""
    random = np.random.default_rng(seed)
    rank = int(random.integers(2, 5))
    dtypes = ("F32", "F16", "BF16") if shape.mixed else (str(random.choice(["F32", "BF16"])),)
    tensors: Tensors = {}
    for path, module in _chosen(tree, random, shape):
        own = int(random.integers(1, 6)) if shape.mixed else rank
        for leaf, form in _forms(module, own, random, shape).items():
            dtype = str(random.choice(dtypes))
            tensors[f"{path}.{leaf}"] = (dtype, encoded(random.standard_normal(form) * 0.1, dtype))
    return AnyLora(tree, tensors, float(random.choice(SCALES)))


def _chosen(tree: str, random: np.random.Generator, shape: Shape) -> list[tuple[str, Module]]:
    layers = sorted(random.choice(LAYERS, int(random.integers(1, LAYERS + 1)), replace=False))
    every = [(path, m) for m in TREES[tree] for path in _paths(m, [int(n) for n in layers])]
    if shape.together:
        return every
    share = float(random.choice([0.3, 0.7, 1.0]))
    kept = [one for one in every if random.random() < share]
    return kept or [every[int(random.integers(len(every)))]]


def _forms(
    module: Module, rank: int, random: np.random.Generator, shape: Shape
) -> dict[str, tuple[int, ...]]:
    wide, out, experts = module.wide, module.out, module.experts
    if experts is None:
        pair = {"lora_a": (wide, rank), "lora_b": (rank, out)}
        return pair | {"m": (out,)} if shape.dora else pair
    flat = shape.mixed and random.random() < 0.5
    a = (experts * rank, wide) if flat else (experts, rank, wide)
    return {"lora_a": a, "lora_b": (experts, out, rank)}


def numpy_words(tensors: Tensors) -> dict[str, Any]:
    """For comparison: dtype, shape and bytes of each."""
    return {n: (d, w.shape, w.tobytes()) for n, (d, w) in tensors.items()}

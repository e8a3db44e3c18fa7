"""Plan and numbers together, against the ``fuse`` methods of mlx-lm's own modules.

Places come from architectures made by hand, so that every form of a base is met.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlx_lm")

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import SwitchLinear
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

from tests.contracts.weight_maker import Room, made
from tests.unit.test_fusion import DOWN, GATE, UP, base, dense, moe, placing, plan, run, spec
from weighbridge.adapters.numpy_weights import NumpyWeightMaker
from weighbridge.adapters.weight_prover import SamplingProver
from weighbridge.application.ports import Sources
from weighbridge.domain.checkpoints.fusion import FusionBase
from weighbridge.domain.models import LoraTarget
from weighbridge.domain.placement import Part, Plain, Rows
from weighbridge.domain.tensors import TensorSpec

Array = np.ndarray[Any, np.dtype[np.float32]]
SCALE = 20.0


def trained(module: Any, seed: int) -> Any:
    """An adapted module with a ``lora_b`` that is not zero, and lengths that have changed."""
    random = np.random.default_rng(seed)
    module.lora_b = mx.array(random.standard_normal(module.lora_b.shape, np.float32) * 0.1)
    if "m" in module:
        module.m = module.m * mx.array(random.uniform(0.5, 2, module.m.shape).astype(np.float32))
    return module


def fused(targets: list[tuple[LoraTarget, Any]], on: FusionBase, *bases: Array) -> dict[str, Array]:
    """What is written for a base of these arrays, proved, under its names."""
    arrays = {}
    for target, module in targets:
        for part, leaf in ((target.a, "lora_a"), (target.b, "lora_b"), (target.magnitude, "m")):
            if part is not None:
                arrays[part.name] = np.array(module[leaf])
    specs = on.files[0][1]
    arrays |= {s.name: a for s, a in zip(specs, bases, strict=True)}
    room = Room({name: np.ascontiguousarray(a).tobytes() for name, a in arrays.items()})
    weights = plan(run(*(t for t, _ in targets)), on).checkpoint.weights
    data = made(NumpyWeightMaker(band_values=50), weights, room)
    written = Room({w.target.name: d for w, d in zip(weights, data, strict=True)})
    assert SamplingProver().prove(weights, Sources(room, room), written).passed
    return {
        w.target.name: np.frombuffer(d, np.float32).reshape(w.target.shape)
        for w, d in zip(weights, data, strict=True)
    }


def target_of(module: str, adapted: Any, *, flat: bool = False) -> LoraTarget:
    a, b = adapted.lora_a.shape, adapted.lora_b.shape
    experts = b[0] if len(b) == 3 else None
    if flat:
        a = (a[0] * a[1], a[2])
    m = spec(f"{module}.m", *adapted.m.shape, dtype="F32") if "m" in adapted else None
    return LoraTarget(
        module, TensorSpec(f"{module}.lora_a", "F32", tuple(a)),
        TensorSpec(f"{module}.lora_b", "F32", tuple(b)), m, experts,
    )  # fmt: skip


def near(one: Array, other: Any) -> None:
    np.testing.assert_allclose(one, np.array(other), rtol=2e-5, atol=2e-6)


def weight(module: Any) -> Array:
    return np.array(module.weight)


@pytest.mark.parametrize("kind", [LoRALinear, DoRALinear])
@pytest.mark.parametrize("conv1d", [False, True])
def test_a_linear_module(kind: Any, conv1d: bool) -> None:
    linear = nn.Linear(16, 24)
    adapted = trained(kind.from_base(linear, r=4, scale=SCALE), 1)
    at = placing(Plain("transformer.x", "transformer.x"), conv1d=conv1d)
    stored = weight(linear).T if conv1d else weight(linear)
    on = base(spec("x.weight", *stored.shape, dtype="F32"), architecture=at)
    found = fused([(target_of("x", adapted), adapted)], on, stored)["x.weight"]
    near(found.T if conv1d else found, adapted.fuse().weight)


@pytest.mark.parametrize("kind", [LoRAEmbedding, DoRAEmbedding])
def test_an_embedding(kind: Any) -> None:
    embedding = nn.Embedding(100, 16)
    adapted = trained(kind.from_base(embedding, r=4, scale=SCALE), 2)
    name = "model.embed_tokens"
    on = base(spec(f"{name}.weight", 100, 16, dtype="F32"))
    found = fused([(target_of(name, adapted), adapted)], on, weight(embedding))
    near(found[f"{name}.weight"], adapted.fuse().weight)


def test_rows_of_a_larger_matrix() -> None:
    up, gate = nn.Linear(16, 24, bias=False), nn.Linear(16, 24, bias=False)
    adapted = trained(DoRALinear.from_base(up, r=4, scale=SCALE), 3)
    at = placing(Rows("both", "both", 1, 2))
    on = base(spec("both.weight", 48, 16, dtype="F32"), architecture=at)
    both = np.concatenate([weight(gate), weight(up)])
    found = fused([(target_of("up", adapted), adapted)], on, both)["both.weight"]
    assert np.array_equal(found[:24], both[:24])
    near(found[24:], adapted.fuse().weight)


def experts(part: Part, seed: int) -> tuple[str, Any, Any]:
    switch = SwitchLinear(16, 8, 3, bias=False)
    adapted = trained(LoRASwitchLinear.from_base(switch, r=4, scale=SCALE), seed)
    return {Part.GATE: GATE, Part.UP: UP, Part.DOWN: DOWN}[part], switch, adapted


@pytest.mark.parametrize("flat", [False, True])
def test_experts_one_by_one(flat: bool) -> None:
    module, switch, adapted = experts(Part.GATE, 4)
    names = [f"model.layers.0.block.experts.{e}.w1.weight" for e in range(3)]
    on = base(*(spec(n, 8, 16, dtype="F32") for n in names), architecture=moe())
    target = target_of(module, adapted, flat=flat)
    found = fused([(target, adapted)], on, *weight(switch))
    near(np.stack([found[n] for n in names]), adapted.fuse().weight)


def test_experts_in_a_stack() -> None:
    gate, up, down = (experts(part, seed) for seed, part in enumerate(Part))
    stack, lower = (f"model.layers.0.mlp.experts.{n}_proj" for n in ("gate_up", "down"))
    specs = spec(stack, 3, 16, 16, dtype="F32"), spec(lower, 3, 8, 16, dtype="F32")
    both = np.concatenate([weight(gate[1]), weight(up[1])], axis=1)
    targets = [(target_of(m, a), a) for m, _, a in (gate, up, down)]
    found = fused(targets, base(*specs, architecture=moe()), both, weight(down[1]))
    near(found[stack][:, :8], gate[2].fuse().weight)
    near(found[stack][:, 8:], up[2].fuse().weight)
    near(found[lower], down[2].fuse().weight)


def test_the_flat_form_has_the_same_memory() -> None:
    module, _, adapted = experts(Part.UP, 5)
    assert target_of(module, adapted, flat=True).rank == target_of(module, adapted).rank == 4
    assert dense("x").rank == 4

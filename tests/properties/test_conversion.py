"""Any dense LoRA: what is converted is its exact transpose, is proved, and no mistake passes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from hypothesis import given, settings, strategies as st
from safetensors import safe_open

from weighbridge.adapters.algebra_prover import AlgebraProver
from weighbridge.adapters.numpy_converter import NumpyConverter
from weighbridge.application.ports import ProofRequest
from weighbridge.domain.conversion import PeftRequest, Profile, plan_peft
from weighbridge.domain.detection import pair_targets
from weighbridge.domain.models import LoraModel
from weighbridge.domain.peft.selection import peft_selects
from weighbridge.domain.proof import ProofStep
from weighbridge.domain.tensor_plan import ConversionPlan
from weighbridge.domain.tensors import TensorSpec, encode_header

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = dict[str, tuple[str, Array]]

_WORDS = {"F32": "<u4", "F16": "<u2", "BF16": "<u2"}
_SUFFIXES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj", "mlp.gate_proj")


def encoded(values: Array, dtype: str) -> Array:
    """The words of that dtype for float32 values; BF16 by truncation."""
    if dtype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).view(_WORDS[dtype])


@frozen
class Lora:
    """A LoRA as MLX would write it, with the scale that MLX would apply."""

    tensors: Tensors
    scale: float

    @property
    def parameters(self) -> dict[str, float]:
        """What mlx-lm writes of them: the rank is the second size of any lora_a."""
        first = next(words for name, (_, words) in self.tensors.items() if name.endswith("lora_a"))
        return {"scale": self.scale, "rank": first.shape[1]}

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(n, d, w.shape) for n, (d, w) in self.tensors.items())

    def plan(self, profile: Profile = Profile.PEFT) -> ConversionPlan:
        targets, others = pair_targets(self.specs)
        config = {"model": "acme/base", "lora_parameters": self.parameters}
        model = LoraModel("", "adapters.safetensors", "c.json", config, targets, others)
        return plan_peft(model, location="here", request=PeftRequest(profile=profile))

    def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.tensors[name][1].tobytes()[offset : offset + len(buffer)]


def draw_lora(
    seed: int, rank: int, modules: list[str], dtype: str, scale: float, *, square: bool = False
) -> Lora:
    random = np.random.default_rng(seed)
    tensors: Tensors = {}
    for module in modules:
        wide, high = (rank, rank) if square else map(int, random.integers(1, 40, 2))
        for leaf, shape in (("lora_a", (wide, rank)), ("lora_b", (rank, high))):
            values = random.standard_normal(shape) * 0.1
            tensors[f"{module}.{leaf}"] = (dtype, encoded(values, dtype))
    return Lora(tensors, scale)


_MODULES = st.one_of(
    st.builds(  # the full product of layers and suffixes, perhaps not all layers
        lambda layers, names: [f"model.layers.{i}.{n}" for i in layers for n in names],
        st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True),
        st.lists(st.sampled_from(_SUFFIXES), min_size=1, max_size=3, unique=True),
    ),
    st.lists(
        st.sampled_from(
            [f"model.layers.{i}.{n}" for i in (0, 1, 2, 11) for n in _SUFFIXES] + ["lm_head"]
        ),
        min_size=1,
        max_size=5,
        unique=True,
    ),
)
_LORAS = st.builds(
    draw_lora,
    st.integers(0, 2**32),
    st.integers(1, 17),
    _MODULES,
    st.sampled_from(sorted(_WORDS)),
    st.floats(1e-3, 1e3),
)


def save(path: Path, tensors: Tensors) -> None:
    specs = [TensorSpec(n, d, w.shape) for n, (d, w) in tensors.items()]
    data = b"".join(w.tobytes() for _, w in tensors.values())
    path.write_bytes(encode_header(specs) + data)


def converted(lora: Lora, profile: Profile = Profile.PEFT) -> tuple[Tensors, dict[str, Any]]:
    plan, tensors = lora.plan(profile), {}
    for spec, chunks in NumpyConverter().run(plan, lora):
        raw = b"".join(bytes(c) for c in chunks)
        words = np.frombuffer(raw, _WORDS[spec.dtype]).reshape(spec.shape)
        tensors[spec.name] = (spec.dtype, words)
    return tensors, json.loads(plan.config_bytes)


def prove(lora: Lora, tensors: Tensors, config: dict[str, Any]) -> ProofStep:
    """The verdict on those files, from a disk."""
    with tempfile.TemporaryDirectory() as place:
        source, output = Path(place, "mlx"), Path(place, "peft")
        source.mkdir()
        output.mkdir()
        save(source / "adapters.safetensors", lora.tensors)
        save(output / "adapter_model.safetensors", tensors)
        (output / "adapter_config.json").write_text(json.dumps(config))
        return AlgebraProver().prove(ProofRequest(str(source), str(output), None, lora.scale))


@settings(deadline=None)
@given(_LORAS)
def test_the_converted_file_is_the_exact_transpose(lora: Lora) -> None:
    plan = lora.plan()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "adapter_model.safetensors")
        with path.open("wb") as file:
            file.write(encode_header(plan.specs, {"format": "pt"}))
            for _, chunks in NumpyConverter(band_bytes=64, input_bytes=32).run(plan, lora):
                file.writelines(bytes(chunk) for chunk in chunks)
        data = path.read_bytes()
        with safe_open(path, framework="numpy") as reference:
            shapes = {n: tuple(reference.get_slice(n).get_shape()) for n in reference.keys()}  # noqa: SIM118
    total = sum(spec.nbytes for spec in plan.specs)
    at = len(data) - total
    assert total == sum(spec.nbytes for spec in lora.specs)
    sources = [planned.operation.source.name for planned in plan.tensors]
    assert sorted(sources) == sorted(lora.tensors)
    assert len(shapes) == len(sources)
    for planned in plan.tensors:
        dtype, words = lora.tensors[planned.operation.source.name]
        written = data[at : at + planned.target.nbytes]
        at += planned.target.nbytes
        assert shapes[planned.target.name] == words.shape[::-1]
        assert planned.target.dtype == dtype
        assert written == words.T.tobytes()


@settings(deadline=None)
@given(_LORAS, st.sampled_from(Profile))
def test_a_right_conversion_is_proved(lora: Lora, profile: Profile) -> None:
    step = prove(lora, *converted(lora, profile))
    assert step.passed and not step.problems
    figures = dict(step.figures)
    assert len(lora.tensors) == 2 * int(figures["modules"]) <= int(figures["tensors"])
    difference = float(figures["largest_relative_difference"])
    assert difference == 0.0 or (profile is Profile.PORTABLE and difference < 1e-6)


@pytest.mark.parametrize(("scale", "rounded"), [(0.7, True), (0.625, False), (3.0, False)])
def test_the_rounding_of_a_folded_scale_is_in_the_figure(scale: float, rounded: bool) -> None:
    """0.7 x 4 is no integer alpha, so B holds a part of it, rounded to float32; the half that is
    left of 0.625 x 4 is exact."""
    lora = draw_lora(1, 4, ["model.layers.0.self_attn.q_proj"], "F32", scale)
    step = prove(lora, *converted(lora, Profile.PORTABLE))
    difference = float(dict(step.figures)["largest_relative_difference"])
    assert step.passed and (1e-9 < difference < 1e-6 if rounded else difference == 0.0)


Mutation = Callable[[Tensors, dict[str, Any], np.random.Generator], None]


def _pick(tensors: Tensors, random: np.random.Generator, leaf: str = "weight") -> str:
    return str(random.choice(sorted(n for n in tensors if leaf in n and _trained(tensors, n))))


def _trained(tensors: Tensors, name: str) -> bool:
    """False for a pair of zeros that was added: noise in one of its factors changes nothing."""
    _, words = tensors[name.replace("lora_A", "lora_B")]
    return bool(words.any())


def transposed(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    name = _pick(tensors, random)
    dtype, words = tensors[name]
    tensors[name] = (dtype, np.ascontiguousarray(words.T))


def swapped(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    named = sorted(n for n in tensors if "lora_A" in n and _trained(tensors, n))
    first, second = random.choice(named, 2, replace=False)
    tensors[first], tensors[second] = tensors[second], tensors[first]


def scaled(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    config["lora_alpha"] *= 1.01


def dropped(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    stem = _pick(tensors, random, "lora_A").removesuffix("lora_A.weight")
    del tensors[f"{stem}lora_A.weight"], tensors[f"{stem}lora_B.weight"]


def halved(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    del tensors[_pick(tensors, random)]


def added(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    name = _pick(tensors, random)
    tensors[name.replace(".lora_", "_extra.lora_")] = tensors[name]


def renamed(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    name = _pick(tensors, random)
    tensors[name.removeprefix("base_model.model.")] = tensors.pop(name)


def one_word_off(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    """The largest element of a factor, in the bit that is worth 0.1 % to 1 % of it."""
    name = _pick(tensors, random)
    dtype, words = tensors[name]
    words = words.copy()
    magnitudes = words & (2 ** (words.itemsize * 8 - 1) - 1)
    words.flat[int(magnitudes.argmax())] ^= {"F32": 1 << 14, "F16": 2, "BF16": 1}[dtype]
    tensors[name] = (dtype, words)


def noisy(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    """More than the two units of float32 that a folded scale may be off."""
    name = _pick(tensors, random)
    dtype, words = tensors[name]
    tensors[name] = (dtype, words ^ (8 * random.integers(1, 4, words.shape)).astype(words.dtype))


def not_finite(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    name = _pick(tensors, random)
    dtype, words = tensors[name]
    words = words.copy()
    words.flat[0] = {"F32": 0x7FC00000, "F16": 0x7E00, "BF16": 0x7FC0}[dtype]
    tensors[name] = (dtype, words)


def unselected(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    config["target_modules"] = config["target_modules"][1:]


def rank_stabilised(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    config["use_rslora"] = True


MUTATIONS = (
    transposed, swapped, scaled, dropped, halved, added, renamed, one_word_off, noisy, not_finite,
    unselected, rank_stabilised,
)  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    rank=st.integers(2, 17),
    dtype=st.sampled_from(sorted(_WORDS)),
    scale=st.floats(0.01, 100),
    profile=st.sampled_from(Profile),
)
def test_no_mistake_is_proved(
    mutation: Mutation, seed: int, rank: int, dtype: str, scale: float, profile: Profile
) -> None:
    # Factors are square, rank by rank, so that no shape gives a transposition or swap away.
    modules = [f"model.layers.{i}.{n}" for i in (3, 4) for n in _SUFFIXES[:2]]
    lora = draw_lora(seed, rank, modules, dtype, scale, square=True)
    tensors, config = converted(lora, profile)
    mutation(tensors, config, np.random.default_rng(seed))
    step = prove(lora, tensors, config)
    assert not step.passed and step.problems


def test_zero_on_both_sides_is_equal() -> None:
    lora = draw_lora(1, 4, ["lm_head"], "F32", 2.0)
    dtype, words = lora.tensors["lm_head.lora_b"]
    lora.tensors["lm_head.lora_b"] = (dtype, words * 0)
    assert prove(lora, *converted(lora)).passed


@pytest.mark.parametrize("value", [0x7FC00000, 0x7F800000, 0xFF800000])
def test_a_source_that_is_not_finite_is_named(value: int) -> None:
    lora = draw_lora(1, 4, ["lm_head", "model.layers.0.mlp.up_proj"], "F32", 0.3)
    lora.tensors["lm_head.lora_b"][1].flat[3] = value
    (problem,) = prove(lora, *converted(lora)).problems
    assert problem.startswith("lm_head.lora_b: holds NaN or infinity")


def test_a_scale_that_makes_the_written_factor_infinite_is_not_proved() -> None:
    lora = draw_lora(1, 4, ["lm_head"], "F32", 1e60)
    (problem,) = prove(lora, *converted(lora, Profile.PORTABLE)).problems
    assert problem.startswith("base_model.model.lm_head.lora_B.weight: holds NaN or infinity")


def test_problems_are_listed_to_twenty_and_counted() -> None:
    modules = [f"model.layers.{i}.mlp.up_proj" for i in range(30)]
    lora = draw_lora(1, 4, modules, "F32", 2.0)
    tensors, config = converted(lora)
    step = prove(lora, tensors, config | {"lora_alpha": 9})
    assert len(step.problems) == 21
    assert step.problems[0].startswith("model.layers.0.mlp.up_proj: differs by 0.12")
    assert step.problems[-1] == "and 10 more problems"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("adapter_model.safetensors", None),
        ("adapter_model.safetensors", b""),
        ("adapter_model.safetensors", b"version https://git-lfs.github.com/spec/v1"),
        ("adapter_model.safetensors", encode_header([TensorSpec("x", "F32", (2, 2))])),
        ("adapter_model.safetensors", encode_header([TensorSpec("x", "F32", ())]) + bytes(4)),
        ("adapter_model.safetensors", encode_header([TensorSpec("x", "I8", (2, 2))]) + bytes(4)),
        ("adapter_config.json", None),
        ("adapter_config.json", b"[]"),
        ("adapter_config.json", b"{"),
        ("adapter_config.json", b"\xff"),
        ("adapter_config.json", b"[" * 100_000),
        ("adapter_config.json", b'{"r": true, "lora_alpha": 1}'),
        ("adapter_config.json", b'{"r": 4, "lora_alpha": NaN}'),
        ("adapter_config.json", b'{"r": 4, "lora_alpha": 1' + b"0" * 400 + b"}"),
        ("adapter_config.json", b'{"r": 4, "lora_alpha": 8, "peft_type": "LORA"}'),
        ("adapter_config.json", b'{"r": 4, "lora_alpha": 8, "target_modules": "("}'),
    ],
)
def test_unreadable_files_are_a_failed_step(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    lora = draw_lora(1, 4, ["lm_head"], "F32", 2.0)
    tensors, config = converted(lora)
    save(tmp_path / "adapters.safetensors", lora.tensors)
    save(tmp_path / "adapter_model.safetensors", tensors)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    request = ProofRequest(str(tmp_path), str(tmp_path), None, 2.0)
    assert AlgebraProver().prove(request).passed
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    step = AlgebraProver().prove(request)
    assert not step.passed and step.problems


def test_a_missing_directory_is_an_obstacle_and_a_failed_step(tmp_path: Path) -> None:
    request = ProofRequest(str(tmp_path), str(tmp_path / "none"), None, 1.0)
    obstacle = AlgebraProver().obstacle(request)
    assert obstacle is not None and "none" in obstacle
    assert AlgebraProver().prove(request).problems == (obstacle,)


_LAYERED = {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"}


@pytest.mark.parametrize(
    ("module", "config", "selected"),
    [
        ("model.layers.1.self_attn.q_proj", {"target_modules": ["q_proj"]}, True),
        ("model.layers.1.self_attn.xq_proj", {"target_modules": ["q_proj"]}, False),
        ("model.layers.11.q_proj", {"target_modules": ["1.q_proj"]}, False),
        ("q_proj", {"target_modules": ["q_proj"]}, True),
        ("model.q_proj", {"target_modules": r".*q_proj"}, True),
        ("model.q_proj.x", {"target_modules": r".*q_proj"}, False),
        ("model.layers.1.self_attn.q_proj", _LAYERED, True),
        ("model.layers.11.self_attn.q_proj", _LAYERED, False),
        ("model.blocks.1.self_attn.q_proj", _LAYERED, False),
        ("model.blocks.1.self_attn.q_proj", _LAYERED | {"layers_pattern": None}, True),
        ("model.layers.1.q_proj", _LAYERED | {"layers_to_transform": 1}, True),
        ("q_proj", _LAYERED, True),
        ("model.q_proj", _LAYERED, False),
        ("model.q_proj", {"target_modules": None}, False),
    ],
)
def test_selection_is_by_pefts_rule(module: str, config: dict[str, Any], selected: bool) -> None:
    assert peft_selects(module, config) is selected
    peft = pytest.importorskip("peft.tuners.tuners_utils")
    if config["target_modules"] is not None:
        defaults = {"exclude_modules": None, "layers_to_transform": None, "layers_pattern": None}
        asked = type("Config", (), defaults | {"target_parameters": None} | config)()
        assert bool(peft.check_target_module_exists(asked, module)) is selected

"""Any LoRA of any kind: its conversion is proved, comes back as it was, and no mistake passes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve, frozen
from hypothesis import assume, given, settings, strategies as st

from tests.properties.lora_kinds import STACKED, TREES, AnyLora, Shape, draw_lora, numpy_words
from tests.properties.test_conversion import Tensors, one_word_off, save
from weighbridge.adapters.algebra_prover import AlgebraProver
from weighbridge.adapters.numpy_converter import NumpyConverter
from weighbridge.application.ports import ProofRequest, TensorSource
from weighbridge.domain.conversion import Profile
from weighbridge.domain.mlx.conversion import Joining, plan_mlx
from weighbridge.domain.models import PeftModel
from weighbridge.domain.proof import ProofStep
from weighbridge.domain.tensor_plan import ConversionPlan
from weighbridge.domain.tensors import TensorSpec

_WORDS = {"F32": "<u4", "F16": "<u2", "BF16": "<u2"}
_SEEDS = st.integers(0, 2**32)
_EVERY_TREE = pytest.mark.parametrize("tree", TREES)


def carried_out(plan: ConversionPlan, source: TensorSource) -> Tensors:
    tensors: Tensors = {}
    for spec, chunks in NumpyConverter().run(plan, source):
        raw = b"".join(bytes(c) for c in chunks)
        words = np.frombuffer(raw, _WORDS[spec.dtype]).reshape(spec.shape)
        tensors[spec.name] = (spec.dtype, words)
    return tensors


def converted(lora: AnyLora, profile: Profile) -> tuple[Tensors, dict[str, Any]]:
    plan = lora.plan(profile)
    return carried_out(plan, lora), json.loads(plan.config_bytes)


def prove(lora: AnyLora, tensors: Tensors, config: dict[str, Any]) -> ProofStep:
    with tempfile.TemporaryDirectory() as place:
        source, output = Path(place, "mlx"), Path(place, "peft")
        source.mkdir()
        output.mkdir()
        save(source / "adapters.safetensors", lora.tensors)
        save(output / "adapter_model.safetensors", tensors)
        (output / "adapter_config.json").write_text(json.dumps(config))
        request = ProofRequest(str(source), str(output), None, lora.scale, lora.base)
        return AlgebraProver().prove(request)


@_EVERY_TREE
@pytest.mark.parametrize("profile", Profile)
@settings(deadline=None, max_examples=25)
@given(seed=_SEEDS)
def test_a_right_conversion_is_proved(tree: str, profile: Profile, seed: int) -> None:
    lora = draw_lora(tree, seed, Shape())
    step = prove(lora, *converted(lora, profile))
    assert step.passed, step.problems


@settings(deadline=None, max_examples=25)
@given(seed=_SEEDS)
def test_a_dora_is_proved(seed: int) -> None:
    lora = draw_lora("llama", seed, Shape(dora=True))
    step = prove(lora, *converted(lora, Profile.PEFT))
    assert step.passed, step.problems


@frozen
class Held:
    """Tensors as a source for a converter."""

    tensors: Tensors

    def read_into(self, name: str, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.tensors[name][1].tobytes()[offset : offset + len(buffer)]


def brought_back(
    lora: AnyLora, tensors: Tensors, config: dict[str, Any], joining: Joining = Joining.HALVES
) -> tuple[Tensors, Any]:
    specs = tuple(TensorSpec(n, d, w.shape) for n, (d, w) in tensors.items())
    model = PeftModel("", "adapter_model.safetensors", "c.json", config, specs)
    plan = plan_mlx(model, lora.base, location="here", joining=joining)
    return carried_out(plan, Held(tensors)), plan.config


@_EVERY_TREE
@settings(deadline=None, max_examples=20)
@given(seed=_SEEDS)
def test_to_peft_and_back_is_the_identity(tree: str, seed: int) -> None:
    lora = draw_lora(tree, seed, Shape(mixed=False, together=True))
    back, config = brought_back(lora, *converted(lora, Profile.PEFT))
    assert numpy_words(back) == numpy_words(lora.tensors)
    assert config["lora_parameters"]["scale"] == lora.scale


@settings(deadline=None, max_examples=20)
@given(seed=_SEEDS)
def test_a_dora_comes_back_as_it_was(seed: int) -> None:
    lora = draw_lora("llama", seed, Shape(mixed=False, dora=True))
    back, config = brought_back(lora, *converted(lora, Profile.PEFT))
    assert numpy_words(back) == numpy_words(lora.tensors)
    assert config["fine_tune_type"] == "dora"


# --- mistakes -----------------------------------------------------------------------------------

Mutation = Callable[[Tensors, dict[str, Any], np.random.Generator], None]


def _stems(tensors: Tensors) -> list[str]:
    """Of the pairs that change anything."""
    stems = sorted(n.removesuffix("lora_A.weight") for n in tensors if n.endswith("lora_A.weight"))
    return [s for s in stems if all(tensors[n][1].any() for n in _pair(s))]


def _pair(stem: str) -> tuple[str, str]:
    return f"{stem}lora_A.weight", f"{stem}lora_B.weight"


def _pick(tensors: Tensors, random: np.random.Generator) -> str:
    return str(random.choice(_stems(tensors)))


def _stacks(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Stem and last name of each stack of experts, as PEFT nests its wrappers."""
    listed = [p for p in config.get("target_parameters", ()) if not p.endswith(".weight")]
    for parameter in listed:
        container, _, leaf = parameter.rpartition(".")
        inner = leaf == "gate_up_proj" and f"{container}.down_proj" in listed
        yield f"base_model.model.{container}{'.base_layer' * inner}.", leaf


def _change(tensors: Tensors, name: str, words: Any) -> None:
    dtype, before = tensors[name]
    assume(words.shape != before.shape or (words != before).any())
    tensors[name] = (dtype, np.ascontiguousarray(words))


def _experts(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> Any:
    """A stack: the names of A and B, A as (expert, rank, in), B as (out, rank, expert)."""
    found = list(_stacks(config))
    assume(found)
    stem, leaf = found[int(random.integers(len(found)))]
    a, b = _pair(stem)
    into, out = tensors[a][1], tensors[b][1]
    experts = 3
    rank = into.shape[0] // experts
    return a, b, into.reshape(experts, rank, -1), out.reshape(-1, rank, experts), leaf


def transposed(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    name = str(random.choice(_pair(_pick(tensors, random))))
    _change(tensors, name, tensors[name][1].T)


def swapped(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    first = _pick(tensors, random)
    same = [s for s in _stems(tensors) if s != first
            and all(tensors[x][1].shape == tensors[y][1].shape
                    for x, y in zip(_pair(s), _pair(first), strict=True))]  # fmt: skip
    assume(same)
    second = str(random.choice(same))
    for one, other in zip(_pair(first), _pair(second), strict=True):
        tensors[one], tensors[other] = tensors[other], tensors[one]


def scaled(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    config["lora_alpha"] *= 1.01
    config["alpha_pattern"] = {k: v * 1.01 for k, v in config["alpha_pattern"].items()}


def dropped(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    for name in _pair(_pick(tensors, random)):
        del tensors[name]


def renamed(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    stem = _pick(tensors, random)
    for old, new in zip(_pair(stem), _pair(f"{stem[:-1]}_x."), strict=True):
        tensors[new] = tensors.pop(old)


def experts_swapped(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    a, b, into, out, _ = _experts(tensors, config, random)
    _change(tensors, a, into[[1, 0, 2]].reshape(tensors[a][1].shape))
    _change(tensors, b, out[:, :, [1, 0, 2]].reshape(tensors[b][1].shape))


def columns_by_expert(
    tensors: Tensors, config: dict[str, Any], random: np.random.Generator
) -> None:
    """B with the expert as the slow index of its columns, as it is in A's rows."""
    _, b, _, out, _ = _experts(tensors, config, random)
    assume(out.shape[1] > 1)
    _change(tensors, b, out.transpose(0, 2, 1).reshape(tensors[b][1].shape))


def halves_swapped(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    _, b, _, out, leaf = _experts(tensors, config, random)
    assume(leaf == "gate_up_proj")
    half = out.shape[0] // 2
    _change(tensors, b, np.concatenate([out[half:], out[:half]]).reshape(tensors[b][1].shape))


def rows_swapped(tensors: Tensors, config: dict[str, Any], random: np.random.Generator) -> None:
    """The halves of a dense matrix that holds gate above up."""
    joined = [s for s in _stems(tensors) if s.endswith("input_linear.")]
    assume(joined)
    _, b = _pair(str(random.choice(joined)))
    words = tensors[b][1]
    half = len(words) // 2
    _change(tensors, b, np.concatenate([words[half:], words[:half]]))


def magnitude_changed(
    tensors: Tensors, config: dict[str, Any], random: np.random.Generator
) -> None:
    name = str(random.choice(sorted(n for n in tensors if "magnitude" in n)))
    words = tensors[name][1].copy()
    words[int(random.integers(words.size))] ^= 1
    _change(tensors, name, words)


ANYWHERE = (transposed, swapped, scaled, dropped, renamed, one_word_off)
OF_EXPERTS = (experts_swapped, columns_by_expert, halves_swapped)


def _refused(lora: AnyLora, profile: Profile, mutation: Mutation, seed: int) -> None:
    tensors, config = converted(lora, profile)
    mutation(tensors, config, np.random.default_rng(seed))
    step = prove(lora, tensors, config)
    assert not step.passed and step.problems


@pytest.mark.parametrize("mutation", ANYWHERE, ids=lambda m: m.__name__)
@settings(deadline=None, max_examples=30)
@given(
    seed=_SEEDS,
    tree=st.sampled_from([t for t in TREES if t != "llama embeddings"]),
    profile=st.sampled_from(Profile),
)
def test_no_mistake_is_proved(mutation: Mutation, seed: int, tree: str, profile: Profile) -> None:
    _refused(draw_lora(tree, seed, Shape(together=True)), profile, mutation, seed)


@pytest.mark.parametrize("mutation", OF_EXPERTS, ids=lambda m: m.__name__)
@settings(deadline=None, max_examples=30)
@given(seed=_SEEDS, tree=st.sampled_from(STACKED))
def test_no_mistake_in_a_stack_is_proved(mutation: Mutation, seed: int, tree: str) -> None:
    _refused(draw_lora(tree, seed, Shape(together=True)), Profile.PEFT, mutation, seed)


@settings(deadline=None, max_examples=20)
@given(seed=_SEEDS, profile=st.sampled_from(Profile))
def test_no_mistake_in_joined_rows_is_proved(seed: int, profile: Profile) -> None:
    lora = draw_lora("granitemoehybrid dense", seed, Shape(together=True))
    _refused(lora, profile, rows_swapped, seed)


@settings(deadline=None, max_examples=20)
@given(seed=_SEEDS)
def test_no_mistake_in_a_magnitude_is_proved(seed: int) -> None:
    lora = draw_lora("llama", seed, Shape(dora=True))
    _refused(lora, Profile.PEFT, magnitude_changed, seed)


@settings(deadline=None, max_examples=20)
@given(seed=_SEEDS, leaf=st.sampled_from(["lora_embedding_A", "lora_embedding_B"]))
def test_no_mistake_in_an_embedding_is_proved(seed: int, leaf: str) -> None:
    lora = draw_lora("llama embeddings", seed, Shape(together=True))
    tensors, config = converted(lora, Profile.PEFT)
    name = f"base_model.model.model.embed_tokens.{leaf}"
    words = tensors[name][1].copy()
    words.flat[int((words & (2 ** (words.itemsize * 8 - 1) - 1)).argmax())] ^= 2
    if tensors[name][0] == "F32":
        words = words ^ (words.dtype.type(1) << 14)
    tensors[name] = (tensors[name][0], words)
    assert not prove(lora, tensors, config).passed


def _without(lora: AnyLora, ending: str) -> AnyLora:
    """As if the modules of that name had not been trained."""
    kept = {n: v for n, v in lora.tensors.items() if not n.rpartition(".")[0].endswith(ending)}
    return evolve(lora, tensors=kept)


@settings(deadline=None, max_examples=20)
@given(
    seed=_SEEDS,
    tree=st.sampled_from(["granitemoehybrid dense", *STACKED]),
    absent=st.sampled_from(["gate_proj", "up_proj"]),
)
def test_the_rows_of_what_was_not_trained_have_to_be_zero(
    seed: int, tree: str, absent: str
) -> None:
    whole = draw_lora(tree, seed, Shape(mixed=False, together=True))
    lora = _without(_without(whole, f"mlp.{absent}"), f"switch_mlp.{absent}")
    tensors, config = converted(lora, Profile.PEFT)
    stacks = [_pair(s)[1] for s, leaf in _stacks(config) if leaf == "gate_up_proj"]
    rows = [n for n in tensors if n.endswith("input_linear.lora_B.weight")]
    name = stacks[0] if stacks else next(n for n in rows if ".shared_mlp." in n)
    words = tensors[name][1].copy()
    half = len(words) // 2
    assert not (words[:half] if absent == "gate_proj" else words[half:]).any()
    words[0 if absent == "gate_proj" else -1] = words[-1 if absent == "gate_proj" else 0]
    _change(tensors, name, words)
    assert prove(lora, *converted(lora, Profile.PEFT)).passed
    assert not prove(lora, tensors, config).passed


@settings(deadline=None, max_examples=10)
@given(seed=_SEEDS)
def test_a_magnitude_of_what_was_not_trained_is_no_padding(seed: int) -> None:
    whole = draw_lora("llama", seed, Shape(mixed=False, dora=True, together=True))
    tensors, config = converted(whole, Profile.PEFT)
    for name in [n for n in tensors if "q_proj.lora_B" in n]:
        _change(tensors, name, np.zeros_like(tensors[name][1]))
    assert not prove(_without(whole, "q_proj"), tensors, config).passed


@pytest.mark.parametrize("tree", ["granitemoehybrid dense", *STACKED])
@settings(deadline=None, max_examples=10)
@given(seed=_SEEDS, absent=st.sampled_from(["gate_proj", "up_proj"]))
def test_what_was_trained_of_a_joined_module_comes_back_alone(
    tree: str, seed: int, absent: str
) -> None:
    whole = draw_lora(tree, seed, Shape(mixed=False, together=True))
    lora = _without(_without(whole, f"mlp.{absent}"), f"switch_mlp.{absent}")
    alone = Joining.UP if absent == "gate_proj" else Joining.GATE
    back, _ = brought_back(lora, *converted(lora, Profile.PEFT), joining=alone)
    assert numpy_words(back) == numpy_words(lora.tensors)

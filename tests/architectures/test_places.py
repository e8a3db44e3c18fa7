"""Every weight that can carry a LoRA in MLX is where the table says, at run time and on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.mlx_artifacts.architecture_fields import MLX_FIELDS
from weighbridge.domain.architectures import ARCHITECTURES, architecture_for
from weighbridge.domain.placement import (
    Experts,
    Impossible,
    Part,
    Place,
    Plain,
    Rows,
    Standing,
)

from .stacks import CASES, Array, Base, directory_of


def _stored(base: Base, name: str) -> Array:
    # GPT-2's published files have no ``transformer.``.
    return base.files[name] if name in base.files else base.files[name.partition(".")[2]]


def _check_plain(base: Base, module: str, place: Plain, weight: Array) -> None:
    turned = base.architecture.conv1d and module not in base.architecture.embeddings
    expected = weight.T if turned else weight
    np.testing.assert_array_equal(base.runtime[f"{place.path}.weight"], expected)
    np.testing.assert_array_equal(_stored(base, f"{place.checkpoint}.weight"), expected)
    kind = base.kinds[place.path]
    # An exact comparison, for PEFT cannot wrap a subclass that answers with more than a tensor.
    linear = kind.__name__ in ("Linear", "Conv1D")
    embedding = any(parent.__name__ == "Embedding" for parent in kind.__mro__)
    assert place.parameter is not (linear or embedding), kind
    assert embedding is (module in base.architecture.embeddings)


def _check_rows(base: Base, place: Rows, weight: Array) -> None:
    whole = base.runtime[f"{place.path}.weight"]
    np.testing.assert_array_equal(np.split(whole, place.count)[place.index], weight)
    kept = base.files[f"{place.checkpoint}.weight"]
    part = kept if place.apart else np.split(kept, place.count)[place.index]
    np.testing.assert_array_equal(part, weight)


def _check_experts(base: Base, place: Experts, weight: Array) -> None:
    if place.part is Part.DOWN:
        stack = base.runtime[f"{place.container}.down_proj"]
    else:
        halves = np.split(base.runtime[f"{place.container}.gate_up_proj"], 2, axis=1)
        stack = halves[place.part is Part.UP]
    np.testing.assert_array_equal(stack, weight)
    for expert, matrix in enumerate(weight if place.checkpoint else ()):
        np.testing.assert_array_equal(base.files[f"{place.each(expert)}.weight"], matrix)


@pytest.mark.slow
def test_every_adaptable_weight_is_where_the_table_says(base: Base) -> None:
    for name, tensor in base.mlx.items():
        if not tensor.lora:
            continue
        module = name.removesuffix(".weight")
        match base.architecture.place(module):
            case Plain() as place:
                _check_plain(base, module, place, tensor.value)
            case Rows() as place:
                _check_rows(base, place, tensor.value)
            case Experts() as place:
                _check_experts(base, place, tensor.value)
            case Impossible(reason):
                assert "can be mapped exactly" not in reason, f"{module} has no rule"


TEXT_CLASSES = [
    case for case in CASES if not case.count(",") and architecture_for({"model_type": case}).outside
]


@pytest.mark.slow
@pytest.mark.parametrize("whole", TEXT_CLASSES)
def test_the_text_class_has_the_paths_of_text_only(whole: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    directory = directory_of(whole)
    config = transformers.AutoConfig.from_pretrained(directory).get_text_config()
    known = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) not in known:
        config = transformers.AutoConfig.for_model("llama")
    with torch.device("meta"):
        built = known[type(config)](config)
    entry = architecture_for(json.loads((directory / "config.json").read_text())).text_only()
    modules = dict(built.named_modules())
    for layer in (0, 1):
        place: Place = entry.place(f"{entry.inside}model.layers.{layer}.self_attn.o_proj")
        assert isinstance(place, Plain)
        found = place.path in modules
        assert found or "linear_attention" in getattr(config, "layer_types", ())


def test_every_convertible_entry_is_proved_here() -> None:
    configs = [{"model_type": case, **MLX_FIELDS.get(case, {})} for case in CASES]
    tested = {architecture_for(config).model_type for config in configs}
    claimed = {entry for entry in ARCHITECTURES.values() if entry.standing is Standing.CONVERTIBLE}
    assert {entry.model_type for entry in claimed} <= tested

"""The tables of what both stacks read, against the installed mlx-lm and transformers themselves."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.architectures.stacks import load_transformers
from tests.mlx_artifacts import config_fields, config_reading as installed
from tests.mlx_artifacts.architectures import CONFIGS, agreeing, make_architecture
from tests.mlx_artifacts.cache import cached
from weighbridge.domain.config_parity import Cause, Divergence, divergences
from weighbridge.domain.config_view import config_view
from weighbridge.domain.experts import EXPERT_COUNTS
from weighbridge.domain.layer_figures import FIGURES
from weighbridge.domain.mlx.needs import NEEDS
from weighbridge.domain.mlx.reading import NESTED, READINGS, REMAPPED, REQUIRED, MlxReading
from weighbridge.domain.rules.config_values import ACTIVATIONS, LAYER_KINDS, SCALINGS
from weighbridge.domain.rules.sizes import sizes_of
from weighbridge.domain.transformers_defaults import DEFAULTS, SIZES, UNKNOWN, Defaults
from weighbridge.domain.transformers_fields import forms_of, wanted_form

MODULES = installed.modules()
#: A module that reads layer_types needs no pattern.
PATTERNS = {"sliding_window_pattern", "full_attention_interval"}
#: mlx-lm's Pixtral is the text model's; transformers' type of that name is the tower alone.
OTHERS = {"pixtral"}
#: ERNIE's router has a bias that mlx-lm drops, whatever config.json says.
STILL = {"ernie4_5_moe": Cause.BUILT_IN}


def read(module: str) -> MlxReading | None:
    found = installed.reading(module)
    watched = {n: found.fields[n] for n in installed.WATCHED if n in found.fields}
    defaults = {
        name: REQUIRED if value == installed.NO_DEFAULT else value
        for name, value in watched.items()
        if name not in PATTERNS or "layer_types" not in found.fields
    }
    return MlxReading(defaults, found.inside, found.top_first) if defaults else None


@pytest.mark.parametrize("module", MODULES)
def test_the_table_says_what_mlx_lm_reads(module: str) -> None:
    expected, stated = read(module), READINGS.get(module)
    if expected is None:
        assert stated is None
        return
    assert stated is not None
    assert dict(stated.defaults) == expected.defaults
    assert (stated.inside, stated.top_first) == (expected.inside, expected.top_first)


def test_the_table_says_which_sizes_transformers_takes_for_itself() -> None:
    mapping = import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    for model_type, figures in FIGURES.items():
        kind = mapping[f"{model_type}_text" if f"{model_type}_text" in mapping else model_type]
        declared = {field.name: field.default for field in dataclasses.fields(kind)}
        assert {name: declared.get(name) for name in figures} == figures, model_type
        counts = [name for name in EXPERT_COUNTS if isinstance(declared.get(name), int)]
        assert set(counts) <= set(figures), model_type


#: Asked for whatever the stack, or the name of another part.
ASKED_ELSEWHERE = {"model_type", "hidden_size", "num_attention_heads", "num_hidden_layers",
                   "vocab_size", "intermediate_size", "text_config", "vision_config"}  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_the_table_says_what_mlx_lm_needs(module: str) -> None:
    fields = installed.reading(module).fields.items()
    needed = [name for name, value in fields if value == installed.NO_DEFAULT]
    assert NEEDS.get(module, ()) == tuple(n for n in needed if n not in ASKED_ELSEWHERE)


def test_the_table_has_no_module_that_mlx_lm_has_not() -> None:
    assert set(READINGS) <= set(MODULES)
    assert installed.remapped() == REMAPPED
    assert {m: n for m in MODULES if (n := installed.nested(m))} == NESTED


@functools.cache
def defaults_of(model_type: str) -> Defaults | None:
    outer = {t: REMAPPED.get(t, t) for t in CONFIGS} | {m: m for m in NESTED} | dict(REMAPPED)
    for whole, around in outer.items():
        if around not in NESTED or model_type in MODULES or model_type in REMAPPED:
            continue
        text = (installed.written(whole) or {}).get("text_config") or {}
        if text.get("model_type") == model_type:
            return made(text)
    fields = installed.written(model_type)
    return None if fields is None else made(fields)


def made(fields: Mapping[str, Any]) -> Defaults:
    ropes = fields.get("rope_parameters") or {}
    rope = ropes.get("full_attention", ropes)
    return Defaults(
        rope.get("rope_theta"),
        rope.get("partial_rotary_factor"),
        fields.get("tie_word_embeddings"),
    )


@pytest.mark.parametrize("model_type", sorted(DEFAULTS))
def test_the_table_says_what_transformers_takes_for_granted(model_type: str) -> None:
    assert defaults_of(model_type) == DEFAULTS[model_type]


def test_no_type_that_both_stacks_have_is_missing_in_the_table() -> None:
    both = {t for t in {*MODULES, *REMAPPED, *CONFIGS} if installed.written(t) is not None}
    known = {t for t in both if REMAPPED.get(t, t) in MODULES}
    assert known - OTHERS <= set(DEFAULTS)


def written(model_type: str) -> dict[str, Any]:
    """config.json as transformers 5 writes it."""
    transformers = import_module("transformers")
    config = transformers.AutoConfig.for_model(model_type, **copy.deepcopy(CONFIGS[model_type]))
    fields: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    return fields


def mlx_args(config: Mapping[str, Any]) -> Any:
    """mlx-lm's own object for the text model's config, as its loader makes it."""
    view = config_view(config)
    assert view is not None
    stated = (name for name, reading in READINGS.items() if reading is view.reading)
    module = next(stated, view.module)
    found = import_module(f"mlx_lm.models.{module}")
    names = ("TextModelArgs", "TextArgs", "TextConfig", "ModelArgs")
    reader = next(getattr(found, n) for n in names if hasattr(found, n))
    return reader.from_dict(copy.deepcopy(dict(view.text)))


def causes(config: Mapping[str, Any]) -> dict[Cause, list[Divergence]]:
    by_cause: dict[Cause, list[Divergence]] = {}
    for seen in divergences(config):
        by_cause.setdefault(seen.cause, []).append(seen)
    return by_cause


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_a_config_on_which_the_stacks_agree_raises_nothing(model_type: str) -> None:
    found = set(causes(agreeing(written(model_type))))
    assert found <= {STILL.get(model_type)}


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_what_mlx_lm_makes_of_a_config_that_transformers_wrote_is_foreseen(model_type: str) -> None:
    """The oracle is mlx-lm's own config object beside transformers' own."""
    config = written(model_type)
    if config_view(config) is None:
        return  # mlx-lm reads nothing there that could differ
    found = causes(config)
    try:
        args = mlx_args(config)
    except TypeError as error:
        refusal = str(error)
        missing = [d.where.rpartition(".")[2] for d in found[Cause.MISSING]]
        assert all(f"'{name}'" in refusal for name in missing)
        return
    transformers = import_module("transformers")
    whole = transformers.AutoConfig.for_model(model_type, **copy.deepcopy(CONFIGS[model_type]))
    rope = getattr(whole.get_text_config(), "rope_parameters", None) or {}
    theta = rope.get("full_attention", rope).get("rope_theta")
    used = getattr(args, "rope_theta", None)
    foreseen = [d for d in found.get(Cause.ROPE_BASE, ()) if d.where.endswith("rope_theta")]
    if (
        used is not None
        and theta is not None
        and DEFAULTS.get(whole.get_text_config().model_type, UNKNOWN).theta
    ):
        assert bool(foreseen) is (used != theta)
    assert not any(d.where.endswith("rope_theta") for d in found.get(Cause.MISSING, ()))


#: What differs, and by how much at least, in parts of the largest logit.
NUMERIC = ("llama", "qwen2", "gemma2", "phi3", "qwen3_moe", "qwen3", "lfm2_moe")


def both_answers(directory: Path) -> float:
    """The largest difference between both stacks' logits, relative to the largest logit."""
    import mlx.core as mx
    import torch
    from mlx_lm.utils import load_model

    model = load_transformers(directory, json.loads((directory / "config.json").read_text()))
    tokens = list(range(5, 45))
    with torch.no_grad():
        theirs = model.eval()(torch.tensor([tokens])).logits.numpy()
    mlx_model, _ = load_model(directory)
    ours = np.array(mlx_model(mx.array([tokens])).astype(mx.float32))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.slow
@pytest.mark.parametrize("model_type", NUMERIC)
def test_a_finding_is_a_difference_in_numbers_and_its_line_removes_it(
    model_type: str, tmp_path: Path
) -> None:
    made = cached(
        f"architecture-{model_type}", functools.partial(make_architecture, model_type=model_type)
    )
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    path, config = tmp_path / "config.json", written(model_type)
    config["architectures"] = json.loads((made / "config.json").read_text())["architectures"]
    path.unlink()
    path.write_text(json.dumps(config))
    found = list(divergences(config))
    if any(d.cause is Cause.MISSING for d in found):
        with pytest.raises(TypeError, match="missing"):
            both_answers(tmp_path)
    else:
        assert (both_answers(tmp_path) > 1e-2) is bool(found)
    for seen in found:
        config |= json.loads("{" + seen.line + "}")
    path.write_text(json.dumps(config))
    assert both_answers(tmp_path) < 1e-3


def test_the_words_that_transformers_knows() -> None:
    activations = import_module("transformers.activations")
    assert set(activations.ACT2FN) == ACTIVATIONS
    ropes = import_module("transformers.modeling_rope_utils")
    assert set(ropes.ROPE_INIT_FUNCTIONS) <= set(SCALINGS)
    configs = import_module("transformers.configuration_utils")
    former = configs._LEGACY_LAYER_TYPE_REMAP
    assert {*configs.ALLOWED_LAYER_TYPES, *former} == LAYER_KINDS


@pytest.mark.parametrize("model_type", sorted(DEFAULTS))
def test_the_table_says_which_forms_transformers_declares(model_type: str) -> None:
    declared = config_fields.declared(model_type)
    for name in {name for other in DEFAULTS for name in config_fields.declared(other)}:
        stated, letters = forms_of(model_type, name), declared.get(name, "")
        assert set(letters) <= set(stated) and bool(letters) is bool(stated), name
        assert ("n" in letters) is ("n" in stated), name


def test_a_form_is_refused_just_where_transformers_raises() -> None:
    """One type for each field and the forms that it has there."""
    mapping = import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    refusal = import_module("huggingface_hub.errors").StrictDataclassFieldValidationError
    fields = {
        (name, letters): model_type
        for model_type in sorted(DEFAULTS)
        for name, letters in config_fields.declared(model_type).items()
        if set(letters) == set(forms_of(model_type, name))
    }
    for (name, letters), model_type in fields.items():
        for value in (True, 3, 0.5, "x", [], {}, None):
            if value == [] and "l" in letters:
                continue  # Some ask for how long it is.
            raised = None
            try:
                mapping[model_type](**{name: value})
            except Exception as error:  # of the value, when its form is right
                raised = error
            refused = isinstance(raised, refusal) and raised.args[0].find(f"'{name}'") >= 0
            assert refused <= bool(wanted_form(model_type, name, value)) <= bool(raised), (
                model_type, name, value, raised)  # fmt: skip


@pytest.mark.parametrize("model_type", sorted(DEFAULTS))
def test_sizes_that_are_asked_for_are_written(model_type: str) -> None:
    fields = installed.written(model_type) or {}
    assert set(sizes_of(fields)) <= set(fields)


@pytest.mark.parametrize("model_type", sorted(SIZES))
def test_sizes_that_transformers_takes_for_a_text_model(model_type: str) -> None:
    config = import_module("transformers").AutoConfig.for_model(model_type)
    keys = ("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size")
    found = (getattr(config, key, None) for key in keys)
    assert tuple(n if isinstance(n, int) else None for n in found) == SIZES[model_type]

"""Repair over fakes: what is enough evidence, and what is asked for if it is not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve
from click import unstyle

from tests.builders import LORA_SPECS, PEFT_SPECS, encode, lora_files, peft_files, tensors
from tests.fakes.exact_converter import ExactConverter
from tests.fakes.memory_files import MemoryFiles
from weighbridge.application.repair import Repair, Repaired
from weighbridge.application.repair_plan import RepairRequest
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import (
    AmbiguousModelStructure,
    ArtifactUnreadable,
    InvalidModelStructure,
    NotRepairable,
    UsageError,
)
from weighbridge.domain.peft.config import unselected
from weighbridge.domain.proof import ProofLevel
from weighbridge.domain.repairing.repair import choose_base
from weighbridge.domain.tensors import TensorSpec
from weighbridge.entrypoints.render import repair_text

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
A, B = PEFT_SPECS
EMBEDDING = "base_model.model.model.embed_tokens.lora_embedding"
LAYER = "base_model.model.model.layers.0"
BASE_CONFIG = {
    "model_type": "llama", "hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 1,
}  # fmt: skip


def shaped(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "F32", shape)


def adapter(*specs: TensorSpec, **config: Any) -> dict[str, bytes]:
    return peft_files(**config) | {WEIGHTS: tensors(specs)}


def repaired(
    files: Mapping[str, bytes],
    original: Mapping[str, bytes] | None = None,
    base: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Repaired, MemoryFiles]:
    memory = MemoryFiles()
    memory.seed("broken", files)
    if original is not None:
        memory.seed("run", original)
        options["original"] = "run"
    if base is not None:
        memory.seed("base", {"config.json": encode(base)})
        options["base"] = "base"
    request = RepairRequest("broken", "out", **options)
    return Repair(memory, ExactConverter(), ())(request), memory


def refusal(files: Mapping[str, bytes], **options: Any) -> str:
    with pytest.raises(NotRepairable) as caught:
        repaired(files, **options)
    return str(caught.value)


def settings_of(memory: MemoryFiles) -> dict[str, Any]:
    return dict(json.loads(memory.read("out", ArtifactPath(CONFIG))))


TURNED = (evolve(A, shape=(16, 4)), evolve(B, shape=(4, 16)))


def test_a_certain_case_needs_nothing_but_itself() -> None:
    done, memory = repaired(adapter(*TURNED, task_type="SEQ_CLS", revision="abc"))
    assert [d.code for d in done.plan.defects] == ["PE005"] and done.output == "out"
    config = settings_of(memory)
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 80, ["q_proj"])
    assert (config["task_type"], config["revision"]) == ("SEQ_CLS", "abc")
    assert done.proof is not None and done.proof.steps == ()
    assert [u.level for u in done.proof.unattempted] == [ProofLevel.ALGEBRA]
    assert "nothing proves it" in done.plan.unknown[1]


def test_the_portable_form_has_only_fields_that_old_peft_knows() -> None:
    done, memory = repaired(
        peft_files(lora_alpha=29.0, r=4, peft_version="0.21.2", note="x", num_layers=16)
    )
    assert {d.code for d in done.plan.defects} == {"PE018", "PE022", "PE023", "PE024"}
    config = settings_of(memory)
    assert config["lora_alpha"] == 29 and type(config["lora_alpha"]) is int
    assert not {"peft_version", "note", "num_layers"} & config.keys()


def test_an_alpha_survives_being_taken_apart() -> None:
    """29 / 7 x 7 is 29.000000000000004 in double precision."""
    seven = [evolve(A, shape=(7, 16)), evolve(B, shape=(16, 7))]
    _, memory = repaired(adapter(*seven, r=7, lora_alpha=29.0))
    assert settings_of(memory)["lora_alpha"] == 29


def test_a_rank_stabilised_scale_is_folded_into_alpha() -> None:
    _, memory = repaired(adapter(*TURNED, use_rslora=True, lora_alpha=8))
    config = settings_of(memory)
    assert config["lora_alpha"] == 16 and config["use_rslora"] is False


def test_recent_fields_alone_are_no_defect() -> None:
    done, memory = repaired(peft_files(peft_version="0.21.2"))
    assert not done.plan.needed and done.output is None
    assert [d.code for d in done.plan.defects] == ["PE024"]
    with pytest.raises(Exception, match="out"):
        memory.scan("out")


@pytest.mark.parametrize(
    "setting",
    [
        {"use_dora": True},
        {"exclude_modules": ["q_proj"]},
        {"exclude_modules": r".*q_proj"},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 8}},
        {"alpha_pattern": {"q_proj": 8}},
        {"bias": "all"},
        {"init_lora_weights": "pissa"},
    ],
)
def test_a_setting_that_the_original_does_not_have(setting: dict[str, Any]) -> None:
    clean, first = repaired(adapter(*TURNED), original=lora_files())
    done, memory = repaired(peft_files(**setting), original=lora_files())
    assert tuple(setting) in [d.places for d in done.plan.defects]
    assert done.output == clean.output == "out" and settings_of(memory) == settings_of(first)


@pytest.mark.parametrize(
    "setting",
    [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"init_lora_weights": "olora"}],
)
def test_a_setting_that_only_the_original_could_explain(setting: dict[str, Any]) -> None:
    assert next(iter(setting)) in refusal(adapter(*TURNED, **setting))


def test_weights_without_settings() -> None:
    text = refusal({WEIGHTS: tensors(PEFT_SPECS)})
    assert "PE001" in text and "--scale" in text and "--base-model" in text
    done, memory = repaired({WEIGHTS: tensors(PEFT_SPECS)}, original=lora_files())
    assert settings_of(memory)["lora_alpha"] == 80 and done.plan.needed


V = (shaped(f"{LAYER}.self_attn.v_proj.lora_A.weight", 4, 16),
     shaped(f"{LAYER}.self_attn.v_proj.lora_B.weight", 16, 4))  # fmt: skip
TWO = {"target_modules": ["q_proj", "v_proj"]}
MISSING: dict[str, tuple[dict[str, bytes], str]] = {
    "scale": (adapter(*TURNED, lora_alpha=None), "--original or --scale"),
    "scale of another rank": (adapter(A, evolve(B, shape=(32, 4)), r=9), "--original or --scale"),
    "rank": (adapter(*TURNED, r=None), "the rank could be any of 4, 16; give --original or --base"),
    "square": (adapter(evolve(A, shape=(4, 4)), evolve(B, shape=(16, 4))), "looks the same trans"),
    "partner": (adapter(A, B, V[0], **TWO), "lora_b is lost; give --original"),
    "duplicate": (adapter(A, B, evolve(A, name=A.name.replace("weight", "x.weight"))),
                  "another tensor claims to be the same; give --original"),
    "magnitude": (adapter(A, B, shaped(f"{LAYER}.self_attn.q_proj.lora_magnitude_vector", 16),
                          lora_alpha=80.0), "DoRA magnitude; give --original"),
    "embedding": (adapter(A, B, shaped(f"{EMBEDDING}_A", 4, 9), shaped(f"{EMBEDDING}_B", 16, 4),
                          lora_alpha=80.0), "not a factor of a linear module; give --original"),
    "stack": (adapter(A, B, shaped("model.layers.0.mlp.switch_mlp.up_proj.lora_a", 2, 4, 16),
                      shaped("model.layers.0.mlp.switch_mlp.up_proj.lora_b", 2, 32, 4)),
              "not a factor of a linear module; give --original"),
    "foreign": (adapter(A, B, shaped("base_model.model.model.norm.weight", 16)),
                "is no tensor of a LoRA; give --original"),
    "pattern": (adapter(A, B, rank_pattern={"q_proj": 4}, lora_alpha=80.0), "give --original"),
    "no head": (adapter(A, B, task_type="FEATURE_EXTRACTION", lora_alpha=80.0), "without its head"),
    "other tree": (adapter(*(evolve(s, name=s.name.replace("self_attn", "attention")) for s in
                             PEFT_SPECS), lora_alpha=80.0), "give --base or --original"),
    "multimodal": (adapter(*(evolve(s, name=s.name.replace("model.layers", "language_model.layers"))
                             for s in PEFT_SPECS), lora_alpha=80.0), "give --base or --original"),
    "base model": (adapter(*TURNED, base_model_name_or_path="/Users/ada/x"), "--base-model"),
    "quantised": (peft_files(base_model_name_or_path="mlx-community/x-4bit"), "--base-model"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(MISSING))
def test_what_is_missing_is_named_with_the_option(case: str) -> None:
    files, words = MISSING[case]
    assert words in refusal(files)


@pytest.mark.parametrize(
    "case", ["scale", "rank", "partner", "duplicate", "foreign", "base model", "quantised"]
)
def test_the_original_supplies_it(case: str) -> None:
    more = [evolve(s, name=s.name.replace("q_proj", "v_proj")) for s in LORA_SPECS]
    run = lora_files() | {"adapters.safetensors": tensors([*LORA_SPECS, *more])}
    files = MISSING[case][0]
    done, memory = repaired(files, original=run)
    config = settings_of(memory)
    assert (config["r"], config["lora_alpha"]) == (4, 80)
    assert config["base_model_name_or_path"] == "acme/base"
    assert all(d.correction for d in done.plan.defects)


def test_the_bases_sizes_settle_the_rank() -> None:
    done, memory = repaired(adapter(*TURNED, r=None), base=BASE_CONFIG, scale=20.0)
    assert settings_of(memory)["r"] == 4 and {s.move.value for s in done.plan.steps} == {
        "transposed"
    }


def test_a_base_that_it_does_not_fit() -> None:
    text = refusal(adapter(*TURNED), base=BASE_CONFIG | {"hidden_size": 32})
    assert "the base's sizes have no rank in common" in text


def test_a_base_that_nobody_can_convert_for() -> None:
    text = refusal(adapter(*TURNED), base={"model_type": "nobody-knows"})
    assert "where the base has this module is not known; give --original" in text


def test_values_of_another_run_are_refused() -> None:
    other = tensors(LORA_SPECS).replace(tensors(LORA_SPECS)[-4:], b"\x00\x00\x80\x3f")
    text = refusal(peft_files(), original=lora_files() | {"adapters.safetensors": other})
    assert "values are not those of the original's" in text


def test_values_in_another_dtype_are_refused() -> None:
    half = tuple(evolve(s, dtype="F16") for s in PEFT_SPECS)
    text = refusal(adapter(*half), original=lora_files())
    assert "(F16 here, F32 there)" in text


def test_nothing_of_the_original() -> None:
    other = [evolve(s, name=s.name.replace("q_proj", "o_proj")) for s in LORA_SPECS]
    run = lora_files() | {"adapters.safetensors": tensors(other)}
    assert "none of its tensors is one of the original's" in refusal(peft_files(), original=run)


def test_an_original_that_cannot_be_converted() -> None:
    run = lora_files(lora_parameters={"rank": 4})
    assert "give --scale" in refusal(peft_files(), original=run)


def test_the_callers_scale_overrides_the_original() -> None:
    done, memory = repaired(peft_files(), original=lora_files(), scale=2.0)
    assert settings_of(memory)["lora_alpha"] == 8
    assert [d.name for d in done.plan.defects] == ["alpha-wrong"]


@pytest.mark.parametrize(
    ("config", "name"),
    [({"lora_alpha": 20}, "alpha-is-scale"), ({"lora_alpha": 4}, "alpha-is-rank"),
     ({"lora_alpha": 7}, "alpha-wrong")],
)  # fmt: skip
def test_what_alpha_was_mistaken_for(config: dict[str, Any], name: str) -> None:
    done, _ = repaired(peft_files(**config), original=lora_files())
    assert [d.name for d in done.plan.defects] == [name]


def test_only_r_is_wrong() -> None:
    done, _ = repaired(adapter(A, B, r=9), original=lora_files())
    assert [d.code for d in done.plan.defects] == ["PE004"]


def test_other_weights_beside_it_are_not_taken() -> None:
    files = adapter(*TURNED) | {"adapters.safetensors": tensors(LORA_SPECS)}
    done, memory = repaired(files, original=lora_files())
    assert {"FS013", "PE005"} == {d.code for d in done.plan.defects}
    assert {e.path.text for e in memory.scan("out").files} == {WEIGHTS, CONFIG}


def test_two_adapters_are_ambiguous() -> None:
    files = {"one.safetensors": tensors(PEFT_SPECS), "two.safetensors": tensors(PEFT_SPECS)}
    with pytest.raises(AmbiguousModelStructure, match=r"one\.safetensors, two\.safetensors"):
        repaired(files)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({}, InvalidModelStructure),
        ({CONFIG: b"{}"}, InvalidModelStructure),
        (lora_files() | {"adapters.safetensors": b"x"}, InvalidModelStructure),
        (peft_files() | {WEIGHTS: b"x"}, ArtifactUnreadable),
        (peft_files() | {CONFIG: b"{"}, ArtifactUnreadable),
        (lora_files(), NotRepairable),
    ],
)
def test_what_holds_no_adapter(files: dict[str, bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        repaired(files)


def test_an_output_is_needed() -> None:
    memory = MemoryFiles()
    memory.seed("broken", adapter(*TURNED))
    with pytest.raises(UsageError, match="--dry-run"):
        Repair(memory, ExactConverter(), ())(RepairRequest("broken"))


def test_base_names() -> None:
    assert choose_base("a/b-4bit", ()).value == "a/b-4bit"
    assert "--base-model" in choose_base("/x", ("a/b",)).reason
    assert choose_base(None, (None, "/x", "a/b-8bit", "a/b")).value == "a/b"
    assert "quantised" in choose_base(None, ("a/b-8bit",)).reason
    assert "no base model" in choose_base(None, (None, "")).reason


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": None},
        {"target_modules": "all-linear"},
        {"target_modules": "("},
        {"target_modules": r".*\.[qk]_proj", "exclude_modules": "x"},
        {"target_modules": ["q_proj"], "layers_to_transform": "x"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "(a+)+b"},
        {"target_modules": ["v_proj"], "target_parameters": ["self_attn.q_proj.weight"]},
    ],
)
def test_selections_that_are_not_judged(config: dict[str, Any]) -> None:
    assert unselected(["model.layers.0.self_attn.q_proj"], config) == []


def test_selections_that_are() -> None:
    module = "model.layers.0.self_attn.q_proj"
    for config in ({"target_modules": ["v_proj", 7]},
                   {"target_modules": ["q_proj"], "exclude_modules": ["self_attn.q_proj"]},
                   {"target_modules": "q_proj"},  # PEFT matches the whole path
                   {"target_modules": ["q_proj"], "exclude_modules": ".*"},
                   {"target_modules": ["q_proj"], "layers_to_transform": [1]}):  # fmt: skip
        assert unselected([module], config) == [module]


def test_the_text_says_what_is_not_known_and_escapes_what_it_quotes() -> None:
    evil = shaped("model.\x1b[31m\u202ex.weight", 4)
    done, _ = repaired(adapter(*TURNED, evil, note="x"), original=lora_files())
    text = repair_text.repaired(done)
    assert "\x1b[31m\u202e" not in text and "\\u202e" in text
    assert "PE005 factor-not-transposed" in text and "repaired to out: 2 transposed" in unstyle(
        text
    )
    done, _ = repaired(adapter(*TURNED), dry_run=True)
    text = unstyle(repair_text.repaired(done))
    assert "dry run: nothing was written" in text and "not known: the scale 20" in text
    done, _ = repaired(peft_files())
    assert "nothing to repair is seen in broken" in unstyle(repair_text.repaired(done))


def test_the_refusal_survives_a_process_pool() -> None:
    with pytest.raises(NotRepairable) as caught:
        repaired(adapter(*TURNED, *V, lora_alpha=None))
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and "(and 1 more)" in str(again)
    assert again.report.findings == caught.value.report.findings

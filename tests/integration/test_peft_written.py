"""What PEFT itself writes is no defect: its own adapters, of every form, have no error."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")

import weighbridge
from tests.mlx_artifacts import tiny_base
from weighbridge.domain.findings import Severity

FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "listed": {"target_modules": ["q_proj", "k_proj", "down_proj"], "lora_alpha": 16},
    "alpha below r": {"r": 64, "lora_alpha": 16},
    "expression": {"target_modules": r".*\.(q|v)_proj"},
    "all linear": {"target_modules": "all-linear"},
    "full path": {"target_modules": ["model.layers.1.mlp.up_proj"]},
    "some layers": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "excluded": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["v_proj"]},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "ranks": {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 4}},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "saved modules": {"modules_to_save": ["lm_head"]},
    "bias": {"bias": "lora_only"},
    "lora bias": {"lora_bias": True},
    "parameter": {"target_modules": [], "target_parameters": ["mlp.up_proj.weight"]},
    "no task": {"task_type": None},
    "square": {"r": 64, "target_modules": ["q_proj", "o_proj"]},
}


def written(out: Path, bare: bool = False, **form: Any) -> Path:
    """A LoRA on the tiny Llama as ``save_pretrained`` leaves it."""
    peft, transformers = import_module("peft"), import_module("transformers")
    loader = transformers.AutoModel if bare else transformers.AutoModelForCausalLM
    model = loader.from_pretrained(tiny_base("llama"))
    model.config._name_or_path = "acme/tiny"  # for the card, where a path is an error
    options = {"r": 8, "task_type": "CAUSAL_LM", "init_lora_weights": False} | form
    config = peft.LoraConfig(base_model_name_or_path="acme/tiny", **options)
    wrapped = peft.get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = "acme/tiny"
    wrapped.save_pretrained(out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("form", sorted(FORMS))
def test_no_error(form: str, tmp_path: Path) -> None:
    report = weighbridge.validate(
        written(tmp_path / "peft", **FORMS[form]), base=tiny_base("llama")
    )
    assert [f for f in report.findings if f.severity is Severity.ERROR] == []
    assert report.crashed == ()
    about_the_adapter = {f.code for f in report.findings if f.code.startswith("PE")}
    assert about_the_adapter <= ({"PE021", "PE024"} if form == "no task" else {"PE024"})


@pytest.mark.slow
@pytest.mark.parametrize("task", ["FEATURE_EXTRACTION", None])
def test_no_error_without_a_head(task: str | None, tmp_path: Path) -> None:
    report = weighbridge.validate(
        written(tmp_path / "peft", bare=True, task_type=task), base=tiny_base("llama")
    )
    assert [f for f in report.findings if f.severity is Severity.ERROR] == []

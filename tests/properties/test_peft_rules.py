"""Whatever stands in a directory: no rule about PEFT adapters crashes, repair answers in words."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from tests.builders import PEFT_CONFIG, encode, lora_files, tensors
from tests.fakes.exact_converter import ExactConverter
from tests.fakes.memory_files import MemoryFiles
from weighbridge.adapters.jinja_templates import JinjaTemplateReader
from weighbridge.adapters.numpy_survey import NumpySurveyor
from weighbridge.application.repair import Repair
from weighbridge.application.repair_plan import RepairRequest
from weighbridge.application.validate import Validate, ValidateRequest
from weighbridge.domain.errors import WeighbridgeError
from weighbridge.domain.peft.config import LATER_FIELDS, MLX_FIELDS, OLDEST_FIELDS
from weighbridge.domain.tensors import TensorSpec

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20) | st.floats(-2, 30, width=16)
    | st.sampled_from(["", "q_proj", "layers", "LORA", "(a+)+b", "a/b", "/x", 10**39]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["rank", "scale", "alpha", "q_proj"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
_KEYS = st.sampled_from(sorted(OLDEST_FIELDS | LATER_FIELDS | MLX_FIELDS | {"mine"}))
_SPECS = st.lists(
    st.builds(
        lambda front, module, leaf, shape: TensorSpec(
            f"{front}{module}.{leaf}", "F32", tuple(shape)
        ),
        st.sampled_from(["", "model.", "base_model.model.", "base_model.model.model.",
                         "base_model.model.language_model.model."]),
        st.sampled_from(["layers.0.self_attn.q_proj", "layers.1.mlp.experts", "embed_tokens", "x"]),
        st.sampled_from(["lora_A.weight", "lora_B.weight", "lora_a", "lora_b", "m", "weight",
                         "lora_embedding_A", "lora_A.default.weight", "lora_magnitude_vector"]),
        st.lists(st.integers(0, 16), max_size=3),
    ),
    max_size=5,
    unique_by=lambda spec: spec.name,
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    config=st.dictionaries(_KEYS, _VALUES, max_size=6),
    specs=_SPECS,
    file=st.sampled_from(["adapter_model.safetensors", "adapters.safetensors", "x.safetensors"]),
    whole=st.booleans(),
    original=st.booleans(),
)
def test_nothing_crashes(
    config: dict[str, Any], specs: list[TensorSpec], file: str, whole: bool, original: bool
) -> None:
    memory = MemoryFiles()
    settings_ = PEFT_CONFIG | config if whole else config
    memory.seed("run", lora_files())
    memory.seed("broken", {file: tensors(specs), "adapter_config.json": encode(settings_)})
    memory.seed("base", {"config.json": encode({"model_type": "llama", "hidden_size": 16})})
    validate = Validate(memory, NumpySurveyor(), JinjaTemplateReader())
    report = validate(ValidateRequest("broken", base="base"))
    assert report.crashed == ()
    request = RepairRequest("broken", "out", "run" if original else None, "base")
    try:
        done = Repair(memory, ExactConverter(), ())(request)
    except WeighbridgeError:
        return
    if done.output is not None:
        again = validate(ValidateRequest("out", base="base"))
        assert [f for f in again.findings if f.code.startswith("PE")] == []

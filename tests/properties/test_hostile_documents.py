"""Documents of strangers: whatever JSON they hold, every rule ends, and none crashes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings, strategies as st

from tests.builders import (
    FUSED_CONFIG,
    LORA_CONFIG,
    PEFT_CONFIG,
    TOKENIZER,
    fused_files,
    lora_files,
    peft_files,
    sharded_files,
    tensors,
)
from tests.fakes.memory_files import MemoryFiles
from weighbridge.adapters.jinja_templates import JinjaTemplateReader
from weighbridge.adapters.numpy_survey import NumpySurveyor
from weighbridge.application.validate import Validate, ValidateRequest
from weighbridge.domain.tensors import TensorSpec

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "../x", "</s>", "llama", "qwen3_next", "gemma3", "{{", "{{ x.__y }}",
                     "(a+)+$", "affine", "mxfp4", "model-00001-of-00002.safetensors", "C:x"]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["a", "id", "content", "model", "vocab", "merges", "name", "template",
                             "bits", "mode", "group_size", "rank", "default"]),
            inner, max_size=4,
        ),
    ),
    max_leaves=8,
)  # fmt: skip
_KEYS = {
    "config.json": (FUSED_CONFIG, [
        "model_type", "hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads",
        "head_dim", "eos_token_id", "pad_token_id", "quantization", "quantization_config",
        "text_config", "torch_dtype", "tie_word_embeddings", "num_nextn_predict_layers",
        "architectures"]),
    "generation_config.json": ({}, ["eos_token_id", "bos_token_id", "pad_token_id"]),
    "tokenizer.json": (TOKENIZER, ["model", "added_tokens", "version"]),
    "tokenizer_config.json": ({}, [
        "eos_token", "chat_template", "vocab_file", "added_tokens_decoder", "auto_map",
        "tokenizer_class", "pad_token"]),
    "special_tokens_map.json": ({}, ["eos_token", "pad_token"]),
    "chat_template.json": ({}, ["chat_template"]),
    "model.safetensors.index.json": ({}, ["weight_map", "metadata"]),
    "adapter_config.json": (LORA_CONFIG | PEFT_CONFIG, [
        "num_layers", "fine_tune_type", "lora_parameters", "target_modules", "rank_pattern",
        "layers_pattern", "auto_mapping", "megatron_core", "revision", "data", "model",
        "exclude_modules", "base_model_name_or_path", "r"]),
}  # fmt: skip


@st.composite
def _documents(draw: st.DrawFn) -> dict[str, bytes]:
    found = {}
    for path in draw(st.lists(st.sampled_from(sorted(_KEYS)), min_size=1, max_size=4, unique=True)):
        good, keys = _KEYS[path]
        changed: dict[str, Any] = draw(
            st.dictionaries(st.sampled_from(keys), _VALUES, min_size=1, max_size=4)
        )
        found[path] = json.dumps({**good, **changed}).encode()
    return found


_SPECS = [
    TensorSpec(name, dtype, shape)
    for name, dtype, shape in (
        ("model.embed_tokens.weight", "F32", (8, 16)),
        ("lm_head.weight", "U32", (8, 2)),
        ("lm_head.scales", "F32", (8, 1)),
        ("lm_head.biases", "F32", ()),
        ("model.layers.0.self_attn.q_proj.weight", "F32", ()),
        ("model.layers.3.mlp.up_proj.weight", "U32", ()),
        ("model.layers.3.mlp.up_proj.scales", "U8", (4,)),
        ("model.layers.0.mlp.up_proj.scales", "U8", (1, 0)),
        ("model.layers.0.mlp.up_proj.weight", "U32", (0, 4)),
    )
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([lora_files(), peft_files(), fused_files(), sharded_files()]),
    _documents(),
    st.booleans(),
)
def test_no_rule_crashes(good: dict[str, bytes], documents: dict[str, bytes], odd: bool) -> None:
    files = good | {path: raw for path, raw in documents.items() if path.startswith("adapter")
                    == ("adapter_config.json" in good)}  # fmt: skip
    if odd and "model.safetensors" in files:
        files["model.safetensors"] = tensors(_SPECS)
    memory = MemoryFiles()
    memory.seed("run", files, ())
    report = Validate(memory, NumpySurveyor(), JinjaTemplateReader())(ValidateRequest("run"))
    assert report.crashed == ()

"""What llama.cpp can take of a LoRA, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.gguf.names import (
    GGUF_ARCHITECTURES,
    GgufArchitecture,
    UnknownArchitecture,
    gguf_architecture_of,
)
from weighbridge.domain.gguf.order import fused_qkv, rotary_pairs, value_heads
from weighbridge.domain.gguf.plan import GgufPlan, plan_gguf
from weighbridge.domain.tensors import TensorSpec

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
MIXTRAL = {**LLAMA, "architectures": ["MixtralForCausalLM"], "num_local_experts": 2}
CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 40, "bias": "none"}
Q = "model.layers.0.self_attn.q_proj"
K = "model.layers.0.self_attn.k_proj"
UP = "model.layers.0.mlp.up_proj"
NAMES = {
    f"{Q}.weight": "blk.0.attn_q.weight",
    f"{K}.weight": "blk.0.attn_k.weight",
    f"{UP}.weight": "blk.0.ffn_up.weight",
    "lm_head.weight": "output.weight",
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "layers.0.feed_forward.experts.w1.weight": "blk.0.ffn_gate_exps.weight",
    "model.per_layer_model_projection.weight": "per_layer_model_proj.weight",
}


def linear(module: str, rows: int = 16, columns: int = 16, rank: int = 2) -> list[TensorSpec]:
    stem = f"base_model.model.{module}"
    return [
        TensorSpec(f"{stem}.lora_A.weight", "F32", (rank, columns)),
        TensorSpec(f"{stem}.lora_B.weight", "F32", (rows, rank)),
    ]


def embedding(module: str) -> list[TensorSpec]:
    stem = f"base_model.model.{module}"
    return [
        TensorSpec(f"{stem}.lora_embedding_A", "F32", (2, 32)),
        TensorSpec(f"{stem}.lora_embedding_B", "F32", (16, 2)),
    ]


def plan(specs: Iterable[TensorSpec], base: dict[str, Any] = LLAMA, **config: Any) -> GgufPlan:
    return plan_gguf(CONFIG | config, base, list(specs), NAMES.get, location="out")


def refusal(specs: Iterable[TensorSpec], base: dict[str, Any] = LLAMA, **config: Any) -> str:
    with pytest.raises(NotConvertible) as caught:
        plan(specs, base, **config)
    return str(caught.value)


def test_a_plain_module_is_as_it_was() -> None:
    found = plan(linear(UP, rows=32))
    assert (found.architecture, found.alpha) == ("llama", 40.0)
    a, b = found.tensors
    assert (a.name, a.shape, a.order) == ("blk.0.ffn_up.weight.lora_a", (2, 16), None)
    assert (b.name, b.shape, b.order) == ("blk.0.ffn_up.weight.lora_b", (32, 2), None)


def test_q_and_k_have_their_rows_exchanged() -> None:
    _, q, _, k = plan([*linear(Q), *linear(K, rows=8)]).tensors
    assert q.order == (0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15)
    assert k.order == (0, 4, 1, 5, 2, 6, 3, 7)


def test_the_number_of_key_heads_may_be_missing() -> None:
    older = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
    assert plan(linear(K, rows=16), older).tensors[1].order == rotary_pairs(16, 8)


@pytest.mark.parametrize(
    "base", [LLAMA | {"num_attention_heads": 4}, LLAMA | {"head_dim": 4}, LLAMA | {"head_dim": 3}]
)
def test_rows_that_the_config_does_not_explain(base: dict[str, Any]) -> None:
    assert "config.json does not explain" in refusal(linear(K, rows=8), base | {"hidden_size": 20})


def test_a_config_without_sizes() -> None:
    assert "num_attention_heads" in refusal(linear(Q), LLAMA | {"num_attention_heads": None})


def test_an_untied_embedding_has_its_a_transposed() -> None:
    a, b = plan(embedding("model.embed_tokens"), LLAMA | {"tie_word_embeddings": False}).tensors
    assert (a.shape, a.transposed) == ((32, 2), True)
    assert (b.shape, b.transposed) == ((16, 2), False)


@pytest.mark.parametrize("specs", [embedding("model.embed_tokens"), linear("lm_head")])
def test_tied_embeddings_are_refused(specs: list[TensorSpec]) -> None:
    told = refusal(specs, LLAMA | {"tie_word_embeddings": True})
    assert "one tensor" in told and "fuse the model" in told


def test_what_a_silent_config_means_for_tied_embeddings() -> None:
    gemma = LLAMA | {"architectures": ["GemmaForCausalLM"]}
    assert "one tensor" in refusal(linear("lm_head"), gemma)
    assert len(plan(linear("lm_head")).tensors) == 2


def experts(*numbers: int) -> list[TensorSpec]:
    stem = "model.layers.0.block_sparse_moe.experts"
    return [spec for number in numbers for spec in linear(f"{stem}.{number}.w1")]


def test_experts_are_stacked_in_order() -> None:
    a, b = plan(experts(1, 0), MIXTRAL).tensors
    assert (a.name, a.shape) == ("blk.0.ffn_gate_exps.weight.lora_a", (2, 2, 16))
    assert b.shape == (2, 16, 2)
    assert [".experts.0." in s.name for s in a.sources] == [True, False]


@pytest.mark.parametrize("numbers", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_a_missing_expert_is_refused(numbers: tuple[int, ...]) -> None:
    assert f"on {len(numbers)} of 2 experts" in refusal(experts(*numbers), MIXTRAL)


def test_experts_of_a_dense_model_are_refused() -> None:
    assert "no such tensor for llama" in refusal(experts(0, 1))


def test_what_peft_passes_over_is_refused() -> None:
    told = refusal([*linear(UP), *linear(Q)], target_modules=["up_proj"])
    assert f"{Q}: is not selected" in told and UP not in told
    assert "is not selected" in refusal(
        linear(UP), target_modules=["up_proj"], exclude_modules=["mlp.up_proj"]
    )


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_16", "corda", "olora", "OLoRA", "loftq"])
def test_a_lora_on_a_base_that_peft_changes_is_refused(init: str) -> None:
    assert "merge_and_unload" in refusal(linear(UP), init_lora_weights=init)


FIELDS = {
    "use_dora": (True, "DoRA has no form"),
    "use_rslora": (True, "not by its root"),
    "rank_pattern": ({"q_proj": 4}, "one lora_alpha for all ranks"),
    "alpha_pattern": ({"q_proj": 4}, "one lora_alpha for all modules"),
    "target_parameters": (["experts.gate_up_proj"], "share one LoRA tensor"),
    "modules_to_save": (["lm_head"], "no whole modules"),
    "fan_in_fan_out": (True, "exchanges the two factors"),
    "bias": ("all", "takes none"),
}


@pytest.mark.parametrize("key", FIELDS)
def test_fields_that_llama_cpp_would_ignore(key: str) -> None:
    value, reason = FIELDS[key]
    told = refusal(linear(UP), **{key: value})
    assert f"adapter_config.json: {key} is set" in told and reason in told
    assert "fuse the model (mlx_lm.fuse)" in told


@pytest.mark.parametrize(
    ("alpha", "reason"),
    [(0, "a scale of 1"), (0.1, "no float32"), (None, "no number"), (True, "no number"),
     (float("nan"), "no number"), (2**24 + 1, "no float32"), (1e300, "no number")],
)  # fmt: skip
def test_an_alpha_that_would_mean_something_else(alpha: Any, reason: str) -> None:
    assert reason in refusal(linear(UP), lora_alpha=alpha)


def test_ranks_are_those_of_the_config() -> None:
    assert "ranks 3 and 3" in refusal(linear(UP, rank=3))
    assert "pad lora_A and lora_B with zeros" in refusal(linear(UP, rank=3))


def test_every_reason_at_once() -> None:
    told = refusal([*linear("model.norm2"), *linear("model.extra"), *linear(UP, rank=3)])
    assert all(name in told for name in ("model.norm2", "model.extra", UP))


def test_a_long_list_of_reasons_is_cut() -> None:
    many = [spec for layer in range(30) for spec in linear(f"model.layers.{layer}.other")]
    assert "and 20 more like these" in refusal(many)


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        (linear(UP)[:1], "only one of lora_A and lora_B"),
        ([], "holds no LoRA tensors"),
        ([TensorSpec("base_model.model.x.lora_magnitude_vector", "F32", (2,))], "is not lora_A"),
        (
            [TensorSpec("base_model.model.lm_head.base_layer.weight", "F32", (32, 16))],
            "--to mlx --base DIR leaves it out",
        ),
        ([TensorSpec("base_model.model.x.lora_A.weight", "I32", (2, 2))], "no matrix of floats"),
        ([TensorSpec("base_model.model.x.lora_A.weight", "F32", (2,))], "no matrix of floats"),
        (linear("model.embed_tokens"), "form of an embedding's LoRA"),
        (embedding("lm_head"), "form of an embedding's LoRA"),
        ([*linear(UP), *linear(UP.replace("model.", "model.language_model.", 1))], "one tensor"),
    ],
)
def test_tensors_that_make_no_lora(specs: list[TensorSpec], reason: str) -> None:
    assert reason in refusal(specs)


def test_a_module_whose_lora_llama_cpp_leaves_out() -> None:
    gemma = LLAMA | {"architectures": ["Gemma4ForCausalLM"]}
    assert "does not apply it" in refusal(linear("model.per_layer_model_projection"), gemma)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "names no class"),
        ({"architectures": []}, "names no class"),
        ({"architectures": ["BertModel"]}, "BertModel, for which"),
        ({"architectures": ["GPT2LMHeadModel"]}, "Conv1D"),
        ({"architectures": ["MiniCPM3ForCausalLM"]}, "something else"),
        (
            {"architectures": ["Glm4ForCausalLM"], "rope_parameters": {"mrope_section": [8]}},
            "for images",
        ),
    ],
)
def test_bases_that_are_refused(config: dict[str, Any], reason: str) -> None:
    found = gguf_architecture_of(config)
    assert isinstance(found, UnknownArchitecture) and reason in found.reason
    assert reason in refusal(linear(UP), config)


def test_a_base_without_layers() -> None:
    assert "number of layers" in refusal(linear(UP), LLAMA | {"num_hidden_layers": "2"})


def test_the_text_model_decides() -> None:
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {}}
    assert gguf_architecture_of(config) is GGUF_ARCHITECTURES["Gemma3ForCausalLM"]
    inner = config | {"text_config": {"architectures": ["LlamaForCausalLM"]}}
    found = gguf_architecture_of(inner)
    assert isinstance(found, GgufArchitecture) and found.name == "llama"


def test_the_orders_are_those_of_llama_cpp() -> None:
    """As reshapes and exchanged axes, which is how llama.cpp's converter says it."""
    rows = np.arange(48)
    halves = rows.reshape(4, 2, 6).swapaxes(1, 2).reshape(-1)
    assert rotary_pairs(48, 12) == tuple(halves)
    assert fused_qkv(48, 4) == tuple(rows.reshape(4, 3, 4).swapaxes(0, 1).reshape(-1))
    dealt = rows[8:].reshape(2, 4, 5).swapaxes(0, 1).reshape(-1)
    assert value_heads(8, 2, 8, 5) == (*range(8), *dealt)

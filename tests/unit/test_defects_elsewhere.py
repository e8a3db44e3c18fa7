"""Defects where they are seldom looked for: in the text part of a model of images, in stacks of
experts, in packed weights, in a PEFT adapter's patterns, in the second of several places."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tests.builders import (
    LORA_CONFIG,
    LORA_SPECS,
    PEFT_SPECS,
    encode,
    fused_files,
    lora_files,
    peft_files,
    tensors,
)
from tests.unit.examples_model import (
    LAYER,
    SOUND,
    ZERO,
    in_groups,
    matrix,
    model,
    stats,
    surveyed,
)
from tests.unit.examples_tokens import fused
from tests.unit.subjects import Build, of
from weighbridge.domain.findings import Finding, judge
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.survey import TensorStats, WeightSurvey
from weighbridge.domain.tensors import TensorSpec

STACK = "model.layers.0.mlp.switch_mlp.up_proj"
PACKED = (
    matrix("model.layers.0.mlp.up_proj.weight", 8, 8, dtype="U32"),
    matrix("model.layers.0.mlp.up_proj.scales", 8, 2, dtype="U8"),
)
NVFP4 = (PACKED[0], matrix("model.layers.0.mlp.up_proj.scales", 8, 4, dtype="U8"))
AS_PACKED = tuple(
    matrix(f"model.layers.0.mlp.down_proj.{leaf}", 8, size, dtype=dtype)
    for leaf, size, dtype in (("weight", 8, "U32"), ("scales", 2, "F16"), ("biases", 2, "F16"))
)
GEMMA = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]}
MOE = {"model_type": "qwen3_moe", "tie_word_embeddings": True, "rope_theta": 1e4, "head_dim": 4}
TEXT: dict[str, Any] = {"model_type": "gemma3_text", "hidden_size": 16, "intermediate_size": 32}
AWQ = [matrix(f"model.layers.0.mlp.up_proj.{leaf}", 8, 8, dtype=dtype)
       for leaf, dtype in (("qweight", "I32"), ("scales", "F16"))]  # fmt: skip


def found(build: Build, code: str) -> list[Finding]:
    report = judge(build(), CATALOGUE)
    assert report.crashed == ()
    return [f for f in report.findings if f.code == code]


def at(build: Build, code: str) -> list[tuple[str, str]]:
    return [(f.location.path, f.location.inside) for f in found(build, code)]


def vlm(*specs: TensorSpec, text: dict[str, Any] | None = None, **config: Any) -> Build:
    return model(*specs, **GEMMA, **config, text_config=TEXT | (text or {}))


def lora(*specs: TensorSpec, **config: Any) -> Build:
    listed = {"adapters.safetensors": tensors(specs or LORA_SPECS)}
    return of(lora_files(**config) | listed, **config.pop("subject", {}))


def parameters(**changes: Any) -> dict[str, Any]:
    return {"lora_parameters": LORA_CONFIG["lora_parameters"] | changes}


CONFIG, GENERATION, ADAPTER = "config.json", "generation_config.json", "adapter_config.json"
TYPES: list[tuple[Build, str, str]] = [
    (vlm(text={"hidden_size": "16"}), CONFIG, "text_config.hidden_size"),
    (of(fused_files(hidden_size=[16])), CONFIG, "hidden_size"),
    (of(fused_files(eos_token_id="2")), CONFIG, "eos_token_id"),
    (fused(generation={"eos_token_id": [2.0, 1]}), GENERATION, "eos_token_id"),
    (fused(generation={"temperature": "0.7"}), GENERATION, "temperature"),
    (fused(generation={"top_p": []}), GENERATION, "top_p"),
    (fused(generation={"max_new_tokens": "64"}), GENERATION, "max_new_tokens"),
    (of(fused_files(rope_scaling={"factor": "8"})), CONFIG, "rope_scaling.factor"),
    (
        of(fused_files(rope_parameters={"full_attention": {"rope_theta": "1"}})),
        CONFIG,
        "rope_parameters.full_attention.rope_theta",
    ),
    (of(fused_files(attention_bias=None)), CONFIG, "attention_bias"),
    (of(fused_files(decoder_sparse_step=0)), CONFIG, "decoder_sparse_step"),
    (of(fused_files(rms_norm_eps=1)), CONFIG, "rms_norm_eps"),
    (of(fused_files(num_key_value_heads=[2, 4])), CONFIG, "num_key_value_heads"),
    (of(fused_files(model_type="qwen3", head_dim=None)), CONFIG, "head_dim"),
    (of(fused_files(quantization={"bits": 4.0})), CONFIG, "quantization.bits"),
    (of(fused_files(quantization="4bit")), CONFIG, "quantization"),
    (of(lora_files(lora_layers="16")), ADAPTER, "lora_layers"),
    (of(lora_files(**parameters(keys="q_proj"))), ADAPTER, "lora_parameters.keys"),
    (of(lora_files(**parameters(dropout="0.1"))), ADAPTER, "lora_parameters.dropout"),
    (of(peft_files(modules_to_save="lm_head")), ADAPTER, "modules_to_save"),
    (of(peft_files(rank_pattern=[8])), ADAPTER, "rank_pattern"),
    (of(peft_files(bias=["none"])), ADAPTER, "bias"),
    (of(peft_files(task_type=["CAUSAL_LM"])), ADAPTER, "task_type"),
    (fused(generation={"pad_token_id": [3]}), GENERATION, "pad_token_id"),
    *(
        (fused(settings={key: value}), "tokenizer_config.json", inside)
        for key, value, inside in (
            ("eos_token", 2, "eos_token"),
            ("eos_token", {"content": "</s>"}, "eos_token"),
            ("additional_special_tokens", [None], "additional_special_tokens"),
            ("extra_special_tokens", "</s>", "extra_special_tokens"),
            ("tokenizer_class", ["Qwen2Tokenizer"], "tokenizer_class"),
            ("added_tokens_decoder", None, "added_tokens_decoder"),
            ("added_tokens_decoder", {"3": "</s>"}, "added_tokens_decoder.3"),
            (
                "added_tokens_decoder",
                {"3": {"content": "</s>", "special": 1}},
                "added_tokens_decoder.3",
            ),
            ("added_tokens_decoder", {"x": {"content": "</s>"}}, "added_tokens_decoder.x"),
        )
    ),
    (fused(special_tokens_map={"eos_token": ["</s>"]}), "special_tokens_map.json", "eos_token"),
]


@pytest.mark.parametrize(("build", "path", "inside"), TYPES, ids=[t[2] for t in TYPES])
def test_a_wrong_type_is_found_in_every_config(build: Build, path: str, inside: str) -> None:
    assert at(build, "JS008") == [(path, inside)]


def test_types_that_are_right() -> None:
    good = {"eos_token_id": [1, 2], "rope_scaling": None, "quantization": None,
            "rope_theta": 10000, "sliding_window": None, "head_dim": None}  # fmt: skip
    assert not found(of(fused_files(**good)), "JS008")
    # No class of transformers' says that it has to be one number.
    assert not found(of(fused_files(model_type="nanochat2", num_key_value_heads=[2, 4])), "JS008")
    assert not found(of(lora_files(num_layers=-1, lora_parameters=None)), "JS008")
    assert not found(of(fused_files(model_type="falcon", bias=False)), "JS008")
    token = {"content": "</s>", "special": True}
    settings = {"eos_token": token | {"__type": "AddedToken"}, "extra_special_tokens": {"x": "a"},
                "added_tokens_decoder": {"3": token}}  # fmt: skip
    assert not found(fused(settings=settings, special_tokens_map={"eos_token": 3}), "JS008")
    assert not found(fused(special_tokens_map={"eos_token": token}), "JS008")


def test_a_stop_of_the_text_model_out_of_range() -> None:
    beyond = vlm(text={"eos_token_id": [1, 99]})
    assert at(beyond, "CF013") == [(CONFIG, "text_config.eos_token_id")]
    # What the whole model says comes before.
    assert not found(vlm(text={"eos_token_id": 99}, eos_token_id=1), "CF013")


@pytest.mark.parametrize(
    ("build", "inside"),
    [
        (vlm(matrix("language_model.model.layers.0.mlp.up_proj.weight", 48, 16)),
         "language_model.model.layers.0.mlp.up_proj.weight"),
        (model(matrix(f"{STACK}.weight", 4, 8, 16), **MOE, num_experts=8),
         STACK.removesuffix(".up_proj")),
        (model(matrix("model.layers.0.mlp.experts.3.up_proj.weight", 8, 16), **MOE, num_experts=8),
         "model.layers.0.mlp.experts"),
        (model(matrix("model.layers.0.mlp.experts.gate_up_proj_blocks", 4, 8, 1, 16, dtype="U8"),
               model_type="gpt_oss", num_local_experts=32), "model.layers.0.mlp.experts"),
        (model(matrix(f"{STACK}.weight", 4, 8, 32), **MOE), f"{STACK}.weight"),
        (model(matrix(f"{STACK}.weight", 4, 8, 16), **MOE, moe_intermediate_size=24),
         f"{STACK}.weight"),
        (model(matrix("transformer.wte.weight", 8, 16), model_type="gpt2", vocab_size=9, n_embd=16),
         "transformer.wte.weight"),
    ],
)  # fmt: skip
def test_shapes_that_the_config_contradicts(build: Build, inside: str) -> None:
    assert ("model.safetensors", inside) in at(build, "CF010")


def test_shapes_that_fit_or_that_other_tools_pack() -> None:
    stack = model(
        matrix(f"{STACK}.weight", 4, 8, 16), **MOE, num_experts=4, moe_intermediate_size=8
    )
    bitsandbytes = model(
        matrix("model.layers.0.self_attn.q_proj.weight", 128, 1, dtype="U8"), num_attention_heads=4
    )
    assert not found(stack, "CF010") and not found(bitsandbytes, "CF010")


def test_quantisation_that_only_the_other_block_speaks_of() -> None:
    alone = of(fused_files(quantization_config={"bits": 4, "group_size": 64}))
    assert at(alone, "QT001") == [(CONFIG, "quantization_config")]
    fp8 = {"quantization_config": {"quant_method": "fp8"}}
    assert at(model(*PACKED, **fp8), "QT002") == [(CONFIG, "")]
    awq = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    assert not found(model(*AWQ, **awq), "QT002") and not found(model(*AWQ, **awq), "CD009")


def test_a_module_of_another_mode_than_all_others() -> None:
    router = {"model.layers.0.mlp.router": {"bits": 8, "group_size": 64}}  # as mlx-lm has GPT-OSS
    whole = {"mode": "mxfp4", "bits": 4, "group_size": 32}
    assert not found(of(fused_files(quantization=whole | router)), "QT005")
    wrong = {"model.layers.0.mlp.router": {"mode": "mxfp4", "bits": 8, "group_size": 64}}
    place = (CONFIG, "quantization.model.layers.0.mlp.router")
    assert at(of(fused_files(quantization=whole | wrong)), "QT005") == [place]


@pytest.mark.parametrize(
    ("held", "mode", "largest", "bad"),
    [(PACKED, "mxfp4", 0xFF, True), (PACKED, "mxfp4", 0x7F, False), (NVFP4, "nvfp4", 0x7F, True),
     (NVFP4, "nvfp4", 0x7E, False)],
)  # fmt: skip
def test_scales_of_small_floats_that_are_no_number(
    held: tuple[TensorSpec, TensorSpec], mode: str, largest: int, bad: bool
) -> None:
    group = {"mxfp4": 32, "nvfp4": 16}[mode]
    figures = TensorStats(finite=True, zero=False, absmax=float(largest))
    build = surveyed(
        (held[0], stats()),
        (held[1], figures),
        quantization={"mode": mode, "bits": 4, "group_size": group},
    )
    where = [("model.safetensors", "model.layers.0.mlp.up_proj.scales")]
    assert at(build, "WT001") == (where if bad else [])


def test_packed_weights_without_scale_are_zero() -> None:
    scales = matrix("model.layers.0.mlp.up_proj.scales", 8, 2)
    assert at(surveyed((scales, ZERO)), "WT003") == [("model.safetensors", scales.name)]
    empty = TensorStats(finite=True, zero=False, absmax=0.0)  # bytes are never called zero
    assert at(surveyed((PACKED[1], empty)), "WT003") == [("model.safetensors", PACKED[1].name)]


SCALES, BIASES = (0.001, 0.002, 0.004), (0.01, 0.02, 0.03)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (in_groups(SCALES, BIASES), "biases"),  # each in the other's place
        (in_groups((), SCALES), "biases"),  # all zero
        (in_groups((1.0, 1.2, 1.4), (0.8, 0.9, 1.0)), "biases"),  # bfloat16 called float16
        (in_groups((1e-20, 1e-19, 1e-18), (1e-24, 1e-23, 1e-22)), "size"),
        (in_groups((1e3, 1e4, 1e5), (1e3, 1e3, 1e4)), "size"),
        (in_groups(BIASES, ()), "zero"),
        (in_groups(BIASES, SCALES, words=ZERO), "words"),
    ],
)
def test_groups_that_are_no_weights(build: Build, words: str) -> None:
    (one,) = found(build, "WT022")
    assert one.location.inside.endswith("up_proj.scales") and words in one.message


@pytest.mark.parametrize(
    "build",
    [
        in_groups(SCALES, SCALES, bits=2),  # -1, 0 and 1 times a number
        in_groups((), (1e-7, 1e-7, 1e-7), words=ZERO),  # as MLX packs zeros
        in_groups((0.01, 0.014, 0.02), SCALES),  # AWQ's zeros
        in_groups((0.1, 0.2, 0.3), SCALES, bits=8),
    ],
)
def test_groups_that_may_be_so(build: Build) -> None:
    assert not found(build, "WT022")


def _signed(scales: str, biases: str) -> Build:
    """A packed module with these signs."""
    name = "model.layers.0.mlp.up_proj"
    return surveyed(
        (matrix(f"{name}.weight", 8, 8, dtype="U32"), SOUND),
        *((matrix(f"{name}.{leaf}", 8, 2), evolve(SOUND, sizes=sizes,
                                                  signs=tuple(s == "-" for s in signs)))
          for leaf, sizes, signs in (("scales", SCALES, scales), ("biases", BIASES, biases))),
        quantization={"bits": 4, "group_size": 32},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scales", "biases", "wrong"),
    [("+-++", "+-++", True), ("+-++", "-+--", False), ("++++", "----", False),
     ("++++", "--++", False)],
)  # fmt: skip
def test_scales_count_towards_the_other_sign(scales: str, biases: str, wrong: bool) -> None:
    assert bool(found(_signed(scales, biases), "WT022")) is wrong


@pytest.mark.parametrize(
    ("dtype", "sizes", "constant", "seen"),
    [("F16", (1.1, 1.2, 1.3), False, True), ("F16", (1.1, 1.2, 1.3), True, False),
     ("F16", (0.5, 0.7, 1.0), False, False), ("BF16", (1.1, 1.2, 1.3), False, False)],
)  # fmt: skip
def test_scales_of_another_form(
    dtype: str, sizes: tuple[float, ...], constant: bool, seen: bool
) -> None:
    figures = evolve(SOUND, sizes=sizes, constant=constant)
    specs = [matrix(f"model.layers.{n}.mlp.up_proj.scales", 8, 2, dtype=dtype) for n in range(3)]
    assert bool(found(surveyed(*((spec, figures) for spec in specs)), "WT021")) is seen
    assert not found(surveyed((specs[0], figures)), "WT021")


@pytest.mark.parametrize(
    ("dtype", "sizes", "held"),
    [
        ("F16", (0.4, 1.1, 1.8), "BF16"),
        ("F16", (1.0, 1.0, 1.0), None),  # signs
        ("F16", (0.02, 0.7, 2.3), None),  # of unit size
        ("BF16", (1e-22, 1e-15, 1e-11), "F16"),
        ("BF16", (1e-13, 1e-12, 1e-11), None),  # small, but no float16
        ("F32", (0.4, 1.1, 1.8), None),
    ],
)
def test_floats_of_another_form(dtype: str, sizes: tuple[float, ...], held: str | None) -> None:
    spec = matrix("model.layers.0.mlp.up_proj.weight", 8, 8, dtype=dtype)
    seen = found(surveyed((spec, evolve(SOUND, sizes=sizes))), "WT021")
    assert [f.facts["held"] for f in seen] == ([held] if held else [])


@pytest.mark.parametrize(
    ("name", "tail", "seen"),
    [("model.layers.0.mlp.up_proj.weight", 100, True), ("lm_head.weight", 110, True),
     ("lm_head.weight", 96, False), ("model.layers.0.mlp.up_proj.weight", 31, False)],
)  # fmt: skip
def test_a_file_that_ends_within_a_matrix(name: str, tail: int, seen: bool) -> None:
    cut = (matrix(name, 64, 32), evolve(SOUND, tail=tail))
    for behind in ([], [(matrix("model.layers.0.input_layernorm.weight", 32), ZERO)]):
        places = [("model.safetensors", name)] if seen else []
        assert at(surveyed(cut, *behind), "WT020") == places


def test_columns_of_padding_end_no_file() -> None:
    spec = matrix("model.layers.0.mlp.down_proj.weight", 64, 320)
    assert found(surveyed((spec, evolve(SOUND, tail=40))), "WT020")
    assert not found(surveyed((spec, evolve(SOUND, tail=40, zeros=0.125))), "WT020")


def test_a_packing_that_the_config_gives_to_what_is_not_packed() -> None:
    own = {"model.layers.0.mlp.up_proj": {"bits": 8, "group_size": 64}}
    plain = matrix("model.layers.0.mlp.up_proj.weight", 4, 64)
    build = model(plain, *AS_PACKED, quantization={"bits": 4, "group_size": 32} | own)
    assert at(build, "QT003") == [(WEIGHTS, plain.name)]
    # What is said not to be packed may be missing.
    kept = {"vision_tower.up_proj": False}
    build = model(*AS_PACKED, quantization={"bits": 4, "group_size": 32} | kept)
    assert not found(build, "QT006") and not found(build, "QT003")


@pytest.mark.parametrize(
    "back",
    [("self_attn.o_proj.weight", "mlp.switch_mlp.down_proj.weight"),
     ("self_attn.o_proj.scales", "mlp.down_proj.scales"),
     ("self_attn.o_proj.weight", "block_sparse_moe.experts.0.w2.weight"),
     ("attention.dense.weight", "mlp.dense_4h_to_h.weight")],
)  # fmt: skip
def test_a_dead_layer_of_any_tree(back: tuple[str, str]) -> None:
    specs = [matrix(f"model.layers.1.{name}", 4, 4) for name in back]
    dead = surveyed(*((spec, ZERO) for spec in specs))
    assert at(dead, "WT009") == [("model.safetensors", "model.layers.1")]
    assert not found(surveyed((specs[0], ZERO), (specs[1], stats())), "WT009")


def test_an_untrained_adapter_whose_tensors_have_its_name() -> None:
    named = [evolve(s, name=s.name.replace(".weight", ".mine.weight")) for s in PEFT_SPECS]
    figures = {named[0].name: stats(), named[1].name: ZERO}

    def build() -> Any:
        subject = of(peft_files() | {"adapter_model.safetensors": tensors(named)})()
        return evolve(subject, survey=WeightSurvey({"adapter_model.safetensors": figures}))

    assert at(build, "WT002") == [("adapter_model.safetensors", "")]


def test_layers_of_an_adapter_that_were_not_trained_are_zeros() -> None:
    def build() -> Any:
        figures = dict.fromkeys((spec.name for spec in PEFT_SPECS), ZERO)
        return evolve(
            of(peft_files())(), survey=WeightSurvey({"adapter_model.safetensors": figures})
        )

    assert not found(build, "WT020")


def test_a_rank_that_the_pattern_contradicts() -> None:
    wrong = of(peft_files(r=4, rank_pattern={"q_proj": 8}))
    assert at(wrong, "PE004") == [("adapter_model.safetensors", PEFT_SPECS[0].name)]
    other = of(peft_files(r=8, rank_pattern={"v_proj": 4}))
    assert at(other, "PE004") == [("adapter_model.safetensors", PEFT_SPECS[0].name)]
    # A stranger's expression that could take for ever takes a bounded time, and fits no module.
    assert found(of(peft_files(r=8, rank_pattern={"(a+)+$": 4})), "PE004")


def test_a_parameter_without_owner_selects_no_linear_module() -> None:
    chosen = of(peft_files(target_modules=["v_proj"], target_parameters=["gate_up_proj"]))
    assert at(chosen, "PE014") == [(ADAPTER, "target_modules")]
    whole = of(peft_files(target_modules=["v_proj"], target_parameters=["weight"]))
    assert not found(whole, "PE014")


def _layer(number: int) -> list[TensorSpec]:
    return [evolve(s, name=s.name.replace("layers.0", f"layers.{number}")) for s in LORA_SPECS]


def _adapted(base_layers: int | None, *layers: int, **config: Any) -> Build:
    listed = {"adapters.safetensors": tensors([s for n in layers for s in _layer(n)])}
    base = {} if base_layers is None else {"base_config": {"num_hidden_layers": base_layers}}
    return of(lora_files(**config) | listed, **base)


def test_layers_that_num_layers_does_not_reach() -> None:
    assert at(_adapted(4, 0, 1, num_layers=2), "AD007") == [(ADAPTER, "num_layers")]
    assert found(_adapted(None, 0, 3, num_layers=2), "AD007")  # the last two are 2 and 3
    assert not found(_adapted(4, 2, 3, num_layers=2), "AD007")
    named = parameters(keys=["model.layers.0.self_attn.q_proj"])
    assert not found(_adapted(4, 0, num_layers=2, **named), "AD007")


@pytest.mark.parametrize("keys", [["q_proj"], ["auto"], ["self_attn.v_proj"]])
def test_keys_that_leave_modules_out(keys: list[str]) -> None:
    assert at(of(lora_files(**parameters(keys=keys))), "AD030") == [
        (ADAPTER, "lora_parameters.keys")
    ]


def test_keys_that_choose_by_the_layer_or_by_the_path_or_not_at_all() -> None:
    for keys in (["self_attn.q_proj"], ["model.layers.0.self_attn.q_proj"], None):
        assert not found(of(lora_files(**parameters(keys=keys))), "AD030")
    head = [evolve(s, name=s.name.replace("model.layers.0.self_attn.q_proj", "lm_head"))
            for s in LORA_SPECS]  # fmt: skip
    assert found(lora(*head), "AD030") and not found(lora(*head, **parameters(keys=["lm_head"])),
                                                     "AD030")  # fmt: skip


@pytest.mark.parametrize(
    ("module", "shapes"),
    [("mlp.switch_mlp.up_proj", ((4, 4, 32), (4, 8, 4))), ("self_attn.q_proj", ((32, 4), (4, 16)))],
)
def test_a_mixture_of_another_width(module: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    specs = [matrix(f"model.layers.0.{module}.lora_{leaf}", *shape)
             for leaf, shape in zip("ab", shapes, strict=True)]  # fmt: skip
    base = MOE | {"hidden_size": 16, "num_experts": 4, "moe_intermediate_size": 8}
    files = lora_files() | {"adapters.safetensors": tensors(specs)}
    assert at(of(files, base_config=base), "AD017") == [
        ("adapters.safetensors", f"model.layers.0.{module}")
    ]
    assert not found(of(files, base_config=base | {"hidden_size": 32}), "AD017")


_LLAMA_BASE = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 4,
               "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": 9,
               "num_hidden_layers": 2}  # fmt: skip


def _pair(module: str, wide: int, high: int, **config: Any) -> dict[str, bytes]:
    """A PEFT adapter of that module alone."""
    specs = [matrix(f"base_model.model.{module}.lora_A.weight", 4, wide),
             matrix(f"base_model.model.{module}.lora_B.weight", high, 4)]  # fmt: skip
    return peft_files(r=4, target_modules=["k_proj"], **config) | {
        "adapter_model.safetensors": tensors(specs)
    }


@pytest.mark.parametrize(
    ("module", "wide", "high", "seen"),
    [
        ("model.layers.0.self_attn.k_proj", 16, 8, False),
        ("model.layers.0.self_attn.k_proj", 32, 8, True),
        ("model.layers.0.self_attn.k_proj", 16, 16, True),
        ("model.layers.0.mlp.down_proj", 24, 16, False),
        ("model.layers.0.mlp.down_proj", 16, 24, True),
        ("lm_head", 16, 11, False),  # of tokens that were added before the training
        ("visual.layers.0.self_attn.k_proj", 99, 99, False),
    ],
)
def test_a_peft_adapter_of_a_base_of_another_size(
    module: str, wide: int, high: int, seen: bool
) -> None:
    build = of(_pair(module, wide, high), base_config=_LLAMA_BASE)
    assert bool(found(build, "AD017")) is seen


def test_layers_that_peft_adds_are_in_no_base() -> None:
    pair = ("model.layers.2.self_attn.k_proj", 16, 8)
    assert found(of(_pair(*pair), base_config=_LLAMA_BASE), "AD018")
    files = _pair(*pair, layer_replication=[[0, 2], [1, 2]])
    assert not found(of(files, base_config=_LLAMA_BASE), "AD018")


def test_an_address_is_no_name() -> None:
    (one,) = found(of(lora_files(model="https://huggingface.co/acme/base")), "AD010")
    assert "is an address, not org/name" in one.message


WORDS = {"vocab.json": encode({"a": 0, "b": 1, "</s>": 2})}


def _words(**more: Any) -> Build:
    files = fused_files()
    del files["tokenizer.json"]
    names = {"settings": "tokenizer_config", "added": "added_tokens", "vocab": "vocab"}
    return of(files | WORDS | {f"{names[k]}.json": encode(v) for k, v in more.items()})


@pytest.mark.parametrize(
    ("build", "code", "place"),
    [
        (_words(vocab={"a": 0, "z": 99}), "TK003", ("vocab.json", "")),
        (_words(added={"<image>": 99}), "TK009", ("vocab.json", "")),
        (_words(vocab={"a": 0, "z": 0}), "TK006", ("vocab.json", "")),
        (_words(settings={"eos_token": "<end>"}), "TK004", ("tokenizer_config.json", "eos_token")),
        (fused(settings={"additional_special_tokens": ["<tool>"]}), "TK004",
         ("tokenizer_config.json", "additional_special_tokens")),
        (fused(settings={"extra_special_tokens": {"image_token": "<image>"}}), "TK004",
         ("tokenizer_config.json", "extra_special_tokens")),
        (fused(settings={"added_tokens_decoder": {"1": {"content": "</s>"}}}), "TK010",
         ("tokenizer_config.json", "added_tokens_decoder.1")),
        (fused(settings={"added_tokens_decoder": {}}), "TK010",
         ("tokenizer_config.json", "added_tokens_decoder.3")),
        (fused(tokenizer={"model": {"type": "Unigram", "vocab": []}}), "TK002",
         ("tokenizer.json", "")),
    ],
)  # fmt: skip
def test_tokenizers_of_other_files(build: Build, code: str, place: tuple[str, str]) -> None:
    assert at(build, code) == [place]


def test_tokenizers_of_other_files_that_are_sound() -> None:
    decoder = {"2": {"content": "</s>"}, "x": {"content": "y"}, "9" * 90: {"content": "q"}}
    sound = _words(settings={"eos_token": "</s>", "added_tokens_decoder": decoder})
    assert not [f for f in judge(sound(), CATALOGUE).findings if f.code.startswith("TK0")]


@pytest.mark.parametrize(
    ("path", "code"),
    [("0000100_optimizer.safetensors", "FS011"), ("adam_optimizer.npz", "FS011"),
     ("optim.safetensors", "FS011"), ("out/checkpoint-5/x.json", "FS010"),
     ("step_100.safetensors", "FS010"), ("epoch-3/model.safetensors", "FS010")],
)  # fmt: skip
def test_what_training_leaves_behind(path: str, code: str) -> None:
    assert (path, "") in at(of(lora_files() | {path: tensors(LORA_SPECS)}), code)


@pytest.mark.parametrize(
    "path",
    ["COPYING", "MODEL_LICENSE", "LICENSE-MODEL.txt", "THIRD_PARTY_NOTICES.md", "licence.md",
     "USE_POLICY.md", "additional_chat_templates/tool_use.jinja", "video_preprocessor_config.json"],
)  # fmt: skip
def test_what_has_its_place_in_a_release(path: str) -> None:
    assert not found(of(fused_files() | {path: b"{}"}), "FS007")


WEIGHTS = "model.safetensors"
BLOCK = [f"model.layers.{{}}.{n}.weight" for n in ("self_attn.o_proj", "mlp.down_proj")]


def _decoder(*names: str, **config: Any) -> Build:
    """A whole model of these matrices and no others."""
    listed = tensors([matrix(name, 4, 4) for name in names])
    return of(fused_files(**config) | {WEIGHTS: listed})


TWO_LAYERS = [spec.name.replace("layers.0", f"layers.{n}") for spec in LAYER for n in range(2)]
TRUNK = ["model.embed_tokens.weight", "model.norm.weight"]


@pytest.mark.parametrize(
    "missing",
    ["model.layers.1.mlp.down_proj.weight", "model.layers.0.input_layernorm.weight", *TRUNK],
)
def test_weights_that_others_have(missing: str) -> None:
    names = [name for name in (*TRUNK, *TWO_LAYERS) if name != missing]
    assert at(_decoder(*names), "CF021") == [(WEIGHTS, missing)]


def test_a_head_that_is_the_embedding_once_more_contradicts_nothing() -> None:
    head = model(matrix("lm_head.weight", 8, 16), tie_word_embeddings=True)
    both = tuple((WEIGHTS, name) for name in ("lm_head.weight", "model.embed_tokens.weight"))
    assert found(head, "CF012")
    again = evolve(head(), survey=WeightSurvey({}, (both,)))
    assert not found(lambda: again, "CF012")


def test_an_expert_has_what_others_have() -> None:
    experts = [f"model.layers.0.mlp.experts.{n}.w{k}.weight" for n in range(2) for k in (1, 2)]
    config = {"model_type": "mixtral"}
    assert (WEIGHTS, experts[-1]) in at(_decoder(*experts[:-1], **config), "CF021")


@pytest.mark.parametrize(
    ("model_type", "missing"),
    [
        ("llama", ["mlp.gate_proj.weight"]),
        ("qwen3", ["self_attn.k_norm.weight", "self_attn.q_norm.weight"]),
        ("qwen2", [f"self_attn.{leaf}_proj.bias" for leaf in "kqv"]),
        ("gemma2", ["post_feedforward_layernorm.weight", "pre_feedforward_layernorm.weight"]),
    ],
)
def test_weights_that_no_layer_has(model_type: str, missing: list[str]) -> None:
    names = [n for n in TWO_LAYERS if not n.endswith(tuple(missing))]
    build = _decoder(*TRUNK, *names, model_type=model_type)
    assert at(build, "CF021") == [(WEIGHTS, f"model.layers.0.{leaf}") for leaf in missing]


@pytest.mark.parametrize(
    "name",
    ["foo.weight", "model.foo.weight", "model.layers.0.mlp.router.weight", "v_head.summary.weight",
     "language_model.model.norm.weight", "model.layers.1.mlp.up_proj.extra"],
)  # fmt: skip
def test_tensors_that_no_llama_has(name: str) -> None:
    assert at(_decoder(*TRUNK, *TWO_LAYERS, name), "CF026") == [(WEIGHTS, name)]
    # A head of another kind is the class's own.
    other = {"architectures": ["LlamaForSequenceClassification"]}
    assert not found(_decoder(*TRUNK, *TWO_LAYERS, "score.weight", **other), "CF026")
    # Of an embedding model only the trunk is published, without its prefix.
    bare = [name.removeprefix("model.") for name in (*TRUNK, *TWO_LAYERS)]
    assert not found(_decoder(*bare), "CF026")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("_orig_mod.model.norm.weight", "torch.compile"),
        ("model.layers.0._orig_mod.mlp.up_proj.weight", "torch.compile"),
        ("model._fsdp_wrapped_module.norm.weight", "FSDP"),
        ("module.model.norm.weight", "DeepSpeed"),
        ("base_model.model.model.norm.weight", "PEFT"),
        ("optimizer.state.exp_avg", "optimizer"),
        ("model.norm.weight.v", "optimizer"),
    ],
)
def test_names_that_trainers_leave(name: str, what: str) -> None:
    for config in ({}, {"model_type": "mixtral"}):
        (one,) = found(_decoder(*TRUNK, *TWO_LAYERS, name, **config), "CF025")
        assert what in one.message
    assert not found(_decoder(*TRUNK, *TWO_LAYERS, name), "CF026")


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_a_size_that_is_left_out_is_told_by_the_tensors(key: str) -> None:
    (one,) = found(_decoder(*TRUNK, *TWO_LAYERS, **{key: None}), "CF024")
    assert "the tensors have" in one.message
    nested = {"model_type": "qwen2_vl", "text_config": {"model_type": "qwen2_vl_text"}}
    (one, *_) = found(_decoder(*TRUNK, *TWO_LAYERS, **nested, **{key: None}), "CF024")
    assert one.location.inside.startswith("text_config.") and "takes 8192" in one.message
    text = {"text_config": dict.fromkeys(("hidden_size", "vocab_size", "intermediate_size"), 4)
            | {"num_hidden_layers": 2, "model_type": "qwen2_vl_text"}}  # fmt: skip
    assert not found(_decoder(*TRUNK, *TWO_LAYERS, **nested | text, **{key: None}), "CF024")


def test_integers_are_no_weights_unless_somebody_packed_them() -> None:
    weight = matrix("model.layers.0.mlp.up_proj.weight", 4, 4, dtype="I8")
    assert at(model(weight), "CF023") == [(WEIGHTS, weight.name)]
    assert not found(model(weight, quantization_config={"quant_method": "x"}), "CF023")
    assert not found(model(weight, matrix("model.layers.0.mlp.up_proj.weight_scale", 4)), "CF023")


def test_what_may_be_uneven() -> None:
    three = [f"{leaf}_proj.weight" for leaf in ("gate", "up", "down")]
    mixed = [f"model.layers.{at}.{leaf}" for leaf in three for at in ("0.mlp", "1.mlp.experts.0")]
    mixed += [f"model.layers.{n}.{leaf}.weight" for n in range(2) for leaf in
              ("input_layernorm", "post_attention_layernorm", "self_attn.o_proj")]  # fmt: skip
    router = [f"model.layers.1.mlp.gate.{leaf}" for leaf in ("weight", "e_score_correction_bias")]
    assert not found(_decoder(*TRUNK, *mixed, *router, model_type="deepseek_v3"), "CF021")
    foreign: dict[str, Any] = {"quantization_config": {"quant_method": "awq"}}
    assert not found(_decoder(BLOCK[0].format(0), **foreign), "CF021")
    long = [f"model.layers.{'9' * 90}.a.weight", "model.layers.x.b.weight"]
    assert not found(_decoder(*long), "CF021")


def test_many_missing_weights_are_a_few_findings() -> None:
    names = [f"model.layers.{n}.self_attn.q_proj.weight" for n in range(50)]
    assert len(found(_decoder(*names, "model.layers.0.mlp.up_proj.weight"), "CF021")) == 9


def test_weights_beside_the_only_file() -> None:
    shard = "model-00001-of-00002.safetensors"
    files = fused_files() | {shard: fused_files()[WEIGHTS]}
    assert at(of(files), "IX007") == [(shard, "")]
    # Of an index that cannot be read another rule speaks.
    unreadable = files | {"model.safetensors.index.json": encode({"weight_map": []})}
    assert not found(of(unreadable), "IX007")


def test_packing_that_mlx_lm_does_not_read() -> None:
    other = {"quantization_config": {"bits": 4, "group_size": 64}}
    (one,) = found(model(PACKED[0], PACKED[1], **other), "QT002")
    assert "(quantization_config alone)" in one.message


@pytest.mark.parametrize("alpha", [0, -16, 0.0])
def test_an_alpha_that_turns_the_lora_off_or_round(alpha: float) -> None:
    assert at(of(peft_files(lora_alpha=alpha)), "PE017") == [(ADAPTER, "lora_alpha")]


@pytest.mark.parametrize("key", ["num_hidden_layers", "vocab_size", "num_attention_heads"])
def test_sizes_of_nothing(key: str) -> None:
    assert at(of(fused_files(**{key: 0})), "JS008") == [(CONFIG, key)]


@pytest.mark.parametrize("number", ["9" * 90, "1" * 10])
def test_layers_of_hostile_numbers_crash_no_rule(number: str) -> None:
    for build in (
        of(lora_files(num_layers=1) | {"adapters.safetensors": _renamed(LORA_SPECS, number)},
           base_config=TEXT | {"model_type": "llama", "num_hidden_layers": 2}),
        of(peft_files(layers_to_transform=[0]) | {PEFT: _renamed(PEFT_SPECS, number)}),
        of(fused_files(num_hidden_layers=1) | {WEIGHTS: _renamed(PEFT_SPECS, number)}),
    ):  # fmt: skip
        assert judge(build(), CATALOGUE).crashed == ()


PEFT = "adapter_model.safetensors"


def _renamed(specs: tuple[TensorSpec, ...], number: str) -> bytes:
    return tensors(evolve(s, name=s.name.replace("layers.0", f"layers.{number}")) for s in specs)


def _saved(name: str, *modules: str, **config: Any) -> Build:
    specs = (*PEFT_SPECS, matrix(f"base_model.model.{name}.weight", 4, 4))
    files = peft_files(modules_to_save=list(modules), **config)
    return of(files | {PEFT: tensors(specs)})


def test_modules_to_save_are_endings_as_peft_takes_them() -> None:
    build = _saved("model.layers.0.post_attention_layernorm", "norm")
    assert not found(build, "PE011") and not found(build, "PE027")
    # PEFT lists both for a class that has one of them.
    assert not found(_saved("score", "classifier", "score"), "PE027")
    assert len(found(_saved("lm_head", "classifier", "score"), "PE027")) == 2


def test_a_peft_adapter_has_neither_a_wrappers_names_nor_layers_that_the_base_has_not() -> None:
    base = TEXT | {"model_type": "llama", "num_hidden_layers": 1}
    assert not any(found(of(peft_files(), base_config=base), code) for code in ("AD018", "CF025"))
    deep = of(peft_files() | {PEFT: _renamed(PEFT_SPECS, "7")}, base_config=base)
    assert len(found(deep, "AD018")) == 1
    wrapped = tensors(evolve(s, name=s.name.replace("model.layers", "_orig_mod.model.layers"))
                      for s in PEFT_SPECS)  # fmt: skip
    (one,) = found(of(peft_files() | {PEFT: wrapped}), "CF025")
    assert "torch.compile" in one.message and one.facts["count"] == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("trainable_token_indices", [1, 2]), ("lora_bias", True)],
)
def test_what_was_trained_beside_the_lora_is_there(key: str, value: object) -> None:
    assert at(of(peft_files(**{key: value})), "PE027") == [(ADAPTER, key)]


@pytest.mark.parametrize(
    ("method", "leaf"),
    [("awq", "qweight"), ("bitsandbytes", "weight.absmax"), ("fp8", "weight_scale_inv")],
)
def test_another_tools_packing_is_there_if_it_is_said(method: str, leaf: str) -> None:
    said = {"quantization_config": {"quant_method": method}}
    assert at(of(fused_files(**said)), "QT001") == [(CONFIG, "quantization_config")]
    assert not found(model(matrix(f"model.layers.0.mlp.up_proj.{leaf}", 4, 4), **said), "QT001")


@pytest.mark.parametrize(
    ("fields", "missing"),
    [({"attention_bias": True}, 3), ({"mlp_bias": True}, 3), ({"mlp_bias": False}, 0)],
)
def test_biases_are_those_of_the_configs_flags(fields: dict[str, Any], missing: int) -> None:
    assert len(found(_decoder(*TRUNK, *TWO_LAYERS, **fields), "CF021")) == missing
    biases = [f"model.layers.{n}.self_attn.q_proj.bias" for n in range(2)]
    stray = bool(found(_decoder(*TRUNK, *TWO_LAYERS, *biases, **fields), "CF026"))
    assert stray is not any(fields.values())


@pytest.mark.parametrize(
    ("path", "fields"),
    [(CONFIG, {"rope_theta": -1.0}), (CONFIG, {"rms_norm_eps": 2}),
     (CONFIG, {"intermediate_size": -96}), (CONFIG, {"num_experts_per_tok": -1}),
     ("generation_config.json", {"temperature": -1}), ("generation_config.json", {"top_p": 3.0}),
     ("tokenizer_config.json", {"padding_side": "middle"})],
)  # fmt: skip
def test_values_that_a_field_cannot_have(path: str, fields: dict[str, Any]) -> None:
    files = fused_files(**fields) if path == CONFIG else fused_files() | {path: encode(fields)}
    assert at(of(files), "JS008") == [(path, next(iter(fields)))]


def test_filters_that_jinja_has_not() -> None:
    text = b"{{ messages | to_text or messages is odd_one }}{{ messages | tojson }}"
    text += b"{% if messages %}{{ messages | from_json }}{% endif %}"  # if it comes to that
    seen = found(of(fused_files() | {"chat_template.jinja": text}), "CT001")
    assert {f.message for f in seen} == {"No filter named 'to_text' at line 1",
                                         "No test named 'odd_one' at line 1"}  # fmt: skip


@pytest.mark.parametrize("name", ["self_attn.q_proj.qweight", "mlp.experts.down_proj_blocks"])
def test_weights_that_another_tool_packed_and_no_config_tells(name: str) -> None:
    spec = matrix(f"model.layers.0.{name}", 4, 4, dtype="U8")
    block = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    assert at(model(spec), "QT002") == [(CONFIG, "")]
    assert not found(model(spec, quantization_config=block), "QT002")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"rank_pattern": None}, "rank_pattern"),
        ({"lora_dropout": None}, "lora_dropout"),
        ({"exclude_modules": 1}, "exclude_modules"),
        ({"eva_config": True}, "eva_config"),
        ({"layers_pattern": "layers"}, "layers_pattern"),
        ({"target_modules": ".*q_proj", "layers_to_transform": [0]}, "layers_to_transform"),
    ],
)
def test_settings_that_peft_does_not_take(settings: dict[str, Any], key: str) -> None:
    assert at(of(peft_files(**settings)), "PE030") == [(ADAPTER, key)]


def test_settings_that_peft_takes() -> None:
    settings = {"exclude_modules": None, "layers_pattern": [], "megatron_config": None,
                "layers_to_transform": [0], "loftq_config": {}}  # fmt: skip
    assert not found(of(peft_files(**settings)), "PE030")


def test_an_adapter_of_a_scale_out_of_reason() -> None:
    assert at(of(peft_files(lora_alpha=4000)), "AD006") == [(ADAPTER, "lora_alpha")]
    assert not found(of(peft_files(lora_alpha=1024)), "AD006")  # r is 4


def test_a_lora_whose_layers_nobody_counts() -> None:
    left_out = {k: v for k, v in LORA_CONFIG.items() if k != "num_layers"}
    files = lora_files() | {ADAPTER: encode(left_out)}
    assert at(of(files), "AD032") == [(ADAPTER, "num_layers")]
    assert not found(of(files | {ADAPTER: encode(left_out | {"lora_parameters": None})}), "AD032")
    assert not found(of(lora_files(num_layers=None)), "AD032")


def convolution(*shape: int, **config: Any) -> Build:
    spec = matrix("model.layers.0.conv.conv.weight", *shape)
    return model(spec, model_type="lfm2", **config)


@pytest.mark.parametrize("shape", [(16, 1, 3), (16, 3, 1)])
def test_a_convolution_of_the_configs_length_in_either_order(shape: tuple[int, ...]) -> None:
    assert not found(convolution(*shape, conv_L_cache=3), "CF010")
    assert found(convolution(*shape, conv_L_cache=4), "CF010")


def test_the_inner_size_that_lfm2_adjusts() -> None:
    up = matrix("model.layers.0.feed_forward.w1.weight", 256, 16)
    sizes = {"model_type": "lfm2", "hidden_size": 16, "block_ff_dim": 300}
    assert not found(model(up, **sizes), "CF010")  # 2 * 300 / 3, in blocks of 256
    assert found(model(up, **sizes, block_auto_adjust_ff_dim=False), "CF010")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vision_tower.encoder.layers.0.mlp.fc1.weight", (48, 32)),
        ("visual.blocks.0.attn.qkv.weight", (96, 32)),
        ("vision_tower.encoder.layers.0.layer_norm1.weight", (32,)),
    ],
)
def test_a_tower_of_another_size(name: str, shape: tuple[int, ...]) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48}
    assert not found(vlm(matrix(name, *shape), vision_config=sizes), "CF010")
    assert found(vlm(matrix(name, *shape), vision_config=sizes | {"hidden_size": 64}), "CF010")


def test_biases_are_those_of_the_flags_whichever_layer_comes_first() -> None:
    names = [f"model.layers.{n}.self_attn.q_proj" for n in range(2)]
    weights = [matrix(f"{name}.weight", 16, 16) for name in names]
    biases = [matrix(f"{name}.bias", 16) for name in reversed(names)]
    fields = {"model_type": "glm4_moe", "attention_bias": True}
    said = [f.message for f in found(model(*weights, *biases, **fields), "CF021")]
    assert not [text for text in said if "attention_bias" in text]
    said = [f.message for f in found(model(*weights, **fields), "CF021")]
    assert [text for text in said if "attention_bias" in text]


@pytest.mark.parametrize(
    ("fields", "code", "inside"),
    [
        ({"sliding_window": None, "layer_types": ["sliding_attention"], "num_hidden_layers": 1},
         "CF027", "sliding_window"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": None}},
         "CF027", "rope_parameters"),
        ({"vision_config": {"hidden_act": "foo"}}, "CF027", "vision_config.hidden_act"),
        ({"vision_config": {"patch_size": None}}, "CF027", "vision_config.patch_size"),
        ({"num_experts": 4, "n_group": 0}, "CF027", "n_group"),
        ({"num_experts": 4, "n_group": None, "model_type": "dots1"}, "CF027", "n_group"),
        ({"n_routed_experts": 4, "model_type": "deepseek_v3", "head_dim": 16,
          "qk_rope_head_dim": 8}, "CF027", "head_dim"),
        ({"logits_scaling": 0.0}, "JS008", "logits_scaling"),
        ({"attention_dropout": 2.0}, "JS008", "attention_dropout"),
        ({"norm_epsilon": 0.0}, "JS008", "norm_epsilon"),
    ],
)  # fmt: skip
def test_values_that_no_stack_computes_with(fields: dict[str, Any], code: str, inside: str) -> None:
    assert (CONFIG, inside) in at(of(fused_files(**fields)), code)


def test_heads_that_do_not_divide_what_one_matrix_holds() -> None:
    sizes = {"model_type": "gpt2", "n_embd": 16, "n_head": 5}
    assert at(of(fused_files(**sizes)), "CF027") == [(CONFIG, "n_head")]


def test_mlx_lm_needs_fields_of_types_without_rope_too() -> None:
    assert found(of(fused_files(model_type="nemotron_h")), "CF034")
    assert found(of(fused_files(rope_theta=None)), "CF033")


def test_null_for_the_heads_of_keys_is_as_many_as_of_queries() -> None:
    key = matrix("model.layers.0.self_attn.k_proj.weight", 16, 16)
    sizes = {"model_type": "mistral", "hidden_size": 16, "num_attention_heads": 4}
    assert not found(model(key, **sizes, num_key_value_heads=None), "CF010")
    assert found(model(key, **sizes, num_key_value_heads=8), "CF010")

"""Every rule of the catalogue: one example on which it fires, one on which it is silent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from attrs import evolve

from tests.builders import (
    FUSED_SPECS,
    LORA_SPECS,
    PEFT_SPECS,
    SHARDS,
    Q,
    encode,
    fused_files,
    lora_files,
    peft_files,
    sharded_files,
    tensors,
)
from tests.unit import examples_model, examples_settings, examples_tokens
from tests.unit.examples_of_contents import CONTENTS
from tests.unit.subjects import Build, of
from weighbridge.domain.artifact import (
    ArtifactPath,
    Document,
    IrregularEntry,
    JsonProblem,
    Oddity,
    TensorFile,
)
from weighbridge.domain.errors import InvalidModelStructure
from weighbridge.domain.findings import Finding, Need, Severity, Subject, judge
from weighbridge.domain.measures import BesideBase
from weighbridge.domain.rulebook import rulebook
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.survey import TensorStats, WeightSurvey
from weighbridge.domain.tensors import HeaderDefect, TensorSpec

BY_CODE = {rule.code: rule for rule in CATALOGUE}
BASE: dict[str, object] = {
    "hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 32,
    "rms_norm_eps": 1e-05, "num_key_value_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip


def lora(**files: bytes) -> Build:
    return of(lora_files() | {"adapters.safetensors": tensors(LORA_SPECS)} | files)


def lora_of(*specs: TensorSpec, **config: Any) -> Build:
    return of(lora_files(**config) | {"adapters.safetensors": tensors(specs)})


def peft_of(*specs: TensorSpec, **config: Any) -> Build:
    return of(peft_files(**config) | {"adapter_model.safetensors": tensors(specs)})


def fused_of(*specs: TensorSpec, **config: Any) -> Build:
    return of(fused_files(**config) | {"model.safetensors": tensors(specs)})


def shards_of(weight_map: Any, **more: bytes) -> Build:
    """A fused model that is complete by its single file, so that any index can be judged."""
    index = {"model.safetensors.index.json": encode({"weight_map": weight_map})}
    return of(sharded_files() | fused_files() | index | more)


def irregular(oddity: Oddity, *, escapes: bool = False) -> Build:
    return of(lora_files(), IrregularEntry("odd", oddity, "detail", escapes))


def with_size(size: int) -> Build:
    def build() -> Subject:
        subject = of(lora_files())()
        scan = subject.artifact.scan
        grown = evolve(scan, files=tuple(evolve(e, size=size) for e in scan.files))
        return evolve(subject, artifact=evolve(subject.artifact, scan=grown))

    return build


def json_problem(code: str) -> Build:
    def build() -> Subject:
        subject = of(lora_files())()
        document = Document(ArtifactPath("x_config.json"), problem=JsonProblem(code, "the detail"))
        return evolve(subject, artifact=evolve(subject.artifact, documents=(document,)))

    return build


def header_defect(code: str) -> Build:
    def build() -> Subject:
        subject = of(lora_files())()
        defect = HeaderDefect(code, "the detail", "t")
        file = TensorFile(ArtifactPath("x.safetensors"), 9, None, (defect,))
        return evolve(subject, artifact=evolve(subject.artifact, tensor_files=(file,)))

    return build


def surveyed(*stats: TensorStats) -> Build:
    def build() -> Subject:
        names = {f"m{i}.lora_b": s for i, s in enumerate(stats)}
        return evolve(of(lora_files())(), survey=WeightSurvey({"adapters.safetensors": names}))

    return build


def no_structure() -> Subject:
    error = InvalidModelStructure(location="run", problems=("it is nothing",))
    return evolve(of(lora_files())(), kind=None, model=None, structure_error=error)


GOOD_LORA, GOOD_PEFT, GOOD_FUSED = of(lora_files()), of(peft_files()), of(fused_files())
GOOD_SHARDS = of(sharded_files())
SOUND = TensorStats(finite=True, zero=False, absmax=0.5)
ZERO = TensorStats(finite=True, zero=True, absmax=0.0)
NAN = TensorStats(finite=False, zero=False, absmax=float("nan"))
HUGE = TensorStats(finite=True, zero=False, absmax=1e6)
A, B = LORA_SPECS
PA, PB = PEFT_SPECS
OTHER = (
    TensorSpec("model.layers.0.self_attn.v_proj.lora_a", "F32", (16, 8)),
    TensorSpec("model.layers.0.self_attn.v_proj.lora_b", "F32", (8, 16)),
)
FAR = tuple(evolve(s, name=s.name.replace("layers.0", "layers.7")) for s in LORA_SPECS)
SCALES = TensorSpec("model.layers.0.mlp.up_proj.scales", "F32", (8, 16))
BOTH = {s.name: shard for s, shard in zip(FUSED_SPECS, SHARDS, strict=True)}
EMBED, NORM = (s.name for s in FUSED_SPECS)
QUANT = {"group_size": 64, "bits": 4}


NORM_SPEC = TensorSpec("base_model.model.model.norm.weight", "F32", (16,))
LLAMA = {"model_type": "llama"}
INSIDE = {"rope_type": "default", "rope_theta": 5e5}
SCALED_ROPE = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}
SPARSE = {"num_experts_per_tok": 2, "decoder_sparse_step": 1, "mlp_only_layers": [],
          "moe_intermediate_size": 32, "norm_topk_prob": True}  # fmt: skip
QWEN = {"model_type": "qwen3_moe", "tie_word_embeddings": True, "head_dim": 4, "rope_theta": 1e4,
        **SPARSE}  # fmt: skip
GEMMA3 = {"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]}
MAGNITUDE = TensorSpec(f"{Q}.m", "F32", (16,))
STACK = "model.layers.0.mlp.switch_mlp.up_proj"
STACKED = (
    TensorSpec(f"{STACK}.lora_a", "F32", (4, 4, 16)),
    TensorSpec(f"{STACK}.lora_b", "F32", (4, 32, 4)),
)
PLAIN_NORM = TensorSpec("model.norm.weight", "F32", (16,))


def named(stem: str, **config: Any) -> dict[str, bytes]:
    """A PEFT adapter whose one module has that name."""
    specs = [
        evolve(spec, name=f"{stem}.lora_{leaf}.weight")
        for spec, leaf in zip(PEFT_SPECS, "AB", strict=True)
    ]
    return peft_files(**config) | {"adapter_model.safetensors": tensors(specs)}


def on_base(base: dict[str, Any], *specs: TensorSpec, **config: Any) -> Build:
    """A LoRA of these tensors whose base has that config."""
    listed = tensors(specs or LORA_SPECS)
    return of(lora_files(**config) | {"adapters.safetensors": listed}, base_config=BASE | base)


def scaled(**parameters: Any) -> Build:
    return of(lora_files(lora_parameters={"rank": 4, **parameters}))


#: code -> (fires, silent)
EXAMPLES: dict[str, tuple[Build, Build]] = {
    "FS001": (no_structure, GOOD_LORA),
    "FS002": (irregular(Oddity.SYMLINK), irregular(Oddity.SYMLINK, escapes=True)),
    "FS003": (irregular(Oddity.SYMLINK, escapes=True), irregular(Oddity.SYMLINK)),
    "FS004": (irregular(Oddity.SPECIAL), irregular(Oddity.NAME)),
    "FS005": (irregular(Oddity.UNREADABLE), irregular(Oddity.SPECIAL)),
    "FS008": (of(lora_files() | {".DS_Store": b"x"}), of(lora_files() | {".gitignore": b"x"})),
    "FS009": (
        of(lora_files() | {"README.md": b"# TODO\n"}),
        of(lora_files() | {"README.md": b"# A model\n\nTODO lists are its domain.\n"}),
    ),
    "FS010": (of(lora_files() | {"0000100_adapters.safetensors": tensors(LORA_SPECS)}), GOOD_LORA),
    "FS013": (of(lora_files() | {"model.safetensors": tensors(FUSED_SPECS)}), GOOD_SHARDS),
    "FS018": (with_size(199), with_size(200)),
    **CONTENTS,
    **{
        rule.code: (header_defect(rule.code), header_defect("ST999"))
        for rule in CATALOGUE
        if rule.code.startswith("ST")
    },
    "IX001": (shards_of([]), GOOD_SHARDS),
    "IX002": (shards_of(BOTH | {"x": "model-00003-of-00003.safetensors"}), GOOD_SHARDS),
    "IX003": (shards_of(BOTH | {"x": "../other.safetensors"}), GOOD_SHARDS),
    "IX004": (shards_of(BOTH | {EMBED: SHARDS[1]}), GOOD_SHARDS),
    "IX005": (
        of(sharded_files() | {SHARDS[0]: tensors([FUSED_SPECS[0], SCALES])}),
        GOOD_SHARDS,
    ),
    "IX006": (of(sharded_files() | {SHARDS[1]: tensors(FUSED_SPECS)}), GOOD_SHARDS),
    "IX007": (shards_of(BOTH), GOOD_SHARDS),
    **{f"JS00{n}": (json_problem(f"JS00{n}"), json_problem("JS999")) for n in range(1, 8)},
    "CF002": (of(fused_files(model_type=7)), GOOD_FUSED),
    "CF004": (of(fused_files(architectures=None)), GOOD_FUSED),
    "CF030": (
        fused_of(*FUSED_SPECS, rope_parameters=INSIDE),
        fused_of(*FUSED_SPECS, rope_parameters=INSIDE, rope_theta=500000),
    ),
    "CF031": (
        fused_of(*FUSED_SPECS, rope_parameters=SCALED_ROPE),
        fused_of(*FUSED_SPECS, rope_parameters=SCALED_ROPE, rope_scaling=SCALED_ROPE),
    ),
    "CF032": (
        fused_of(*FUSED_SPECS, model_type="phi3", rope_parameters={"partial_rotary_factor": 0.5}),
        fused_of(*FUSED_SPECS, model_type="phi3", partial_rotary_factor=0.5),
    ),
    "CF033": (
        fused_of(*FUSED_SPECS, **QWEN, num_local_experts=4),
        fused_of(*FUSED_SPECS, **QWEN, num_local_experts=4, num_experts=4),
    ),
    "CF034": (
        fused_of(*FUSED_SPECS, rms_norm_eps=...),
        fused_of(*FUSED_SPECS),
    ),
    "CF035": (
        of(
            {
                "config.json": encode({**LLAMA, "hidden_size": 16}),
                "model.safetensors": tensors(FUSED_SPECS),
            }
        ),
        GOOD_FUSED,
    ),
    "CF036": (
        fused_of(*FUSED_SPECS, **GEMMA3),
        fused_of(*FUSED_SPECS, **GEMMA3, sliding_window_pattern=2),
    ),
    "CF037": (
        fused_of(*FUSED_SPECS, model_type="glm"),
        fused_of(*FUSED_SPECS, model_type="glm", partial_rotary_factor=1.0),
    ),
    "CF038": (
        of(peft_files(), base_config=BASE | LLAMA | {"rope_parameters": INSIDE}),
        of(peft_files(), base_config=BASE | LLAMA | {"tie_word_embeddings": False}),
    ),
    "CF039": (
        of(fused_files(rms_norm_eps=1e-3), base_config=BASE | {"rms_norm_eps": 1e-5}),
        of(
            fused_files(rms_norm_eps=1e-05, rope_scaling={"type": "linear", "factor": 2.0}),
            base_config=BASE
            | {
                "rms_norm_eps": 0.00001,
                "rope_scaling": {"rope_type": "linear", "factor": 2.0},
                "hidden_act": "silu",
            },
        ),
    ),
    "NZ001": (header_defect("NZ001"), header_defect("ST999")),
    "AD003": (
        of(lora_files(lora_parameters={"rank": 8, "scale": 1.0})),
        lora_of(A, B, *OTHER),  # AD016 speaks of several ranks
    ),
    "AD004": (lora_of(A, B, OTHER[0]), lora_of(A, B, *OTHER)),
    "AD005": (lora_of(A, evolve(B, shape=(8, 16))), GOOD_LORA),
    "AD006": (scaled(scale=1000.0), scaled(scale=256.0)),
    "AD009": (of(lora_files(model=None)), of(lora_files(model=None), base_model="acme/base")),
    "AD010": (of(lora_files(model="/Users/ada/base")), GOOD_LORA),
    "AD011": (
        of(lora_files(model="mlx-community/Llama-3.2-1B-4bit")),
        of(lora_files(model="mlx-community/Llama-3.2-1B-4bit"), base_model="acme/base"),
    ),
    "AD016": (lora_of(A, B, *OTHER), GOOD_LORA),
    "AD017": (
        of(lora_files(), base_config=BASE | {"hidden_size": 32}),
        of(lora_files(), base_config=BASE),
    ),
    "AD018": (
        of(lora_files() | {"adapters.safetensors": tensors(FAR)}, base_config=BASE),
        of(lora_files(), base_config=BASE),
    ),
    "AD019": (
        of(lora_files(lora_parameters=None, rank=4, alpha=8)),
        of(lora_files(lora_parameters=None, rank=4, alpha=8), scale=2.0),
    ),
    "AD020": (
        on_base({"num_local_experts": 8}, *STACKED),
        on_base({"num_local_experts": 4}, *STACKED),
    ),
    "AD021": (
        on_base({"model_type": "bert"}),
        on_base({"model_type": "qwen3_moe", "num_experts": 4}, *STACKED),
    ),
    "AD022": (
        of(lora_files(fine_tune_type="dora")),
        lora_of(A, B, MAGNITUDE, fine_tune_type="dora"),
    ),
    "AD023": (lora_of(A, B, MAGNITUDE), lora_of(A, B, MAGNITUDE, use_dora=True)),
    "AD024": (
        lora_of(A, B, MAGNITUDE, *OTHER, fine_tune_type="dora"),
        lora_of(A, B, MAGNITUDE, fine_tune_type="dora"),
    ),
    "AD025": (lora_of(A, B, evolve(MAGNITUDE, shape=(7,))), lora_of(A, B, MAGNITUDE)),
    "AD026": (lora_of(PLAIN_NORM, fine_tune_type="full"), lora_of(A, B, PLAIN_NORM)),
    "AD027": (lora_of(A, B, PLAIN_NORM), lora_of(PLAIN_NORM, fine_tune_type="full")),
    "AD033": (
        lora_of(A, B, PLAIN_NORM, evolve(B, name=A.name.replace("lora_a", "linear.weight"))),
        lora_of(A, B, PLAIN_NORM),
    ),
    "AD032": (
        of(lora_files(lora_parameters={"scale": 20.0, "dropout": 0.0})),
        GOOD_LORA,
    ),
    "AD031": (
        lora_of(evolve(A, dtype="I32"), B),
        peft_of(evolve(PA, dtype="BF16"), evolve(PB, dtype="F64")),
    ),
    "AD028": (of(lora_files(peft_type="LORA")), GOOD_LORA),
    "PE001": (of(peft_files(peft_type="lora")), GOOD_PEFT),
    "PE002": (peft_of(evolve(PA, name=f"{Q}.lora_A.weight"), PB), GOOD_PEFT),
    "PE003": (peft_of(PA), GOOD_PEFT),
    "PE004": (of(peft_files(r=8)), of(peft_files(r=8, rank_pattern={"q_proj": 4}))),
    "PE005": (
        peft_of(evolve(PA, shape=(16, 4)), evolve(PB, shape=(4, 16))),
        peft_of(evolve(PA, shape=(4, 4)), PB),  # a square looks the same both ways
    ),
    "PE006": (
        of(named("base_model.model.layers.0.self_attn.q_proj")),
        of(named("base_model.model.layers.0.self_attn.q_proj", task_type="FEATURE_EXTRACTION")),
    ),
    "PE007": (of(named(f"base_model.model.base_model.model.{Q}")), GOOD_PEFT),
    "PE008": (
        of(named(f"base_model.model.language_model.{Q}"), base_config=BASE | LLAMA),
        of(peft_files(), base_config=BASE | LLAMA),
    ),
    "PE028": (
        of(peft_files(), base_config=BASE | {"model_type": "qwen2_vl"}),
        of(
            named(f"base_model.model.{Q.replace('model.', 'model.language_model.', 1)}"),
            base_config=BASE | {"model_type": "qwen2_vl"},
        ),
    ),
    "PE029": (peft_of(evolve(PA, shape=(64,)), PB), GOOD_PEFT),
    "PE030": (
        of(peft_files(alpha_pattern={"q_proj": -4})),
        of(peft_files(init_lora_weights="gaussian", rank_pattern={"q_proj": 4})),
    ),
    "PE009": (peft_of(evolve(PA, name=f"base_model.model.{Q}.lora_a"), PB), GOOD_PEFT),
    "PE010": (
        peft_of(evolve(PA, name=f"base_model.model.{Q}.lora_A.default.weight"), PB),
        GOOD_PEFT,
    ),
    "PE011": (peft_of(PA, PB, NORM_SPEC), peft_of(PA, PB, NORM_SPEC, modules_to_save=["norm"])),
    "PE012": (
        of({"adapters.safetensors": tensors(PEFT_SPECS), "adapter_config.json": encode({})}),
        GOOD_LORA,
    ),
    "PE013": (
        of(peft_files(target_modules=None)),
        of(peft_files(target_modules=None, target_parameters=["q_proj.weight"])),
    ),
    "PE014": (
        of(peft_files(target_modules=["v_proj"])),
        of(peft_files(target_modules=r".*\.q_proj", exclude_modules="lm_head")),
    ),
    "PE015": (
        of(peft_files(target_modules=["q_proj", "v_proj"])),
        of(peft_files(target_modules=["self_attn.q_proj"])),
    ),
    "PE016": (of(peft_files(r=None)), GOOD_PEFT),
    "PE017": (of(peft_files(lora_alpha="80")), of(peft_files(lora_alpha=7.5))),
    "PE018": (of(peft_files(lora_alpha=80.0)), of(peft_files(lora_alpha=7.5))),
    "PE019": (of(peft_files(lora_alpha=20.0)), of(peft_files(lora_alpha=20))),
    "PE020": (
        of(peft_files(lora_parameters={"rank": 4, "scale": 10.0})),
        of(peft_files(lora_parameters={"rank": 4, "scale": 20.0})),
    ),
    "PE021": (of(peft_files(task_type=None)), GOOD_PEFT),
    "PE022": (of(peft_files(fine_tune_type="lora")), GOOD_PEFT),
    "PE023": (of(peft_files(converted_by="a script")), of(peft_files(peft_version="0.21.2"))),
    "PE024": (of(peft_files(peft_version="0.21.2")), of(peft_files(use_dora=False))),
    "PE025": (
        of(peft_files(init_lora_weights="pissa_niter_4")),
        of(peft_files(init_lora_weights="gaussian")),
    ),
    "PE026": (of(peft_files(use_dora=True)), GOOD_PEFT),
    "PE027": (
        of(peft_files(modules_to_save=["lm_head"])),
        peft_of(PA, PB, NORM_SPEC, modules_to_save=["norm"]),
    ),
    "QT001": (of(fused_files(quantization=QUANT)), fused_of(SCALES, quantization=QUANT)),
    "QT002": (fused_of(SCALES), fused_of(SCALES, quantization=QUANT)),
    "WT001": (surveyed(SOUND, NAN), surveyed(SOUND)),
    "WT002": (surveyed(ZERO, ZERO), surveyed(ZERO, SOUND)),
    "WT005": (surveyed(HUGE), surveyed(SOUND, NAN)),
    "WT008": (surveyed(ZERO, SOUND), surveyed(ZERO, ZERO)),
    **examples_model.EXAMPLES,
    **examples_settings.EXAMPLES,
    **examples_tokens.EXAMPLES,
}


def findings(code: str, build: Build) -> tuple[Finding, ...]:
    report = judge(build(), [BY_CODE[code]])
    assert report.crashed == () and report.rules_run + len(report.skipped) <= 1
    return report.findings


def test_every_rule_has_an_example() -> None:
    assert set(EXAMPLES) == set(BY_CODE)


@pytest.mark.parametrize("code", sorted(EXAMPLES))
def test_fires(code: str) -> None:
    if code not in BY_CODE:
        pytest.fail(f"{code} is no rule")
    found = findings(code, EXAMPLES[code][0])
    assert found and {f.code for f in found} == {code}
    assert all(f.message and not re.search(r"\{\w", f.message) for f in found)


@pytest.mark.parametrize("code", sorted(EXAMPLES))
def test_is_silent(code: str) -> None:
    assert findings(code, EXAMPLES[code][1]) == ()


@pytest.mark.parametrize("build", [GOOD_LORA, GOOD_PEFT, GOOD_FUSED, GOOD_SHARDS, lora()])
def test_a_good_model_has_no_findings(build: Build) -> None:
    subject = evolve(
        build(), survey=WeightSurvey({}), base_config=BASE, changes=(),
        beside_base=BesideBase(same=False),
    )  # fmt: skip
    report = judge(subject, CATALOGUE)
    assert report.findings == () and report.skipped == () and report.overall_valid


#: What the two factors of a pair are called, and shapes that make none.
MISFITS: dict[str, tuple[str, str, tuple[int, ...], tuple[int, ...]]] = {
    "dense": ("lora_a", "lora_b", (16, 4), (8, 16)),
    "stacked, other rank": ("lora_a", "lora_b", (4, 4, 16), (4, 32, 8)),
    "stacked, other count": ("lora_a", "lora_b", (4, 4, 16), (5, 32, 4)),
    "flattened": ("lora_a", "lora_b", (15, 16), (4, 32, 4)),
    "turned": ("lora_a.weight", "lora_b.weight", (4, 16), (32, 8)),
    "mlx-vlm's": ("A", "B", (16, 4), (8, 16)),
}


@pytest.mark.parametrize("form", sorted(MISFITS))
def test_factors_of_any_form_that_do_not_fit_are_a_bad_pair_and_no_lone_ones(form: str) -> None:
    first, second, a, b = MISFITS[form]
    specs = [TensorSpec(f"{STACK}.{first}", "F32", a), TensorSpec(f"{STACK}.{second}", "F32", b)]
    (found,) = findings("AD005", lora_of(*specs))
    assert found.facts == {"a": str(list(a)), "b": str(list(b))} and STACK in found.where
    assert not findings("AD004", lora_of(*specs)) and not findings("AD027", lora_of(*specs))
    (alone,) = findings("AD004", lora_of(specs[1]))
    assert alone.facts["partner"] == f"{STACK}.{first}"


def test_a_sound_lora_of_any_form_has_no_findings() -> None:
    embedding = (
        TensorSpec("model.embed_tokens.lora_a", "F32", (90, 4)),
        TensorSpec("model.embed_tokens.lora_b", "F32", (4, 16)),
    )
    flat = (evolve(STACKED[0], shape=(16, 16)), STACKED[1])
    turned = (
        TensorSpec(f"{Q}.lora_a.weight", "F32", (4, 16)),
        TensorSpec(f"{Q}.lora_b.weight", "F32", (16, 4)),
    )
    moe = {"model_type": "qwen3_moe", "num_experts": 4, "tie_word_embeddings": False,
           "rope_theta": 1e4, "head_dim": 4, **SPARSE}  # fmt: skip
    llama = LLAMA | {"vocab_size": 90, "tie_word_embeddings": False}
    by_name = {
        "rank": 4,
        "scale": 20.0,
        "dropout": 0.0,
        "keys": ["self_attn.q_proj", "model.embed_tokens"],
    }
    builds = [
        on_base(moe, *STACKED),
        on_base(moe, *flat),
        on_base(llama, *turned),
        on_base(llama, A, B, *embedding, lora_parameters=by_name),
        on_base(llama, A, B, MAGNITUDE, fine_tune_type="dora"),
    ]
    for build in builds:
        report = judge(evolve(build(), survey=WeightSurvey({}), changes=()), CATALOGUE)
        assert report.findings == () and report.skipped == () and report.crashed == ()


def test_an_embedding_of_another_vocabulary_is_the_lora_of_another_base() -> None:
    embedding = (
        TensorSpec("model.embed_tokens.lora_a", "F32", (90, 4)),
        TensorSpec("model.embed_tokens.lora_b", "F32", (4, 16)),
    )
    (found,) = findings("AD017", on_base(LLAMA | {"vocab_size": 91}, *embedding))
    assert found.message == "maps 90 -> 16, but the base's module 91 -> 16"


@pytest.mark.parametrize("scale", [0.0, -2.0])
def test_a_scale_that_makes_nothing_of_the_lora_blocks(scale: float) -> None:
    (found,) = findings("AD019", scaled(scale=scale))
    assert found.message.startswith(f"scale {scale:g} ") and found.severity.blocks


def test_a_negative_scale_that_is_said_is_no_slip() -> None:
    assert not findings("AD019", of(lora_files(), scale=-2.0))


def test_a_full_fine_tune_has_no_scale_to_be_given() -> None:
    full = lora_of(PLAIN_NORM, fine_tune_type="full", lora_parameters=None)
    assert findings("AD026", full) and not findings("AD019", full)


def test_what_a_lora_learnt_on_another_rope_blocks_and_names_the_line() -> None:
    base = LLAMA | {"rope_parameters": INSIDE, "tie_word_embeddings": False}
    report = judge(on_base(base)(), CATALOGUE)
    (found,) = [f for f in report.findings if f.code.startswith("CF")]
    assert found.where == "config.json of the base: rope_theta" and found.severity.blocks
    assert found.facts["line"] == '"rope_theta": 500000'


def test_the_routers_bias_that_mlx_drops_is_harmless_if_it_is_zero() -> None:
    bias = TensorSpec("model.layers.0.mlp.moe_statics.e_score_correction_bias", "F32", (1, 4))
    config = {"model_type": "ernie4_5_moe", "rope_theta": 5e5}
    subject = fused_of(*FUSED_SPECS, bias, **config)()
    for stats, expected in ((ZERO, 0), (SOUND, 1)):
        survey = WeightSurvey({"model.safetensors": {bias.name: stats}})
        assert len(findings("CF037", lambda s=survey: evolve(subject, survey=s))) == expected
    assert findings("CF037", fused_of(*FUSED_SPECS, **config)) == ()


M = "base_model.model.model.layers.1"
VLM = "base_model.model.model.language_model.layers.0"
#: Forms of a PEFT adapter that are right and unlike the dense LoRA: specs and settings.
OTHER_FORMS: dict[str, tuple[list[tuple[str, tuple[int, ...]]], dict[str, Any]]] = {
    "dora": (
        [(f"{M}.self_attn.q_proj.lora_A.weight", (4, 16)),
         (f"{M}.self_attn.q_proj.lora_B.weight", (16, 4)),
         (f"{M}.self_attn.q_proj.lora_magnitude_vector", (16,))],
        {"use_dora": True},
    ),
    "embedding": (
        [("base_model.model.model.embed_tokens.lora_embedding_A", (4, 90)),
         ("base_model.model.model.embed_tokens.lora_embedding_B", (16, 4))],
        {"target_modules": ["embed_tokens"]},
    ),
    "experts apart": (
        [(f"{M}.mlp.experts.{e}.{n}.lora_{f}.weight", s)
         for e in range(2) for n in ("gate_proj", "up_proj", "down_proj")
         for f, s in (("A", (4, 16)), ("B", (24, 4)))],
        {"target_modules": ["gate_proj", "up_proj", "down_proj"]},
    ),
    "experts stacked": (
        [(f"{M}.mlp.experts.base_layer.lora_A.weight", (16, 16)),
         (f"{M}.mlp.experts.base_layer.lora_B.weight", (48, 16)),
         (f"{M}.mlp.experts.lora_A.weight", (8, 24)),
         (f"{M}.mlp.experts.lora_B.weight", (16, 8))],
        {"target_modules": [], "rank_pattern": {r".*\.experts\.gate_up_proj": 8},
         "target_parameters": ["model.layers.1.mlp.experts.gate_up_proj",
                               "model.layers.1.mlp.experts.down_proj"]},
    ),
    "router": (
        [(f"{M}.mlp.gate.lora_A.weight", (4, 16)), (f"{M}.mlp.gate.lora_B.weight", (2, 4))],
        {"target_modules": [], "target_parameters": ["model.layers.1.mlp.gate.weight"]},
    ),
    "ranks": (
        [(f"{M}.self_attn.q_proj.lora_A.weight", (4, 16)),
         (f"{M}.self_attn.q_proj.lora_B.weight", (16, 4)),
         (f"{M}.self_attn.v_proj.lora_A.weight", (8, 16)),
         (f"{M}.self_attn.v_proj.lora_B.weight", (16, 8))],
        {"target_modules": ["q_proj", "v_proj"],
         "rank_pattern": {"model.layers.1.self_attn.v_proj": 8},
         "alpha_pattern": {"model.layers.1.self_attn.v_proj": 160}},
    ),
    "multimodal": (
        [(f"{VLM}.self_attn.q_proj.lora_A.weight", (4, 16)),
         (f"{VLM}.self_attn.q_proj.lora_B.weight", (16, 4))],
        {},
    ),
    "gpt2": (
        [("base_model.model.transformer.h.0.attn.c_attn.lora_A.weight", (4, 16)),
         ("base_model.model.transformer.h.0.attn.c_attn.lora_B.weight", (48, 4))],
        {"target_modules": ["transformer.h.0.attn.c_attn"], "fan_in_fan_out": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", sorted(OTHER_FORMS))
def test_a_right_adapter_of_another_form_has_no_findings(form: str) -> None:
    listed, config = OTHER_FORMS[form]
    specs = [TensorSpec(name, "F32", shape) for name, shape in listed]
    report = judge(peft_of(*specs, **config)(), CATALOGUE)
    # Fields that PEFT 0.10 does not know are worth saying, and needed.
    needed = {"PE024"} if "target_parameters" in config else set()
    assert {f.code for f in report.findings} == needed and report.crashed == ()


@pytest.mark.parametrize("rule", [r for r in CATALOGUE if r.need is not Need.SCAN])
def test_a_rule_without_what_it_needs_is_skipped_with_the_reason(rule: Any) -> None:
    subject = evolve(no_structure(), base_config=None)
    report = judge(subject, [rule])
    assert [s.code for s in report.skipped] == [rule.code]
    assert rule.need.value in report.skipped[0].reason


def test_a_crash_is_reported_blocks_and_hides_nothing() -> None:
    def crash(_subject: Subject) -> Any:
        raise RuntimeError("boom")

    broken = evolve(BY_CODE["FS002"], code="ZZ001", check=crash)
    report = judge(irregular(Oddity.SYMLINK)(), [broken, BY_CODE["FS002"]])
    assert [c.code for c in report.crashed] == ["ZZ001"] and "boom" in report.crashed[0].error
    assert len(report.findings) == 1 and not report.overall_valid


def test_findings_are_sorted_worst_first() -> None:
    build = of(lora_files(model="/x") | {".DS_Store": b"x"}, IrregularEntry("z", Oddity.SPECIAL))
    severities = [f.severity for f in judge(build(), CATALOGUE).findings]
    assert severities == sorted(severities, key=lambda s: s.rank)
    assert {Severity.ERROR, Severity.WARNING} <= set(severities)


def test_find_rule_by_code_and_name() -> None:
    find = rulebook().find
    for rule in CATALOGUE:
        assert find(rule.code.lower()) is rule and find(rule.name) is rule
    assert find("nothing") is None


def test_a_pair_of_zeros_is_no_module_that_learnt_nothing() -> None:
    """Portable adapters have such pairs on purpose; only a zero beside a random factor tells."""
    stem = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    added = {stem.format(0, "A"): ZERO, stem.format(0, "B"): ZERO}
    trained = {stem.format(1, "A"): SOUND, stem.format(1, "B"): SOUND}
    untrained = {stem.format(2, "A"): SOUND, stem.format(2, "B"): ZERO}
    rule = next(r for r in CATALOGUE if r.code == "WT008")

    def fired(held: dict[str, TensorStats]) -> list[str]:
        survey = WeightSurvey({"adapter_model.safetensors": held})
        subject = evolve(GOOD_PEFT(), survey=survey)
        return [o.location.inside for o in rule.check(subject)]

    assert fired(added | trained) == []
    assert fired(added | trained | untrained) == [stem.format(2, "B")]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [(SOUND, ZERO, "lora_b is zero in all 2"), (ZERO, SOUND, "lora_a or lora_b is zero"),
     (ZERO, ZERO, "lora_b is zero in all 2")],
)  # fmt: skip
def test_a_lora_does_nothing_whichever_factor_is_zero(
    first: TensorStats, second: TensorStats, words: str
) -> None:
    held = {f"m{i}.lora_a": first for i in range(2)} | {f"m{i}.lora_b": second for i in range(2)}
    survey = WeightSurvey({"adapters.safetensors": held})
    report = judge(evolve(GOOD_LORA(), survey=survey), CATALOGUE)
    (found,) = (f for f in report.findings if f.code in ("WT002", "WT008"))
    assert found.code == "WT002" and words in found.message
    one = survey.files["adapters.safetensors"] | {"m1.lora_a": SOUND, "m1.lora_b": SOUND}
    again = evolve(GOOD_LORA(), survey=WeightSurvey({"adapters.safetensors": one}))
    places = [f.location.inside for f in judge(again, CATALOGUE).findings if f.code == "WT008"]
    assert places == [n for n, s in (("m0.lora_b", second), ("m0.lora_a", first))
                      if s.zero and first is not second]  # fmt: skip


def test_the_other_files_of_a_tokenizer_are_held_against_it() -> None:
    merges, subject = b"#version: 0.2\na b\n", of(fused_files())()
    vocab = ("a", "b", "ab")
    sound = b"".join(bytes([10, len(v) + 2, 10, len(v)]) + v.encode() for v in vocab)
    other = b"".join(bytes([10, len(v) + 2, 10, len(v)]) + v.encode() for v in reversed(vocab))
    for path, content, said in (
        ("merges.txt", merges, None),
        ("merges.txt", merges + b"ab a\n", "differs from tokenizer.json in 1 merge(s), 'ab a'"),
        ("tokenizer.model", sound, None),
        ("tokenizer.model", other, "differs from tokenizer.json in 2 token(s), 'ab'"),
        ("tokenizer.model", b"YQ== 0\nYg== 2\n", None),
    ):
        beside = evolve(subject, tokenizer_files={path: content})
        found = [f for f in judge(beside, CATALOGUE).findings if f.code == "TK015"]
        assert [(f.location.path, f.message) for f in found] == (
            [(path, f"{said} first")] if said else []
        )


@pytest.mark.parametrize(
    ("most", "read", "cut"),
    [
        (512, 32768, True),
        (16, 512, True),
        (16384, 163840, False),  # as some are published
        (512, 512, False),
        (10**30, 4096, False),
        (512, None, False),
    ],
)
def test_a_length_of_training_that_was_left_on(most: int, read: int | None, cut: bool) -> None:
    for config in ({"max_position_embeddings": read},
                   {"max_position_embeddings": None,
                    "text_config": {"max_position_embeddings": read}}):  # fmt: skip
        files = fused_files(**config) | {
            "tokenizer_config.json": encode({"model_max_length": most})
        }
        assert bool(findings("TK016", of(files))) is cut

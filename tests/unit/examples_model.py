"""Examples for the rules on a whole model: headers, index, config, packing, values."""

from __future__ import annotations

import math
from typing import Any

from attrs import evolve

from tests.builders import (
    FUSED_SPECS,
    LORA_SPECS,
    SHARDS,
    encode,
    fused_files,
    lora_files,
    sharded_files,
    tensors,
)
from tests.fakes.memory_files import MemoryFiles
from tests.unit.subjects import Build, of
from weighbridge.adapters.numpy_survey import NumpySurveyor
from weighbridge.application.duplicates import find_duplicates
from weighbridge.application.load import Extent, read_artifact
from weighbridge.domain.findings import Subject
from weighbridge.domain.measures import Alike, BesideBase, Measure, Offset
from weighbridge.domain.survey import TensorStats, WeightSurvey
from weighbridge.domain.tensors import Header, TensorSlot, TensorSpec, encode_header

GOOD, GOOD_LORA, GOOD_SHARDS = of(fused_files()), of(lora_files()), of(sharded_files())
EMBED, NORM = FUSED_SPECS
INDEX = "model.safetensors.index.json"
MAP = {spec.name: shard for spec, shard in zip(FUSED_SPECS, SHARDS, strict=True)}
PART = "part-1.safetensors"
SIZE = sum(spec.nbytes for spec in FUSED_SPECS)
Q = "model.layers.{}.self_attn.q_proj.weight"
HEADS = {"num_attention_heads": 4, "num_hidden_layers": 1, "vocab_size": 8}


def model(*specs: TensorSpec, **config: Any) -> Build:
    return of(fused_files(**config) | {"model.safetensors": tensors([*FUSED_SPECS, *specs])})


def matrix(name: str, *shape: int, dtype: str = "F32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def mixed_layers(**config: Any) -> Build:
    """A dense layer and a mixture, which the config of Qwen3's mixtures tells apart."""
    settings = {"model_type": "qwen3_moe", "num_hidden_layers": 2, "decoder_sparse_step": 1}
    return model(
        matrix("model.layers.0.mlp.up_proj.weight", 24, 16),
        matrix("model.layers.1.mlp.gate.weight", 4, 16),
        **settings | config,
    )


def sharded(weight_map: dict[str, str], **metadata: Any) -> Build:
    index = {"metadata": metadata, "weight_map": weight_map}
    return of(sharded_files() | fused_files() | {INDEX: encode(index)})


def without_config() -> Subject:
    memory = MemoryFiles()
    memory.seed("run", {"model.safetensors": tensors(FUSED_SPECS)}, ())
    return Subject(read_artifact(memory, "run", extent=Extent.EVERYTHING))


def with_tensors(count: int) -> Build:
    """A header of so many, which is not written as bytes: that would take long."""

    def build() -> Subject:
        subject = GOOD_LORA()
        slots = tuple(TensorSlot(matrix(f"t{n}", 1), 8) for n in range(count))
        file = evolve(subject.artifact.tensor_files[0], header=Header(slots, None, 8))
        return evolve(subject, artifact=evolve(subject.artifact, tensor_files=(file,)))

    return build


def with_metadata(size: int) -> Build:
    data = b"\0" * sum(spec.nbytes for spec in LORA_SPECS)
    file = encode_header(LORA_SPECS, {"note": "x" * size}) + data
    return of(lora_files() | {"adapters.safetensors": file})


def packed(bits: int = 4, group_size: int = 32, **more: Any) -> Build:
    """A module of 8 x 64 that is packed in 4 bits and groups of 32."""
    name = "model.layers.0.mlp.up_proj"
    return model(
        matrix(f"{name}.weight", 8, 8, dtype="U32"),
        matrix(f"{name}.scales", 8, 2),
        matrix(f"{name}.biases", 8, 2),
        quantization={"bits": bits, "group_size": group_size} | more,
    )


def blocks(other: dict[str, Any]) -> Build:
    return of(fused_files(quantization={"bits": 4, "group_size": 64}, quantization_config=other))


def surveyed(*held: tuple[TensorSpec, TensorStats], **config: Any) -> Build:
    """A fused model that holds also these, and of them the figures."""

    def build() -> Subject:
        subject = model(*(spec for spec, _ in held), **config)()
        stats = {spec.name: one for spec, one in held}
        return evolve(subject, survey=WeightSurvey({"model.safetensors": stats}))

    return build


def with_bytes(*data: bytes) -> Build:
    """A fused model of matrices with that data, surveyed as the use case does it."""

    def build() -> Subject:
        specs = [matrix(f"m{n}", 32, len(d) // 128) for n, d in enumerate(data)]
        memory = MemoryFiles()
        files = fused_files() | {"model.safetensors": encode_header(specs) + b"".join(data)}
        memory.seed("run", files, ())
        subject = of(files)()
        file = subject.artifact.tensor_file("model.safetensors")
        assert file is not None and file.header is not None
        artifact = evolve(subject.artifact, location="run")
        with memory.open("run", file.path) as reader:
            stats = NumpySurveyor().survey(reader, file.header, advance=lambda count: None)
        found = {"model.safetensors": stats}
        groups = find_duplicates(memory, artifact, found)
        return evolve(subject, survey=WeightSurvey(found, groups))

    return build


def stats(absmax: float = 0.5, *, zero: bool = False, constant: bool = False) -> TensorStats:
    return TensorStats(finite=True, zero=zero, absmax=absmax, constant=constant)


ZERO, SOUND = stats(0.0, zero=True), stats()
BACK = tuple(
    matrix(f"model.layers.0.{n}.weight", 4, 4) for n in ("self_attn.o_proj", "mlp.down_proj")
)
_OF_LAYER = ("input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj",
             "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
             "mlp.down_proj")  # fmt: skip
LAYER = tuple(matrix(f"model.layers.0.{name}.weight", 4, 4) for name in _OF_LAYER)
NEXT = tuple(evolve(s, name=s.name.replace("layers.0", "layers.1")) for s in BACK)
HALF = evolve(BACK[0], dtype="F16")
NORMS = tuple(matrix(f"model.layers.{n}.input_layernorm.weight", 16) for n in range(2))
RAMP = bytes(n * 7 % 251 for n in range(4096))


def beside_base(build: Build, **known: Any) -> Build:
    return lambda: evolve(build(), **known)


def measured(ratio: float) -> tuple[Measure, ...]:
    return (Measure("model.layers.0.self_attn.q_proj", 1, change=ratio * ratio, weight=1.0),)


def offsets(*means: float) -> BesideBase:
    return BesideBase(False, tuple(Offset(f"n{m}.weight", m, 0.01) for m in means))


def likeness(*cosines: float) -> BesideBase:
    return BesideBase(False, (), tuple(Alike(f"m{c}", c) for c in cosines))


def in_groups(
    biases: tuple[float, ...],
    scales: tuple[float, ...] = (0.001, 0.002, 0.004),
    bits: int = 4,
    words: TensorStats = SOUND,
) -> Build:
    """A packed module whose scales and biases have these sizes."""
    name = "model.layers.0.mlp.up_proj"
    return surveyed(
        (matrix(f"{name}.weight", 8, 2 * bits, dtype="U32"), words),
        (matrix(f"{name}.scales", 8, 2), evolve(SOUND, zero=not scales, sizes=scales)),
        (matrix(f"{name}.biases", 8, 2), evolve(SOUND, sizes=biases) if biases else ZERO),
        quantization={"bits": bits, "group_size": 32},
    )


EXAMPLES: dict[str, tuple[Build, Build]] = {
    "ST025": (with_tensors(100_001), with_tensors(100_000)),
    "ST030": (model(matrix("a\u202eb", 1)), model(matrix("vision.b", 1))),
    "ST031": (model(matrix("x", 1, dtype="F64")), model(matrix("x", 2, dtype="BF16"))),
    "ST033": (with_metadata(64_001), with_metadata(64_000)),
    "IX008": (sharded(MAP, total_size=SIZE + 1), sharded(MAP, total_size=SIZE)),
    "IX009": (sharded(MAP), GOOD_SHARDS),
    "IX010": (sharded({EMBED.name: SHARDS[0]}), GOOD_SHARDS),
    "IX011": (sharded(MAP | {"x": SHARDS[0].upper()}), GOOD_SHARDS),
    "IX012": (
        of(
            sharded_files()
            | {
                PART: sharded_files()[SHARDS[0]],
                INDEX: encode({"weight_map": MAP | {EMBED.name: PART}}),
            }
        ),
        GOOD_SHARDS,
    ),
    "JS008": (of(fused_files(hidden_size="64")), of(fused_files(head_dim=None))),
    "CF001": (without_config, GOOD),
    "CF003": (of(fused_files(model_type="bert")), GOOD),
    "CF010": (
        model(matrix(Q.format(0), 16, 12), **HEADS),
        model(matrix(Q.format(0), 16, 16), **HEADS),
    ),
    "CF011": (
        model(matrix(Q.format(0), 16, 16), num_hidden_layers=2),
        model(matrix(Q.format(0), 16, 16), num_hidden_layers=1),
    ),
    "CF015": (mixed_layers(mlp_only_layers=[]), mixed_layers(mlp_only_layers=[0])),
    "CF021": (
        model(*(s for s in LAYER if "down_proj" not in s.name)),
        model(*LAYER),
    ),
    "CF023": (
        model(matrix(Q.format(0), 16, 16, dtype="I32")),
        model(
            matrix("vision.position_ids", 1, 8, dtype="I64"),
            matrix("h.0.attn.bias", 1, 1, 8, 8, dtype="BOOL"),
        ),
    ),
    "CF024": (of(fused_files(num_attention_heads=None)), GOOD),
    "CF025": (model(matrix("_orig_mod.model.norm.weight", 16)), model(*LAYER)),
    "CF026": (
        model(matrix("foo.weight", 16)),
        model(*LAYER, matrix("model.layers.0.self_attn.rotary_emb.inv_freq", 2)),
    ),
    "CF027": (
        of(fused_files(hidden_act="foo")),
        of(fused_files(hidden_act="silu", rope_scaling={"type": "linear", "factor": 2.0})),
    ),
    "CF028": (
        of(fused_files(architectures=["MistralForCausalLM"])),
        of(fused_files(model_type="gemma3_text", architectures=["Gemma3ForCausalLM"])),
    ),
    "CF029": (
        model(
            matrix("model.layers.0.mlp.down_proj.weight", 16, 16, dtype="F16"),
            matrix("model.layers.0.mlp.gate_proj.weight", 16, 16, dtype="BF16"),
        ),
        model(
            matrix("model.layers.0.input_layernorm.weight", 16),
            matrix("model.layers.0.mlp.up_proj.weight", 16, 16, dtype="F16"),
        ),
    ),
    "CF022": (
        model(matrix("model.layers.0.mlp.up_proj.lora_a", 16, 4)),
        model(matrix("model.layers.0.attn.w_lora.lora.0.weight", 16, 4)),
    ),
    "CF012": (model(matrix("lm_head.weight", 8, 16)), GOOD),
    "CF013": (of(fused_files(eos_token_id=8)), of(fused_files(eos_token_id=[7], pad_token_id=-1))),
    "CF020": (of(fused_files(torch_dtype="bfloat16")), of(fused_files(dtype="float32"))),
    "QT003": (packed(bits=8), packed()),
    "QT004": (blocks({"bits": 8, "group_size": 64}), blocks({"group_size": 64, "bits": 4})),
    "QT005": (packed(bits=7), packed()),
    "QT006": (packed(**{"model.layers.9.mlp.up_proj": {"bits": 8, "group_size": 64}}), packed()),
    "WT003": (
        surveyed((BACK[0], ZERO)),
        surveyed((NORMS[0], ZERO), (BACK[0], SOUND), model_type="gemma"),
    ),
    "WT004": (
        surveyed((BACK[0], stats(constant=True))),
        surveyed((NORMS[0], stats(1.0, constant=True)), (BACK[0], SOUND)),
    ),
    "WT006": (surveyed((BACK[0], stats(1e-39))), surveyed((BACK[0], ZERO), (BACK[1], SOUND))),
    "WT007": (with_bytes(RAMP, RAMP), with_bytes(RAMP, RAMP[::-1])),
    "WT020": (
        surveyed((NORMS[0], SOUND), *((spec, ZERO) for spec in BACK)),
        surveyed((BACK[0], ZERO), (NORMS[0], ZERO), (BACK[1], SOUND), (NORMS[1], ZERO)),
    ),
    "WT009": (
        surveyed(*((spec, ZERO) for spec in BACK)),
        surveyed((BACK[0], ZERO), (BACK[1], SOUND)),
    ),
    "WT010": (
        surveyed(*((spec, stats(0.001)) for spec in NORMS)),
        surveyed(*((spec, stats(0.001)) for spec in NORMS), model_type="gemma2"),
    ),
    "WT011": (
        beside_base(GOOD_LORA, changes=measured(1.1)),
        beside_base(GOOD_LORA, changes=measured(0.9)),
    ),
    "WT014": (
        surveyed((BACK[0], stats(1e-12))),
        surveyed((BACK[0], stats(1e-5)), (BACK[1], ZERO)),
    ),
    "WT015": (
        surveyed((BACK[0], evolve(SOUND, zeros=0.5))),
        surveyed(
            (matrix("wte.weight", 8, 16), evolve(SOUND, zeros=0.5)),
            (BACK[0], evolve(SOUND, zeros=0.1)),
        ),
    ),
    "WT021": (
        surveyed((HALF, evolve(SOUND, sizes=(0.6, 1.1, 1.4)))),
        surveyed((HALF, evolve(SOUND, sizes=(0.001, 0.02, 0.05)))),
    ),
    "WT022": (in_groups((0.001, 0.001, 0.002)), in_groups((0.01, 0.02, 0.05))),
    "WT012": (
        beside_base(GOOD, beside_base=BesideBase(same=True)),
        beside_base(GOOD, beside_base=BesideBase(same=False)),
    ),
    "WT023": (
        beside_base(GOOD, beside_base=likeness(0.99, -0.9)),
        beside_base(GOOD, beside_base=likeness(0.99, 0.5, math.nan)),
    ),
    "WT013": (
        beside_base(GOOD, beside_base=offsets(0.0, 1.01, -1.0)),
        beside_base(GOOD, beside_base=offsets(0.0, 1.3, 1.0)),
    ),
}

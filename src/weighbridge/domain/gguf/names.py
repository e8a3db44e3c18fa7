"""Which architecture of llama.cpp a base model is, and how its modules are stored there.

Evidence for every entry: llama.cpp's own ``convert_lora_to_gguf.py`` (0c1e57098) writes the same
bytes for a LoRA on every module (``tests/integration/test_gguf_witness.py``), and llama.cpp's
runtime then answers as transformers does with that LoRA merged. Left out on purpose are MiniCPM3
and AFMoE, whose LoRA the runtime computes otherwise than transformers, and all that the converter
itself fails on (DeepSeek's ``kv_b_proj``, Mamba).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from attrs import frozen


class Order(Enum):
    """How llama.cpp's converter exchanges rows or columns of some matrices; see ``gguf_order``."""

    SAME = "same"
    #: Rows of q and k: the two halves of each head, which the rotary embedding pairs, interleaved.
    ROTARY_PAIRS = "rotary pairs"
    #: Rows of a fused q, k, v of each head in turn: all q, then all k, then all v.
    FUSED_QKV = "fused qkv"
    #: Value heads of linear attention, which are grouped by key head: dealt out in turns.
    VALUE_HEADS = "value heads"


@frozen
class ExpertNames:
    """Modules of single experts: ``pattern`` with the groups layer, expert and part.

    ``merged`` is the name, to be filled with layer and part, under which llama.cpp knows the
    stack. ``parts`` are in the order in which its converter writes them.
    """

    pattern: re.Pattern[str]
    merged: str
    parts: tuple[str, ...]


_GATED = ExpertNames(
    re.compile(r"model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.((?:gate|up|down)_proj)"),
    "model.layers.{}.mlp.experts.{}",
    ("down_proj", "gate_proj", "up_proj"),
)
_ERNIE = ExpertNames(_GATED.pattern, _GATED.merged, ("gate_proj", "up_proj", "down_proj"))
_NUMBERED = ExpertNames(
    re.compile(r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.(w[123])"),
    "layers.{}.feed_forward.experts.{}",
    ("w1", "w2", "w3"),
)


@frozen
class GgufArchitecture:
    """One entry: what ``architectures`` of config.json names, and llama.cpp's name for it.

    ``tied`` says what it means if config.json does not say whether embeddings are tied.
    ``unapplied`` are weights on which llama.cpp loads a LoRA and then leaves it out.
    """

    classes: tuple[str, ...]
    name: str
    order: Order = Order.SAME
    experts: ExpertNames | None = None
    tied: bool = False
    unapplied: tuple[str, ...] = ()


def _dense() -> Iterator[GgufArchitecture]:
    pairs = Order.ROTARY_PAIRS
    yield GgufArchitecture(("LlamaForCausalLM", "MistralForCausalLM"), "llama", pairs)
    yield GgufArchitecture(("GraniteForCausalLM",), "granite", pairs)
    yield GgufArchitecture(("SmolLM3ForCausalLM",), "smollm3", pairs, tied=True)
    yield GgufArchitecture(("ArceeForCausalLM",), "arcee", pairs)
    yield GgufArchitecture(("Qwen2ForCausalLM",), "qwen2")
    yield GgufArchitecture(("Qwen3ForCausalLM",), "qwen3")
    yield GgufArchitecture(("Olmo2ForCausalLM", "Olmo3ForCausalLM"), "olmo2")
    yield GgufArchitecture(("GemmaForCausalLM",), "gemma", tied=True)
    yield GgufArchitecture(("Gemma2ForCausalLM",), "gemma2", tied=True)
    yield GgufArchitecture(
        ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"), "gemma3", tied=True
    )
    yield GgufArchitecture(
        ("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"),
        "gemma4",
        tied=True,
        unapplied=("per_layer_model_proj.weight",),
    )
    yield GgufArchitecture(("PhiForCausalLM",), "phi2")
    yield GgufArchitecture(("Phi3ForCausalLM",), "phi3")
    yield GgufArchitecture(("Starcoder2ForCausalLM",), "starcoder2", tied=True)
    yield GgufArchitecture(("GPTBigCodeForCausalLM",), "starcoder", tied=True)
    yield GgufArchitecture(("GPTNeoXForCausalLM",), "gptneox", Order.FUSED_QKV)
    yield GgufArchitecture(("StableLmForCausalLM",), "stablelm")
    yield GgufArchitecture(("CohereForCausalLM",), "command-r", tied=True)
    yield GgufArchitecture(("Cohere2ForCausalLM",), "cohere2", tied=True)
    yield GgufArchitecture(("SeedOssForCausalLM",), "seed_oss")
    yield GgufArchitecture(("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"), "ernie4_5", tied=True)
    yield GgufArchitecture(("GlmForCausalLM",), "chatglm")
    yield GgufArchitecture(("Glm4ForCausalLM",), "glm4")
    yield GgufArchitecture(("HunYuanDenseV1ForCausalLM",), "hunyuan-dense")
    yield GgufArchitecture(("NemotronForCausalLM",), "nemotron")
    yield GgufArchitecture(("Lfm2ForCausalLM",), "lfm2", tied=True)
    yield GgufArchitecture(("ApertusForCausalLM",), "apertus")
    yield GgufArchitecture(("Exaone4ForCausalLM",), "exaone4")
    yield GgufArchitecture(
        ("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"), "qwen35", Order.VALUE_HEADS
    )


def _mixtures() -> Iterator[GgufArchitecture]:
    pairs = Order.ROTARY_PAIRS
    yield GgufArchitecture(("MixtralForCausalLM",), "llama", pairs, _NUMBERED)
    # transformers keeps the experts of these two in one parameter, which no LoRA by module has.
    yield GgufArchitecture(("GraniteMoeForCausalLM",), "granitemoe", pairs)
    yield GgufArchitecture(("GptOssForCausalLM",), "gpt-oss")
    yield GgufArchitecture(("MiniMaxM2ForCausalLM",), "minimax-m2", experts=_NUMBERED)
    yield GgufArchitecture(("Qwen2MoeForCausalLM",), "qwen2moe", experts=_GATED)
    yield GgufArchitecture(("Qwen3MoeForCausalLM",), "qwen3moe", experts=_GATED)
    yield GgufArchitecture(
        ("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
        "qwen35moe",
        Order.VALUE_HEADS,
        _GATED,
    )
    yield GgufArchitecture(("OlmoeForCausalLM",), "olmoe", experts=_GATED)
    yield GgufArchitecture(("Glm4MoeForCausalLM",), "glm4moe", experts=_GATED)
    yield GgufArchitecture(("Dots1ForCausalLM",), "dots1", experts=_GATED)
    yield GgufArchitecture(("Ernie4_5_MoeForCausalLM",), "ernie4_5-moe", experts=_ERNIE, tied=True)


#: Entries by the class that ``architectures`` of config.json names.
GGUF_ARCHITECTURES: Mapping[str, GgufArchitecture] = {
    name: entry for entry in (*_dense(), *_mixtures()) for name in entry.classes
}

#: Classes that llama.cpp knows, but not a LoRA on them that computes what PEFT does.
_BROKEN = {
    "GPT2LMHeadModel": "llama.cpp's converter exchanges the two factors of its Conv1D modules",
    "MiniCPM3ForCausalLM": "llama.cpp computes something else for a LoRA on it",
    "AfmoeForCausalLM": "llama.cpp computes something else for a LoRA on it",
}


@frozen
class UnknownArchitecture:
    """Why there is no entry."""

    reason: str


def text_parameters(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A base's config.json with the fields of its text model at the top, as llama.cpp reads it."""
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, Mapping) else config


def gguf_architecture_of(config: Mapping[str, Any]) -> GgufArchitecture | UnknownArchitecture:
    """The entry for a base's config.json, chosen as llama.cpp's converter chooses."""
    name = _class_of(config)
    if name is None:
        return UnknownArchitecture("the base's config.json names no class under architectures")
    if name in _BROKEN:
        return UnknownArchitecture(f"the base is a {name}: {_BROKEN[name]}")
    found = GGUF_ARCHITECTURES.get(name)
    if found is None:
        return UnknownArchitecture(
            f"the base is a {name}, for which the GGUF form of a LoRA is not verified"
        )
    if "mrope_section" in _rope(config) and found.name == "glm4":
        return UnknownArchitecture(f"the base is a {name} with a rotary embedding for images")
    return found


def _class_of(config: Mapping[str, Any]) -> str | None:
    text = config.get("text_config")
    for part in (text, config):
        named = part.get("architectures") if isinstance(part, Mapping) else None
        if isinstance(named, list) and named and isinstance(named[0], str):
            return named[0]
    return None


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = text_parameters(config)
    found = parameters.get("rope_parameters") or parameters.get("rope_scaling")
    return found if isinstance(found, Mapping) else {}

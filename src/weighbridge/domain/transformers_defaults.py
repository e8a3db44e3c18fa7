"""What transformers takes for a field that config.json leaves out.

Taken from transformers 5.23; a test takes it from there again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen


@frozen
class Defaults:
    """Of one model type. ``theta`` is RoPE's base, ``partial`` the part of a head that it turns,
    ``tied`` whether the head is the embedding; None is no such thing."""

    theta: float | None = None
    partial: float | None = None
    tied: bool | None = None


#: Of a type that transformers does not have.
UNKNOWN = Defaults()
#: By model type; those of text models are the types in ``text_config``.
DEFAULTS: Mapping[str, Defaults] = MappingProxyType(
    {
        "afmoe": Defaults(10000, None, False),
        "apertus": Defaults(12000000, None, False),
        "bailing_hybrid": Defaults(6000000, None, False),
        "bitnet": Defaults(500000, None, False),
        "cohere": Defaults(500000, None, True),
        "cohere2": Defaults(10000, None, True),
        "dbrx": Defaults(10000, None, False),
        "deepseek_v2": Defaults(10000, None, False),
        "deepseek_v3": Defaults(10000, None, False),
        "deepseek_v32": Defaults(10000, None, False),
        "dots1": Defaults(10000, None, False),
        "ernie4_5": Defaults(500000, None, True),
        "ernie4_5_moe": Defaults(500000, None, True),
        "exaone4": Defaults(10000, None, False),
        "exaone_moe": Defaults(10000, None, False),
        "falcon_h1": Defaults(10000, None, False),
        "falcon_mamba": Defaults(None, None, True),
        "gemma": Defaults(10000, None, True),
        "gemma2": Defaults(10000, None, True),
        "gemma3": Defaults(None, None, True),
        "gemma3_text": Defaults(1000000, None, True),
        "gemma3n": Defaults(None, None, True),
        "gemma3n_text": Defaults(1000000, None, True),
        "gemma4": Defaults(None, None, True),
        "gemma4_text": Defaults(1000000, 0.25, True),
        "gemma4_unified": Defaults(None, None, True),
        "gemma4_unified_text": Defaults(1000000, 0.25, True),
        "glm": Defaults(10000, 0.5, False),
        "glm4": Defaults(10000, 0.5, False),
        "glm4_moe": Defaults(10000, 0.5, False),
        "glm4_moe_lite": Defaults(10000, None, False),
        "glm_moe_dsa": Defaults(10000, None, False),
        "gpt2": Defaults(None, None, True),
        "gpt_bigcode": Defaults(None, None, True),
        "gpt_neox": Defaults(10000, 0.25, False),
        "gpt_oss": Defaults(150000, None, False),
        "gptj": Defaults(None, None, False),
        "granite": Defaults(10000, None, False),
        "granitemoe": Defaults(10000, None, False),
        "granitemoehybrid": Defaults(10000, None, False),
        "helium": Defaults(100000, None, False),
        "hunyuan_v1_dense": Defaults(10000, None, False),
        "internlm3": Defaults(10000, None, False),
        "iquestcoder": Defaults(10000, None, False),
        "jamba": Defaults(None, None, False),
        "kimi_k25": Defaults(None, None, True),
        "kimi_linear": Defaults(None, None, False),
        "laguna": Defaults(500000, 0.5, False),
        "lfm2": Defaults(1000000, None, True),
        "lfm2_moe": Defaults(1000000, None, True),
        "llama": Defaults(10000, None, False),
        "llama4": Defaults(None, None, False),
        "llama4_text": Defaults(500000, None, False),
        "llava": Defaults(None, None, False),
        "longcat_flash": Defaults(10000000, None, False),
        "mamba": Defaults(None, None, True),
        "mamba2": Defaults(None, None, False),
        "mellum": Defaults(500000, None, False),
        "mimo_v2_flash": Defaults(5000000, 0.334, False),
        "minicpm3": Defaults(10000, None, True),
        "minimax": Defaults(1000000, None, False),
        "minimax_m2": Defaults(5000000, None, False),
        "minimax_m3_vl": Defaults(None, None, False),
        "minimax_m3_vl_text": Defaults(5000000, None, False),
        "ministral3": Defaults(1000000, None, False),
        "mistral": Defaults(10000, None, False),
        "mistral3": Defaults(None, None, True),
        "mistral4": Defaults(10000, 0.5, False),
        "mixtral": Defaults(1000000, None, False),
        "muse_glimmer": Defaults(),
        "muse_spark": Defaults(),
        "muse_spark_text": Defaults(500000, None, False),
        "nanochat": Defaults(10000, None, False),
        "nemotron": Defaults(10000, 0.5, False),
        "nemotron_h": Defaults(None, None, False),
        "olmo": Defaults(10000, None, False),
        "olmo2": Defaults(10000, None, False),
        "olmo3": Defaults(500000, None, False),
        "olmo_hybrid": Defaults(10000, None, False),
        "olmoe": Defaults(10000, None, False),
        "phi": Defaults(10000, 0.5, False),
        "phi3": Defaults(10000, 1, False),
        "phimoe": Defaults(1000000, None, False),
        "qwen2": Defaults(10000, None, False),
        "qwen2_5_vl": Defaults(None, None, False),
        "qwen2_5_vl_text": Defaults(1000000),
        "qwen2_moe": Defaults(10000, None, False),
        "qwen2_vl": Defaults(None, None, False),
        "qwen2_vl_text": Defaults(1000000),
        "qwen3": Defaults(10000, None, False),
        "qwen3_5": Defaults(None, None, False),
        "qwen3_5_moe": Defaults(None, None, False),
        "qwen3_5_moe_text": Defaults(10000, 0.25, False),
        "qwen3_5_text": Defaults(10000, 0.25, False),
        "qwen3_moe": Defaults(10000, None, False),
        "qwen3_next": Defaults(10000, 0.25, False),
        "qwen3_vl": Defaults(None, None, False),
        "qwen3_vl_moe": Defaults(None, None, False),
        "qwen3_vl_moe_text": Defaults(500000, None, True),
        "qwen3_vl_text": Defaults(500000, None, None),
        "recurrent_gemma": Defaults(10000, 0.5, True),
        "seed_oss": Defaults(10000, None, False),
        "smollm3": Defaults(2000000, None, True),
        "solar_open": Defaults(1000000, None, False),
        "stablelm": Defaults(10000, 0.25, False),
        "starcoder2": Defaults(10000, None, True),
        "step3p5": Defaults(10000, None, False),
    }
)  # fmt: skip

#: Where transformers leaves out what is its default: what it takes for hidden_size,
#: num_hidden_layers, vocab_size and intermediate_size of a nested text model of that type.
SIZES: Mapping[str, tuple[int, int, int, int | None]] = MappingProxyType(
    {
        "deepseek_v3": (7168, 61, 129280, 18432),
        "gemma3_text": (2304, 26, 262208, 9216),
        "gemma3n_text": (2048, 35, 262400, None),
        "gemma4_text": (2304, 30, 262144, 9216),
        "gemma4_unified_text": (2304, 30, 262144, 9216),
        "llama": (4096, 32, 32000, 11008),
        "llama4_text": (5120, 48, 202048, 8192),
        "minimax_m3_vl_text": (6144, 60, 200064, 3072),
        "mistral": (4096, 32, 32000, 14336),
        "qwen2": (4096, 32, 151936, 22016),
        "qwen2_5_vl_text": (8192, 80, 152064, 29568),
        "qwen2_vl_text": (8192, 80, 152064, 29568),
        "qwen3": (4096, 32, 151936, 22016),
        "qwen3_5_moe_text": (2048, 40, 248320, None),
        "qwen3_5_text": (4096, 32, 248320, 12288),
        "qwen3_vl_moe_text": (2048, 24, 151936, 5632),
        "qwen3_vl_text": (4096, 32, 151936, 22016),
    }
)

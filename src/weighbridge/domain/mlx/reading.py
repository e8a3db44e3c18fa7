"""What mlx-lm reads of a config.json where transformers may read something else.

Each of mlx-lm's models has a dataclass for the text model's config and takes the fields that bear
its names, nothing else. Taken from mlx-lm 0.32's sources; a test takes it from them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from attrs import frozen


class Default(Enum):
    """What stands for a default where there is none."""

    REQUIRED = "required"


@frozen
class MlxReading:
    """How one module of mlx-lm's reads a config.

    ``defaults`` are its fields that decide what RoPE, the head and the kinds of layers are.
    ``inside`` are the keys of ``rope_parameters`` that it looks at, '*' if all. ``top_first`` says
    that a top-level ``rope_theta`` comes before the one inside.
    """

    defaults: Mapping[str, Any]
    inside: tuple[str, ...] = ()
    top_first: bool = False


REQUIRED = Default.REQUIRED


def _reads(inside: tuple[str, ...] = (), *, top_first: bool = False, **defaults: Any) -> MlxReading:
    return MlxReading(MappingProxyType(defaults), inside, top_first)


#: mlx-lm's MODEL_REMAPPING: the module of a model type that has none of its own name.
REMAPPED: Mapping[str, str] = MappingProxyType(
    {
        "deepseek_v41_text": "deepseek_v41",
        "falcon_mamba": "mamba",
        "gemma4_unified": "gemma4",
        "iquestcoder": "llama",
        "joyai_llm_flash": "deepseek_v3",
        "kimi_k2": "deepseek_v3",
        "llava": "mistral3",
        "minimax_m2": "minimax",
        "mistral": "llama",
        "phi-msft": "phixtral",
        "qwen2_5_vl": "qwen2_vl",
        "xverse": "llama",
    }
)
#: The module that reads ``text_config`` where a module has that field. Mistral 3's is that of the
#: nested model type if that is ministral3 or mistral4.
NESTED: Mapping[str, str] = MappingProxyType(
    {
        "gemma3": "gemma3_text",
        "gemma3n": "gemma3n",
        "gemma4": "gemma4_text",
        "kimi_k25": "deepseek_v3",
        "kimi_k3": "kimi_k3",
        "kimi_vl": "kimi_vl",
        "lfm2-vl": "lfm2",
        "llama4": "llama4",
        "minimax_m3_vl": "minimax_m3_vl",
        "mistral3": "llama",
        "muse_spark": "muse_spark",
        "pixtral": "llama",
        "qwen2_vl": "qwen2",
        "qwen3_5": "qwen3_5",
        "qwen3_5_moe": "qwen3_5",
        "qwen3_vl": "qwen3",
        "qwen3_vl_moe": "qwen3_moe",
    }
)
_THETA = ("rope_theta",)
_ALL = ("*",)
#: By module.
READINGS: Mapping[str, MlxReading] = MappingProxyType(
    {
        "Klear": _reads(rope_theta=REQUIRED),
        "afm7": _reads(rope_theta=50000),
        "afmoe": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=False),
        "apertus": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=REQUIRED),
        "baichuan_m1": _reads(rope_theta=REQUIRED, tie_word_embeddings=False),
        "bailing_hybrid": _reads(rope_theta=REQUIRED, rope_scaling=None, partial_rotary_factor=0.5,
            tie_word_embeddings=False),
        "bailing_moe": _reads(rope_theta=REQUIRED, rope_scaling=None, partial_rotary_factor=1,
            tie_word_embeddings=False),
        "bailing_moe_linear": _reads(rope_theta=REQUIRED, rope_scaling=None,
            partial_rotary_factor=1, tie_word_embeddings=False),
        "bailing_moe_v3": _reads(rope_theta=6000000, rope_scaling=None, tie_word_embeddings=False),
        "bitnet": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=True),
        "cohere": _reads(rope_theta=8000000),
        "cohere2": _reads(rope_theta=50000, sliding_window_pattern=4),
        "deepseek": _reads(rope_theta=10000, rope_scaling=None),
        "deepseek_v2": _reads(rope_theta=10000, rope_scaling=None),
        "deepseek_v3": _reads(rope_theta=10000, rope_scaling=None),
        "deepseek_v32": _reads(rope_theta=10000, rope_scaling=None),
        "deepseek_v41": _reads(rope_theta=10000, rope_scaling=None),
        "dots1": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=False),
        "ernie4_5": _reads(rope_theta=REQUIRED, tie_word_embeddings=REQUIRED),
        "ernie4_5_moe": _reads(rope_theta=REQUIRED, tie_word_embeddings=REQUIRED),
        "exaone": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=True),
        "exaone4": _reads(rope_theta=REQUIRED, rope_scaling=REQUIRED,
            sliding_window_pattern=REQUIRED, tie_word_embeddings=REQUIRED),
        "exaone_moe": _reads(_THETA, rope_theta=1000000, rope_scaling=None,
            tie_word_embeddings=False),
        "falcon_h1": _reads(rope_theta=100000000000, rope_scaling=None, tie_word_embeddings=True),
        "gear": _reads(rope_theta=1000000, rope_scaling=None, rope_local_base_freq=10000,
            tie_word_embeddings=True),
        "gemma": _reads(rope_theta=10000),
        "gemma2": _reads(rope_theta=10000),
        "gemma3_text": _reads(rope_theta=1000000, rope_scaling=None, rope_local_base_freq=10000,
            sliding_window_pattern=6),
        "gemma3n": _reads(rope_theta=REQUIRED, rope_scaling=None, rope_local_base_freq=REQUIRED),
        "gemma4_text": _reads(_ALL, partial_rotary_factor=1, tie_word_embeddings=True),
        "glm": _reads(rope_theta=10000, tie_word_embeddings=True),
        "glm4": _reads(rope_theta=REQUIRED, partial_rotary_factor=REQUIRED),
        "glm4_moe": _reads(rope_theta=REQUIRED, rope_scaling=REQUIRED,
            partial_rotary_factor=REQUIRED, tie_word_embeddings=REQUIRED),
        "glm4_moe_lite": _reads(rope_theta=1000000, rope_scaling=None, partial_rotary_factor=1,
            tie_word_embeddings=False),
        "glm_moe_dsa": _reads(_ALL, rope_theta=None, rope_scaling=None),
        "gpt_bigcode": _reads(tie_word_embeddings=True),
        "gpt_oss": _reads(rope_theta=150000, rope_scaling=None),
        "granite": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=True),
        "granitemoe": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=True),
        "granitemoehybrid": _reads(_THETA, rope_theta=10000, tie_word_embeddings=True),
        "helium": _reads(rope_theta=REQUIRED, tie_word_embeddings=REQUIRED),
        "hunyuan": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=False),
        "hunyuan_v1_dense": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=False),
        "internlm2": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=False),
        "internlm3": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=False),
        "iquestloopcoder": _reads(rope_theta=500000, rope_scaling=None, tie_word_embeddings=False),
        "jamba": _reads(tie_word_embeddings=True),
        "kimi_k3": _reads(tie_word_embeddings=False),
        "kimi_linear": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=False),
        "kimi_vl": _reads(rope_theta=10000, rope_scaling=None),
        "laguna": _reads(_ALL, partial_rotary_factor=None, tie_word_embeddings=False),
        "lfm2": _reads(_THETA, rope_theta=1000000),
        "lfm2_moe": _reads(_THETA, rope_theta=1000000),
        "lille-130m": _reads(rope_theta=REQUIRED, tie_word_embeddings=True),
        "llama": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=True),
        "llama4": _reads(rope_theta=REQUIRED, rope_scaling=REQUIRED),
        "llama4_text": _reads(rope_theta=REQUIRED, tie_word_embeddings=REQUIRED),
        "longcat_flash": _reads(rope_theta=REQUIRED, rope_scaling=None),
        "longcat_flash_ngram": _reads(rope_theta=REQUIRED, rope_scaling=None),
        "mamba": _reads(tie_word_embeddings=True),
        "mamba2": _reads(tie_word_embeddings=REQUIRED),
        "mellum": _reads(_ALL, tie_word_embeddings=REQUIRED),
        "mimo": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=False),
        "mimo_v2_flash": _reads(rope_theta=REQUIRED, partial_rotary_factor=REQUIRED),
        "minicpm": _reads(rope_theta=1000000, rope_scaling=None, tie_word_embeddings=False),
        "minicpm3": _reads(rope_theta=1000000, rope_scaling=None, tie_word_embeddings=False),
        "minimax": _reads(rope_theta=REQUIRED, tie_word_embeddings=False),
        "minimax_m3_vl": _reads(_ALL, rope_theta=5000000, partial_rotary_factor=0.5,
            tie_word_embeddings=False),
        "ministral3": _reads(_ALL, tie_word_embeddings=True),
        "mistral4": _reads(_ALL, rope_theta=10000, rope_scaling=None, tie_word_embeddings=False),
        "mixtral": _reads(rope_theta=1000000, rope_scaling=None, tie_word_embeddings=False),
        "muse_glimmer": _reads(_THETA, rope_theta=500000, tie_word_embeddings=False),
        "nanbeige": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=False),
        "nanochat": _reads(rope_theta=10000),
        "nemotron": _reads(rope_theta=10000, rope_scaling=None, partial_rotary_factor=0.5,
            tie_word_embeddings=False),
        "nemotron-nas": _reads(rope_theta=500000, rope_scaling=None, tie_word_embeddings=False),
        "olmo": _reads(rope_theta=10000),
        "olmo2": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=True),
        "olmo3": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=False),
        "olmo_hybrid": _reads(_THETA, rope_theta=10000, tie_word_embeddings=REQUIRED),
        "olmoe": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=True),
        "phi": _reads(rope_theta=10000, partial_rotary_factor=0.4),
        "phi3": _reads(rope_theta=10000, rope_scaling=None, partial_rotary_factor=1,
            tie_word_embeddings=False),
        "phimoe": _reads(rope_theta=10000, rope_scaling=None),
        "plamo": _reads(rope_theta=10000),
        "plamo2": _reads(tie_word_embeddings=True),
        "plamo3": _reads(rope_theta=1000000, sliding_window_pattern=8, tie_word_embeddings=True),
        "prism_hadamard_qwen35": _reads(rope_theta=100000, rope_scaling=None,
            partial_rotary_factor=0.25, full_attention_interval=4, tie_word_embeddings=False),
        "qwen2": _reads(rope_theta=1000000, rope_scaling=None, tie_word_embeddings=True),
        "qwen2_moe": _reads(rope_theta=1000000, rope_scaling=None, tie_word_embeddings=False),
        "qwen3": _reads(_ALL, top_first=True, rope_theta=None, rope_scaling=None,
            tie_word_embeddings=REQUIRED),
        "qwen3_5": _reads(_ALL, rope_theta=100000, rope_scaling=None, partial_rotary_factor=0.25,
            full_attention_interval=4, tie_word_embeddings=False),
        "qwen3_moe": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=REQUIRED),
        "qwen3_next": _reads(rope_theta=REQUIRED, rope_scaling=None, partial_rotary_factor=REQUIRED,
            full_attention_interval=4, tie_word_embeddings=False),
        "recurrent_gemma": _reads(rope_theta=REQUIRED),
        "rwkv7": _reads(tie_word_embeddings=False),
        "seed_oss": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=True),
        "smollm3": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=True),
        "solar_open": _reads(rope_theta=REQUIRED, rope_scaling=None, partial_rotary_factor=REQUIRED,
            tie_word_embeddings=REQUIRED),
        "spark2_5": _reads(_ALL, tie_word_embeddings=True),
        "stablelm": _reads(rope_theta=REQUIRED, partial_rotary_factor=REQUIRED),
        "starcoder2": _reads(rope_theta=100000, tie_word_embeddings=True),
        "step3p5": _reads(rope_theta=10000, rope_scaling=None, tie_word_embeddings=False),
        "talkie": _reads(rope_theta=1000000),
        "telechat3": _reads(rope_theta=REQUIRED, rope_scaling=None, tie_word_embeddings=False),
        "youtu_llm": _reads(rope_theta=1600000, rope_scaling=None, tie_word_embeddings=True),
    }
)  # fmt: skip

"""JS008: fields of the configs whose type or value some loaders take and others do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from weighbridge.domain.artifact import ModelArtifact
from weighbridge.domain.detection import ADAPTER_CONFIG, CONFIG
from weighbridge.domain.findings import Location, Observation, Rule, Severity, Subject
from weighbridge.domain.peft.config import TASK_TYPES
from weighbridge.domain.token_settings import wrong_settings, wrong_specials
from weighbridge.domain.tokenizer import SPECIAL_TOKENS, TOKENIZER_CONFIG
from weighbridge.domain.transformers_fields import wanted_form

_MOST_SHOWN = 8
_GENERATION = "generation_config.json"
#: What is one number whatever the model; of others some families give a list, one for each layer.
_SINGLE = frozenset({"hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"})
_INTEGERS = _SINGLE | frozenset(
    {"num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "num_experts",
     "num_local_experts", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
     "n_layer", "n_head", "n_embd", "sliding_window", "num_layers", "lora_layers", "rank", "bits",
     "decoder_sparse_step", "group_size", "original_max_position_embeddings", "top_k",
     "max_new_tokens"}
)  # fmt: skip
#: What a model of it cannot be without.
_POSITIVE = _SINGLE | frozenset(
    {
        "decoder_sparse_step",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "n_layer",
        "n_head",
        "n_embd",
        "rank",
    }
)
#: What a result is multiplied by or divided by, or held below.
_FACTORS = (
    "attention_multiplier", "attn_logit_softcapping", "embedding_multiplier",
    "final_logit_softcapping", "logit_scale", "logits_scaling", "query_pre_attn_scalar",
    "residual_multiplier", "routed_scaling_factor", "scale_emb", "swiglu_limit", "swiglu_alpha",
)  # fmt: skip
_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "norm_eps", "norm_epsilon", "layer_norm_epsilon")
_DROPOUTS = ("dropout", "lora_dropout", "attention_dropout", "hidden_dropout", "residual_dropout",
             "embedding_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop")  # fmt: skip
_NUMBERS = frozenset(
    {*_EPSILONS, "rope_theta", "partial_rotary_factor", "initializer_range", "factor",
     "low_freq_factor", "high_freq_factor", "dropout",
     "lora_dropout", "temperature", "top_p", "repetition_penalty", "model_max_length"}
)  # fmt: skip
_FLAGS = frozenset(
    {"tie_word_embeddings", "use_cache", "mlp_bias", "do_sample", "use_dora", "use_rslora",
     "fan_in_fan_out"}
)  # fmt: skip
_WORDS = frozenset(
    {"model_type", "hidden_act", "torch_dtype", "dtype", "fine_tune_type", "tokenizer_class"}
)
_TOKENS = frozenset({"eos_token_id", "bos_token_id", "pad_token_id"})
_ROPE, _PACKING = ("rope_scaling", "rope_parameters"), ("quantization", "quantization_config")
_TABLES = frozenset(
    {*_ROPE, *_PACKING, "text_config", "lora_parameters", "rank_pattern", "alpha_pattern"}
)
_LISTS = frozenset({"keys", "modules_to_save", "architectures"})
#: The least and the most that a number can be.
_RANGES = {
    **dict.fromkeys(_EPSILONS, (1e-30, 0.1)),
    **dict.fromkeys((*_DROPOUTS, "partial_rotary_factor", "top_p"), (0, 1)),
    **dict.fromkeys(("factor", "repetition_penalty", *_FACTORS), (1e-9, 1e9)),
    **dict.fromkeys(("max_length", "max_new_tokens", "model_max_length"), (1, math.inf)),
    **dict.fromkeys(
        ("intermediate_size", "moe_intermediate_size", "num_experts", "num_local_experts",
         "n_routed_experts", "num_experts_per_tok"), (0, math.inf)),
    "rope_theta": (1, math.inf),
    "temperature": (0, math.inf),
    "top_k": (-1, math.inf),
}  # fmt: skip
#: What PEFT and transformers know; with any other word they raise.
_CHOICES = {
    "bias": ("none", "all", "lora_only"),
    "task_type": tuple(sorted(TASK_TYPES)),
    "padding_side": ("left", "right"),
}  # fmt: skip
#: What is never a list.
_OF_SAMPLING = frozenset({"temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens"})
_ALONE = _SINGLE | _FLAGS | _WORDS | _CHOICES.keys() | _OF_SAMPLING | {"model_max_length"}

#: What stands before the names, the fields, and the model type whose config class reads them.
_Fields: TypeAlias = tuple[str, Mapping[str, Any], str]


def _wrong_type(subject: Subject) -> Iterator[Observation]:
    """Half of the loaders fail on it; the others convert it, each in its own way, or build another
    model of it."""
    for document in subject.artifact.documents:
        for prefix, fields, model_type in _examined(document.path.text, document.object):
            for key, value in sorted(fields.items()):
                if wanted := wanted_form(model_type, key, value) or _wanted(key, value):
                    facts = {"value": repr(value)[:40], "wanted": wanted}
                    yield Observation(Location(document.path.text, prefix + key), facts)
    for path, key, value, wanted in islice(_wrong_tokens(subject.artifact), _MOST_SHOWN):
        yield Observation(Location(path, key), {"value": repr(value)[:40], "wanted": wanted})


def _wrong_tokens(artifact: ModelArtifact) -> Iterator[tuple[str, str, Any, str]]:
    """The special tokens that loaders take from the tokenizer's settings, or without a table of
    tokens in them from the map."""
    settings, specials = map(artifact.document, (TOKENIZER_CONFIG, SPECIAL_TOKENS))
    fields = settings.object if settings else {}
    yield from ((TOKENIZER_CONFIG, *wrong) for wrong in wrong_settings(fields))
    if specials and "added_tokens_decoder" not in fields:
        yield from ((SPECIAL_TOKENS, *wrong) for wrong in wrong_specials(specials.object))


def _examined(path: str, whole: Mapping[str, Any]) -> Iterator[_Fields]:
    """The fields that loaders read."""
    if path == CONFIG:
        # Falcon's config.json says whether its linear modules have a bias.
        whole = {k: v for k, v in whole.items() if k not in _OF_ADAPTERS_ALONE}
        named = str(whole.get("model_type"))
        yield from _below("", whole, "vision_config")
        for prefix, fields, _ in (("", whole, named), *_below("", whole, "text_config")):
            # The class of the whole chooses that of the text model.
            yield prefix, fields, str(fields.get("model_type", f"{named}_text"))
            for above, block, _ in _below(prefix, fields, *_ROPE, *_PACKING):
                yield above, block, ""
                yield from _below(above, block, *block)
    elif path == _GENERATION:
        yield "", whole, ""
    elif path == TOKENIZER_CONFIG:
        yield "", {k: v for k, v in whole.items() if k in _OF_TOKENIZERS}, ""
    elif path.rpartition("/")[2] == ADAPTER_CONFIG:
        # It has all of the trainer's command line, which is nobody's but the trainer's.
        yield "", {k: v for k, v in whole.items() if k in _OF_ADAPTERS}, ""
        yield from _below("", whole, "lora_parameters")


_OF_TOKENIZERS = frozenset({"model_max_length", "padding_side", "tokenizer_class", "chat_template"})
_OF_ADAPTERS = frozenset(
    {"num_layers", "lora_layers", "fine_tune_type", "lora_parameters", "lora_dropout", "use_dora",
     "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save", "bias",
     "task_type"}
)  # fmt: skip

_OF_ADAPTERS_ALONE = frozenset({"bias", "task_type"})


def _below(prefix: str, fields: Mapping[str, Any], *keys: str) -> Iterator[_Fields]:
    for key in keys:
        if isinstance(found := fields.get(key), dict):
            yield f"{prefix}{key}.", found, ""


def _wanted(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key == "pad_token_id" and isinstance(value, list):
        return "an integer"
    if key in _TOKENS:
        whole = all(map(_is_integer, value if isinstance(value, list) else [value]))
        return "" if whole else "an integer or a list of integers"
    if key in _TABLES:
        return "" if isinstance(value, dict) else "an object"
    if key in _LISTS:
        return "" if isinstance(value, list) else "a list"
    if key == "chat_template":
        return "" if _are_templates(value) else "a string, or a list of names and templates"
    return _wanted_alone(key, value)


def _are_templates(value: Any) -> bool:
    """One, or several by their names; transformers fails on anything else."""
    if isinstance(value, list):
        if not all(isinstance(one, dict) and one.get("name") is not None for one in value):
            return False
        value = {str(one["name"]): one.get("template") for one in value}
    if isinstance(value, dict):
        return bool(value) and all(isinstance(text, str) for text in value.values())
    return isinstance(value, str)


def _wanted_alone(key: str, value: Any) -> str:
    if isinstance(value, list) and key not in _ALONE:
        return ""
    if key in _INTEGERS and not _is_integer(value):
        return "an integer"
    if key in _POSITIVE and value < 1:
        return "a number above 0"
    if key in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
        return "a number"
    if key in _FLAGS and not isinstance(value, bool):
        return "true or false"
    if key in _WORDS and not isinstance(value, str):
        return "a string"
    if key in _CHOICES and value not in _CHOICES[key]:
        return f"one of {', '.join(_CHOICES[key])}"
    return _range(key, value)


def _range(key: str, value: Any) -> str:
    """What the number may be, if it is another."""
    least, most = _RANGES.get(key, (0, 0))
    if key not in _RANGES or not isinstance(value, int | float) or least <= value <= most:
        return ""
    return f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


RULES = (
    Rule("JS008", "wrong-type", Severity.ERROR, "is {value}, not {wanted}",
         "write a value that it can have, in its own type", _wrong_type),
)  # fmt: skip

"""How MLX module paths map to the Hugging Face checkpoint: one entry for each model type.

Evidence for each: values of MLX's weights matched to transformers' parameters, and for those that
the tests cover, logits of MLX and of transformers with PEFT compared.
"""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.placement import Architecture, Plain, Rule, Standing

_SAME = r"\g<0>"


def _same(pattern: str) -> Rule:
    return Rule(pattern, Plain(_SAME, _SAME))


_LLAMA_TREE = (
    _same(r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"),
    _same(r"lm_head|model\.embed_tokens"),
    _same(r"model\.(norm|layers\.\d+\.(self_attn\.[qk]_norm|\w+_layernorm))"),
)

#: For a base of unknown type: a module path that could only be of the Llama family's tree.
UNKNOWN = Architecture("unknown", Standing.NEEDS_BASE, rules=_LLAMA_TREE)


def _table() -> Iterator[Architecture]:
    for name in ("llama", "mistral", "qwen2", "qwen3", "olmo2", "gemma", "gemma2", "gemma3_text"):
        yield Architecture(name, Standing.CONVERTIBLE, rules=_LLAMA_TREE)


ARCHITECTURES = {entry.model_type: entry for entry in _table()}


def architecture_of(model_type: str | None) -> Architecture:
    """The entry of a base's ``model_type``; None is a base that is not at hand."""
    if model_type is None:
        return UNKNOWN
    missing = Architecture(model_type, Standing.REFUSED, "Weighbridge does not know")
    return ARCHITECTURES.get(model_type, missing)


#: Superseded by ``architecture_of``; goes when ``conversion`` asks for places.
SUPPORTED_TYPES = frozenset(ARCHITECTURES)


def unsupported_module(module: str) -> str | None:
    """Why that MLX module path cannot be mapped exactly; None if it can."""
    place = UNKNOWN.place(module)
    if module.endswith(("embed_tokens", "wte", "embeddings")):
        return "a LoRA on an embedding has no PEFT form that is right both merged and unmerged"
    if ".switch_mlp." in module or ".experts." in module:
        return "is a mixture-of-experts module"
    return None if isinstance(place, Plain) else "is not a module of the Llama family tree"

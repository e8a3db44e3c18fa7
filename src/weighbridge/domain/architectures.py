"""How MLX module paths map to the Hugging Face checkpoint, by architecture.

So far the Llama family of module trees, whose paths are the same on both sides. Evidence for each:
logits of MLX and of transformers with PEFT compared on models of that type.
"""

from __future__ import annotations

import re

#: ``model_type`` of a base's config.json whose module paths are identical in mlx-lm and
#: transformers.
SUPPORTED_TYPES = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "olmo2", "gemma", "gemma2", "gemma3_text"}
)

_LLAMA_TREE = re.compile(
    r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)|lm_head"
)


def unsupported_module(module: str) -> str | None:
    """Why that MLX module path cannot be mapped exactly; None if it can."""
    if _LLAMA_TREE.fullmatch(module):
        return None
    if module.endswith(("embed_tokens", "wte", "embeddings")):
        return "a LoRA on an embedding has no PEFT form that is right both merged and unmerged"
    if ".switch_mlp." in module or ".experts." in module:
        return "is a mixture-of-experts module"
    return "is not a module of the Llama family tree (self_attn.*_proj, mlp.*_proj, lm_head)"

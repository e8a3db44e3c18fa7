"""What a base model's name tells before anybody looks it up."""

from __future__ import annotations

import re

#: MLX's conversions end so, by custom of their makers.
_PACKED = re.compile(
    r".*[-_]([2-8](\.\d)?[-_]?(bit|bpw)|mxfp[48]|nvfp4|q[2-8])([-_](dwq|gs?\d+|mlx|awq|q[2-8]).*)?",
    re.IGNORECASE,
)
#: Other formats with such names, which transformers does load.
_OTHERS = re.compile(
    r"bnb|gptq|awq|gguf|int8|w4a16|hqq|exl[23]|aqlm|auto-?round|torchao|vptq|quip|eetq|compressed",
    re.IGNORECASE,
)
#: Who gives such names to formats of their own: small floats for other processors.
_MAKERS = re.compile(r"(nvidia|redhatai|neuralmagic|nm-testing|amd|intel|openai)/.*", re.IGNORECASE)
#: What GGUF's makers call theirs, too.
_SHARED = re.compile(r".*[-_]q[2-8]", re.IGNORECASE)


def looks_quantised(name: str) -> bool:
    """True if repositories of that name hold weights that MLX packed."""
    last = name.rpartition("/")[2]
    if _PACKED.fullmatch(last) is None:
        return False
    foreign = _OTHERS.search(last) or _SHARED.fullmatch(last) or _MAKERS.fullmatch(name)
    return foreign is None or "mlx" in name.lower()

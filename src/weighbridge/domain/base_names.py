"""What a base model's name tells before anybody looks it up."""

from __future__ import annotations

import re

#: MLX's conversions end so, by custom of their makers.
_PACKED = re.compile(r".*[-_]([2-8][-_]?bit|mxfp[48]|nvfp4)([-_](dwq|g\d+|mlx).*)?", re.IGNORECASE)
#: Other formats with such names, which transformers does load.
_OTHERS = re.compile(r"bnb|gptq|awq|gguf|int8|w4a16", re.IGNORECASE)


def looks_quantised(name: str) -> bool:
    """True if repositories of that name hold weights that MLX packed."""
    last = name.rpartition("/")[2]
    return _PACKED.fullmatch(last) is not None and _OTHERS.search(last) is None

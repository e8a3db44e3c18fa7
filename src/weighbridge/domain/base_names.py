"""What a base model's name tells before anybody looks it up."""

from __future__ import annotations

_QUANTISED = ("-2bit", "-3bit", "-4bit", "-5bit", "-6bit", "-8bit", "-mxfp4", "-mxfp8", "-nvfp4")


def looks_quantised(name: str) -> bool:
    """True if repositories of that name hold weights that MLX packed, by custom of their makers."""
    return name.rpartition("/")[2].lower().endswith(_QUANTISED)

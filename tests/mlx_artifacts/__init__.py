"""Artifacts made by the real tools: transformers, mlx-lm and the GGUF of SmolLM2; none by hand.

``bases`` builds tiny base models of a few families and ``architectures`` of all; ``training`` runs
mlx-lm's own entry points on them, ``smollm2`` unpacks a real small model, and ``cache`` keeps what
was made between test runs. The vendors are imported inside the functions, so that importing this
package costs nothing.
"""

from .architectures import CONFIGS, make_architecture
from .bases import FAMILIES, ROPE_THETA, make_base, tiny_base
from .cache import cached
from .smollm2 import smollm2_base
from .training import fuse, quantise, tiny_lora, train_lora

__all__ = [
    "CONFIGS",
    "FAMILIES",
    "ROPE_THETA",
    "cached",
    "fuse",
    "make_architecture",
    "make_base",
    "quantise",
    "smollm2_base",
    "tiny_base",
    "tiny_lora",
    "train_lora",
]

"""The Python API: typed, synchronous, no global state. A bad artifact gives a report or a typed
error; ``publish`` refuses before the first byte is sent.

What only some of these functions need is imported by them: all of it takes 0.2 s.
"""

from __future__ import annotations

from weighbridge.entrypoints.api.judging import inspect, load_policy, validate
from weighbridge.entrypoints.api.making import convert, dequantize, fuse, repair, verify
from weighbridge.entrypoints.api.moving import copy, pull
from weighbridge.entrypoints.api.pipelines import (
    convert_mlx_to_peft,
    detect_model_type,
    validate_model_artifacts,
)
from weighbridge.entrypoints.api.publishing import (
    diff,
    load_plan,
    log,
    plan,
    publish,
    rollback,
    verify_release,
)
from weighbridge.entrypoints.settings import Settings

__all__ = [
    "Settings",
    "convert",
    "convert_mlx_to_peft",
    "copy",
    "dequantize",
    "detect_model_type",
    "diff",
    "fuse",
    "inspect",
    "load_plan",
    "load_policy",
    "log",
    "plan",
    "publish",
    "pull",
    "repair",
    "rollback",
    "validate",
    "validate_model_artifacts",
    "verify",
    "verify_release",
]

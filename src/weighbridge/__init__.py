"""Weighbridge: the release gate for models fine-tuned with Apple MLX.

The public names are loaded when first used, so that ``import weighbridge`` stays light.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import would double the time of this one
if TYPE_CHECKING:
    from weighbridge import errors as errors
    from weighbridge.entrypoints.api import (
        convert as convert,
        convert_mlx_to_peft as convert_mlx_to_peft,
        copy as copy,
        dequantize as dequantize,
        detect_model_type as detect_model_type,
        diff as diff,
        fuse as fuse,
        inspect as inspect,
        load_plan as load_plan,
        load_policy as load_policy,
        log as log,
        plan as plan,
        publish as publish,
        pull as pull,
        repair as repair,
        rollback as rollback,
        validate as validate,
        validate_model_artifacts as validate_model_artifacts,
        verify as verify,
        verify_release as verify_release,
    )
    from weighbridge.entrypoints.settings import Settings as Settings

    __version__: str

__all__ = [
    "Settings",
    "convert",
    "convert_mlx_to_peft",
    "copy",
    "dequantize",
    "detect_model_type",
    "diff",
    "errors",
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


if not TYPE_CHECKING:  # or a checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("weighbridge")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "errors":
            from importlib import import_module

            return import_module("weighbridge.errors")
        from weighbridge.entrypoints import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

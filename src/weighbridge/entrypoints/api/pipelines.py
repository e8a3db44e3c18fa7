"""Drop-in functions of the pipeline that this project was born in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.domain.errors import InvalidModelStructure, StorageError, WeighbridgeError
from weighbridge.domain.models import Kind
from weighbridge.entrypoints.api.common import PathLike, container
from weighbridge.entrypoints.api.judging import inspect, validate
from weighbridge.entrypoints.api.making import convert

if TYPE_CHECKING:
    pass


def detect_model_type(path: PathLike) -> str:
    """``"lora"`` or ``"fused"``. Raises ValueError for anything else.

    A file that is there but broken does not change the type; validation says what is wrong with it.
    """
    from weighbridge.application.load import classify, read_artifact

    location = os.fspath(path)
    try:
        artifact = read_artifact(container(None).files(), location)
    except StorageError as error:
        raise InvalidModelStructure(location=location, problems=(str(error),)) from error
    kind = classify(artifact).kind
    if kind is Kind.PEFT:
        raise InvalidModelStructure(
            location=location,
            problems=("it is a PEFT adapter already, neither an MLX LoRA nor a fused model",),
            found=tuple(entry.path.text for entry in artifact.scan.files),
        )
    return str(kind.value)


def convert_mlx_to_peft(path: PathLike, *, base_model: str | None = None) -> Path:
    """Write ``<parent>/<name>_peft_converted/`` for a LoRA and return it; for a fused model return
    ``path`` and write nothing. An earlier conversion there is replaced, anything else is not."""
    source = Path(path)
    if detect_model_type(source) == "fused":
        return source
    # Beside the path as it was given, be it a link; only one that ends in no name is resolved.
    named = source if source.name not in ("", "..") else source.resolve()
    output = named.parent / f"{named.name}_peft_converted"
    convert(source, output, base_model=base_model, force=_is_peft(output))
    return output


def _is_peft(path: Path) -> bool:
    try:
        return inspect(path).kind is Kind.PEFT
    except WeighbridgeError:
        return False


def validate_model_artifacts(path: PathLike) -> Mapping[str, Any]:
    """The old contract: a dictionary with ``overall_valid``, ``checks``, ``errors``, ``warnings``.

    Never raises for a bad or missing directory. What a config says beyond being one, such as sizes
    that the tensors have not, is among the warnings: the old checks did not look at it.
    """
    from weighbridge.domain.findings import Severity
    from weighbridge.domain.policy.policy import Policy, SeverityChange
    from weighbridge.entrypoints.render.legacy import legacy_report

    milder = (SeverityChange(family, Severity.WARNING) for family in ("CF01", "CF02", "CF03"))
    policy = Policy(severities=tuple(milder))
    return legacy_report(os.fspath(path), lambda: validate(path, policy=policy))

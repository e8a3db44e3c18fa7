"""Saying what a directory is, and whether it is sound."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weighbridge.application.ports import Progress, no_progress
from weighbridge.domain.models import Kind
from weighbridge.entrypoints import options
from weighbridge.entrypoints.api.common import PathLike, container
from weighbridge.entrypoints.settings import Settings

if TYPE_CHECKING:
    from weighbridge.application.inspect import Inspection
    from weighbridge.domain.findings import FailOn, ValidationReport
    from weighbridge.domain.policy.policy import Policy


def inspect(
    path: PathLike,
    *,
    kind: str | Kind | None = None,
    checkpoint: int | None = None,
    settings: Settings | None = None,
) -> Inspection:
    """What the directory is. Raises InvalidModelStructure (a ValueError) if it is no model."""
    return container(settings).inspect()(os.fspath(path), options.choice(kind, checkpoint))


def validate(
    path: PathLike,
    *,
    kind: str | Kind | None = None,
    checkpoint: int | None = None,
    base: PathLike | None = None,
    base_model: str | None = None,
    scale: float | None = None,
    weights: bool | None = None,
    policy: Policy | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> ValidationReport:
    """Every finding of the directory that counts; never raises for a bad one.

    ``base`` is a directory with the base model's config.json, with which more is seen, and still
    more with its weights. ``base_model`` is its Hub id, ``scale`` what MLX multiplied by, if the
    config does not tell it. ``path`` may be ``hf://org/name``. Without ``weights``, which is so
    there if nothing is said, only headers and small files are read, and the report says what was
    passed over. ``policy`` is the catalogue's own, or
    comes from ``load_policy``.
    """
    from weighbridge.application.validate import ValidateRequest
    from weighbridge.domain.policy.policy import Policy

    settings = settings or Settings.from_environment()
    at_hand = options.base_directory(path, base, base_model, kind, settings)
    choice = options.choice(kind, checkpoint, bare=scale is not None)
    location = os.fspath(path)
    request = ValidateRequest(
        location,
        choice,
        at_hand,
        base_model,
        weights=not location.startswith("hf://") if weights is None else weights,
        scale=scale,
        base_weights=not (at_hand or "").startswith("hf://"),
        policy=policy or Policy(),
    )
    return container(settings).validate()(request, progress)


def load_policy(
    config: PathLike | None = None,
    *,
    baseline: PathLike | None = None,
    select: str | Sequence[str] = (),
    ignore: str | Sequence[str] = (),
    fail_on: str | FailOn | None = None,
    severity: str | Sequence[str] = (),
) -> Policy:
    """The policy of a weighbridge.toml or pyproject.toml, with what is said beside it.

    ``baseline`` is a file of ``validate --write-baseline``; ``severity`` has items CODE=LEVEL.
    Nothing is looked for: without ``config`` it is the catalogue's own. Raises UsageError for
    unknown keys, unknown rules and wrong types, StorageError if a file cannot be read.
    """
    from weighbridge.entrypoints import policy_files

    return policy_files.load_policy(
        config, baseline=baseline, select=select, ignore=ignore, fail_on=fail_on, severity=severity
    )

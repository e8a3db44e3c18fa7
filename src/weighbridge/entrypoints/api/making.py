"""Converting, correcting and merging, and proving it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from weighbridge.application.ports import Progress, no_progress
from weighbridge.domain.errors import UsageError
from weighbridge.domain.models import Kind
from weighbridge.entrypoints import options
from weighbridge.entrypoints.api.common import PathLike, container, keep_apart, text_of
from weighbridge.entrypoints.settings import Settings

if TYPE_CHECKING:
    from weighbridge.application.convert import Converted, Target
    from weighbridge.application.dequantise import Dequantised
    from weighbridge.application.fuse import Fused
    from weighbridge.application.ports import GgufType
    from weighbridge.application.repair import Repaired
    from weighbridge.domain.conversion import Profile
    from weighbridge.domain.proof import Proof, ProofLevel


def convert(
    path: PathLike,
    output: PathLike,
    *,
    base_model: str | None = None,
    scale: float | None = None,
    base: PathLike | None = None,
    profile: str | Profile = "portable",
    to: str | Target = "peft",
    outtype: str | GgufType = "f32",
    kind: str | Kind | None = None,
    checkpoint: int | None = None,
    force: bool = False,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Converted:
    """Write another form of a LoRA to ``output``, all or nothing, its algebra proved.

    ``to`` is peft (from MLX, in a ``profile``), mlx (from PEFT) or gguf (from either, with values
    of ``outtype``). Raises NotConvertible, ProofFailed, PathConflict if ``output`` exists and not
    ``force``.
    """
    from weighbridge.application.convert import ConvertRequest, Target, Wanted
    from weighbridge.application.ports import GgufType
    from weighbridge.domain.conversion import Profile

    settings = settings or Settings.from_environment()
    at_hand = options.base_directory(path, base, base_model, kind, settings)
    keep_apart(output, *(each for each in (path, at_hand) if each is not None))
    request = ConvertRequest(
        os.fspath(path),
        os.fspath(output),
        Wanted(base_model, at_hand, scale, options.word(profile, Profile, "profile")),
        options.choice(kind, checkpoint, bare=scale is not None),
        force,
        options.word(to, Target, "target"),
        options.word(outtype, GgufType, "type of a GGUF"),
    )
    services = container(settings)
    use = services.convert_gguf() if request.to is Target.GGUF else services.convert()
    done: Converted = use(request, progress)
    return done


def repair(
    path: PathLike,
    output: PathLike | None = None,
    *,
    original: PathLike | None = None,
    base_model: str | None = None,
    scale: float | None = None,
    base: PathLike | None = None,
    force: bool = False,
    dry_run: bool = False,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Repaired:
    """Write the PEFT adapter that the broken one in ``path`` was meant to be to ``output``.

    ``original`` is the MLX run that it was made from; with it the result is proved. Nothing is
    written under ``dry_run`` or if the adapter is sound. Raises NotRepairable with every defect and
    all that is missing to correct them, ProofFailed, OutputExists.
    """
    from weighbridge.application.repair_plan import RepairRequest

    settings = settings or Settings.from_environment()
    at_hand = options.base_directory(original or path, base, base_model, None, settings)
    if output is not None:
        keep_apart(output, *(each for each in (path, original, at_hand) if each is not None))
    request = RepairRequest(
        os.fspath(path),
        text_of(output),
        text_of(original),
        at_hand,
        base_model,
        scale,
        force,
        dry_run,
    )
    return container(settings).repair()(request, progress)


def verify(
    path: PathLike,
    converted: PathLike,
    *,
    base: PathLike | None = None,
    full_base: PathLike | None = None,
    scale: float | None = None,
    require: str | ProofLevel | None = None,
    up_to: str | ProofLevel | None = None,
    kind: str | Kind | None = None,
    checkpoint: int | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Proof:
    """The proof that ``converted`` is ``path``, at every level that is possible here.

    ``converted`` is a PEFT adapter, or a model that the LoRA was fused into: then ``base`` is
    needed with its weights, and the proof tells how much of the change is in the fused ones.

    If ``base`` is quantised by MLX, the logits are compared on its unpacked weights; with
    ``full_base``, the full-precision original, the gap to that is reported beside.

    ``passed`` of the proof is the verdict; raises ProofFailed only if ``require`` is not reached.
    No level above ``up_to`` is attempted.
    """
    from weighbridge.application.verify import VerifyRequest

    settings = settings or Settings.from_environment()
    at_hand = options.base_directory(converted, base, None, None, settings)
    at_hand = at_hand or options.base_directory(path, None, None, kind, settings)
    request = VerifyRequest(
        os.fspath(path),
        os.fspath(converted),
        at_hand,
        scale,
        options.choice(kind, checkpoint, bare=scale is not None),
        options.level(require),
        options.proof_limit(up_to, require),
        full_base=text_of(full_base),
    )
    return container(settings).verify()(request, progress)


def fuse(
    path: PathLike,
    output: PathLike,
    *,
    base: PathLike | None = None,
    base_model: str | None = None,
    scale: float | None = None,
    kind: str | Kind | None = None,
    checkpoint: int | None = None,
    force: bool = False,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Fused:
    """Write the base model with the run's LoRA, DoRA or full fine-tune merged in, all or nothing.

    ``base`` is the unquantised base's directory, else its snapshot in the Hugging Face cache is
    used if it is there. Raises NotConvertible, ProofFailed, OutputExists if not ``force``.
    """
    from weighbridge.application.fuse import FuseRequest

    settings = settings or Settings.from_environment()
    at_hand = options.base_directory(path, base, base_model, kind, settings)
    if at_hand is None:
        raise UsageError(problem="the base's weights are needed; give --base DIR")
    keep_apart(output, path, at_hand)
    choice = options.choice(kind, checkpoint, bare=scale is not None)
    request = FuseRequest(os.fspath(path), at_hand, os.fspath(output), scale, choice, force)
    return container(settings).fuse()(request, progress)


def dequantize(
    path: PathLike,
    output: PathLike,
    *,
    shard_bytes: int = 5_000_000_000,
    kind: str | Kind | None = None,
    force: bool = False,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Dequantised:
    """Write a fused MLX model as a checkpoint that transformers loads, all or nothing.

    Files of weights hold at most ``shard_bytes``. Raises NotConvertible, ProofFailed, OutputExists
    if not ``force``.
    """
    from weighbridge.application.dequantise import DequantiseRequest

    if shard_bytes < 1:
        raise UsageError(problem=f"a shard of {shard_bytes} bytes holds nothing")
    keep_apart(output, path)
    request = DequantiseRequest(
        os.fspath(path), os.fspath(output), shard_bytes, options.kind(kind), force
    )
    return container(settings).dequantize()(request, progress)

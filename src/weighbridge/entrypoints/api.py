"""The Python API: typed, synchronous, no global state. A bad artifact gives a report or a typed
error; ``publish`` refuses before the first byte is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from weighbridge.application.ports import Progress, no_progress
from weighbridge.domain.errors import (
    InvalidModelStructure,
    StorageError,
    UsageError,
    WeighbridgeError,
)
from weighbridge.domain.models import Kind
from weighbridge.entrypoints import options
from weighbridge.entrypoints.settings import Settings

# What only some of these functions need is imported by them: all of it takes 0.2 s.
if TYPE_CHECKING:
    from weighbridge.application.compare import Comparison
    from weighbridge.application.convert import Converted, Target
    from weighbridge.application.copy import Copied
    from weighbridge.application.dequantise import Dequantised
    from weighbridge.application.fuse import Fused
    from weighbridge.application.history import RolledBack
    from weighbridge.application.inspect import Inspection
    from weighbridge.application.ports import GgufType
    from weighbridge.application.publish import PublishOutcome
    from weighbridge.application.pull import Pulled
    from weighbridge.application.repair import Repaired
    from weighbridge.application.verify_release import ReleaseVerdict
    from weighbridge.domain.conversion import Profile
    from weighbridge.domain.findings import FailOn, ValidationReport
    from weighbridge.domain.policy.policy import Policy
    from weighbridge.domain.proof import Proof, ProofLevel
    from weighbridge.domain.publication import Destination, Revision
    from weighbridge.domain.signature import Identity
    from weighbridge.entrypoints.container import Container
    from weighbridge.entrypoints.saved_plans import SavedPlan

PathLike: TypeAlias = "str | os.PathLike[str]"


def _container(settings: Settings | None) -> Container:
    from weighbridge.entrypoints.container import build  # dependency-injector takes 60 ms

    return build(settings)


def _path(path: PathLike | None) -> str | None:
    return None if path is None else os.fspath(path)


def inspect(
    path: PathLike,
    *,
    kind: str | Kind | None = None,
    checkpoint: int | None = None,
    settings: Settings | None = None,
) -> Inspection:
    """What the directory is. Raises InvalidModelStructure (a ValueError) if it is no model."""
    return _container(settings).inspect()(os.fspath(path), options.choice(kind, checkpoint))


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
    return _container(settings).validate()(request, progress)


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
    _keep_apart(output, *(each for each in (path, at_hand) if each is not None))
    request = ConvertRequest(
        os.fspath(path),
        os.fspath(output),
        Wanted(base_model, at_hand, scale, options.word(profile, Profile, "profile")),
        options.choice(kind, checkpoint, bare=scale is not None),
        force,
        options.word(to, Target, "target"),
        options.word(outtype, GgufType, "type of a GGUF"),
    )
    services = _container(settings)
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
        _keep_apart(output, *(each for each in (path, original, at_hand) if each is not None))
    request = RepairRequest(
        os.fspath(path), _path(output), _path(original), at_hand, base_model, scale, force, dry_run
    )
    return _container(settings).repair()(request, progress)


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
        full_base=_path(full_base),
    )
    return _container(settings).verify()(request, progress)


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
    _keep_apart(output, path, at_hand)
    choice = options.choice(kind, checkpoint, bare=scale is not None)
    request = FuseRequest(os.fspath(path), at_hand, os.fspath(output), scale, choice, force)
    return _container(settings).fuse()(request, progress)


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
    _keep_apart(output, path)
    request = DequantiseRequest(
        os.fspath(path), os.fspath(output), shard_bytes, options.kind(kind), force
    )
    return _container(settings).dequantize()(request, progress)


def _keep_apart(output: PathLike, *sources: PathLike) -> None:
    """Raises UsageError if replacing the output would remove what it is made from.

    Nor may it be empty, as an unset variable is: that would be the working directory.
    """
    if not os.fspath(output):
        raise UsageError(problem="the output is an empty path")
    for source in sources:
        # Given the run, what is read is in its adapters directory.
        for read in (Path(source), Path(source, "adapters")):
            found = read.resolve()
            if any(options.same_file(output, each) for each in (found, *found.parents)):
                raise UsageError(problem=f"{os.fspath(output)} is, or holds, what is read: {found}")


def plan(
    path: PathLike,
    to: str | os.PathLike[str] | Destination,
    *,
    name: str | None = None,
    branch: str | None = None,
    base_model: str | None = None,
    base: PathLike | None = None,
    scale: float | None = None,
    profile: str | Profile = "portable",
    kind: str | Kind | None = None,
    checkpoint: int | None = None,
    public: bool = False,
    require_proof: str | ProofLevel | None = None,
    prove_up_to: str | ProofLevel | None = None,
    licence: str | None = None,
    message: str = "Publish with Weighbridge",
    tags: Sequence[str] = (),
    move_tag: bool = False,
    pull_request: bool = False,
    sign_key: PathLike | None = None,
    output: PathLike | None = None,
    policy: Policy | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> SavedPlan:
    """Do everything that ``publish`` does before it sends a byte; ``publish(plan=...)`` does the
    rest, now or, if it is written to the file ``output``, later.

    The arguments are those of ``publish``. ``plan.does_nothing`` of the result says if there is
    nothing to do, ``outcome`` has the report and the proof.
    """
    from weighbridge.entrypoints.policy_files import require_writable
    from weighbridge.entrypoints.saved_plans import Wishes, plan_publication

    if output is not None:
        require_writable(os.fspath(output), os.fspath(path))
    wishes = Wishes.said(
        path, to, name=name, branch=branch, base_model=base_model, base=_path(base), scale=scale,
        profile=profile, kind=kind, checkpoint=checkpoint, public=public,
        require_proof=require_proof, prove_up_to=prove_up_to, licence=licence, message=message,
        tags=tags, move_tag=move_tag, pull_request=pull_request, sign_key=_path(sign_key),
    )  # fmt: skip
    made = plan_publication(wishes, settings or Settings.from_environment(), policy, progress)
    if output is not None:
        made.save(os.fspath(output))
    return made


def load_plan(path: PathLike) -> SavedPlan:
    """A plan that was written by ``plan``. Raises UsageError if it is none, StorageError."""
    from weighbridge.entrypoints.saved_plans import load

    return load(os.fspath(path))


def publish(
    path: PathLike | None = None,
    to: str | os.PathLike[str] | Destination | None = None,
    *,
    plan: SavedPlan | PathLike | None = None,
    name: str | None = None,
    branch: str | None = None,
    base_model: str | None = None,
    base: PathLike | None = None,
    scale: float | None = None,
    profile: str | Profile = "portable",
    kind: str | Kind | None = None,
    checkpoint: int | None = None,
    public: bool = False,
    dry_run: bool = False,
    require_proof: str | ProofLevel | None = None,
    prove_up_to: str | ProofLevel | None = None,
    licence: str | None = None,
    message: str = "Publish with Weighbridge",
    tags: Sequence[str] = (),
    move_tag: bool = False,
    pull_request: bool = False,
    policy: Policy | None = None,
    sign_key: PathLike | None = None,
    sign_keyless: bool = False,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> PublishOutcome:
    """Validate, convert, prove, publish as one revision, and read it back.

    ``to`` is ``hf://org/name[@revision]``, ``oci://host/repository[:tag]``,
    ``s3://bucket/prefix[@revision]``, or a directory together with ``name``; ``branch`` is another
    way to say the revision. The proof uses ``base``, else the base model's snapshot in the
    Hugging Face cache if it is there; ``prove_up_to`` ends it at a level, as where the base itself
    is another function in the two stacks. ``policy`` is that of ``validate``; without one every
    error blocks. ``tags`` are set once it is read back, and stay where they are without
    ``move_tag``. ``sign_key`` is a file with an elliptic curve's private key: the release is signed
    with it. The passphrase of one that has one is ``settings.passphrase``. ``sign_keyless`` signs
    by Sigstore as whoever runs this, for everybody to see.

    With ``plan``, from ``weighbridge.plan`` or its file, exactly that is published: raises
    ArtifactChanged if a byte is another now, RevisionConflict if the head is. All is checked again,
    since a plan is no permission; what else is said then is ``policy``, ``settings``, ``progress``,
    and ``sign_keyless``.
    """
    from weighbridge.entrypoints.saved_plans import Wishes, apply, as_plan, publish_now

    settings = settings or Settings.from_environment()
    if plan is not None:
        if path is not None or to is not None or dry_run:
            raise UsageError(problem="a plan says what goes where; give nothing beside it")
        return apply(as_plan(plan), settings, policy, progress, keyless=sign_keyless)
    if path is None or to is None:
        raise UsageError(problem="what to publish and where is needed, or a plan")
    wishes = Wishes.said(
        path, to, name=name, branch=branch, base_model=base_model, base=_path(base), scale=scale,
        profile=profile, kind=kind, checkpoint=checkpoint, public=public,
        require_proof=require_proof, prove_up_to=prove_up_to, licence=licence, message=message,
        tags=tags, move_tag=move_tag, pull_request=pull_request, sign_key=_path(sign_key),
    )  # fmt: skip
    return publish_now(wishes, settings, policy, progress, dry_run=dry_run, keyless=sign_keyless)


def _place(destination: str | os.PathLike[str] | Destination, name: str | None) -> Destination:
    from weighbridge.domain.publication import parse_destination, parse_revision

    if not isinstance(destination, str | os.PathLike):
        return destination
    text = os.fspath(destination)
    # A directory may have an @ in its own name.
    return (parse_destination if os.path.isdir(text) else parse_revision)(text, name)


def log(
    destination: str | os.PathLike[str] | Destination,
    *,
    name: str | None = None,
    limit: int = 20,
    settings: Settings | None = None,
) -> tuple[Revision, ...]:
    """The publications of a destination, newest first. Raises DestinationMissing if there are
    none."""
    found: tuple[Revision, ...] = _container(settings).log()(_place(destination, name), limit)
    return found


def diff(
    before: str | os.PathLike[str] | Destination,
    after: str | os.PathLike[str] | Destination,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """What differs between two published revisions, in files and in weights.

    Each is ``hf://org/name@revision``, or ``directory@revision`` with ``name``; a revision is an
    id, a tag or a branch. Only what differs is read, in chunks.
    """
    done: Comparison = _container(settings).diff()(
        _place(before, name), _place(after, name), progress
    )
    return done


def verify_release(
    source: str | os.PathLike[str] | Destination,
    *,
    name: str | None = None,
    key: PathLike | None = None,
    identity: str | None = None,
    identity_issuer: str | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> ReleaseVerdict:
    """Whether a release is what its statement, and with a public ``key`` its signature, say.

    For a signature without a key, ``identity`` is whom its certificate has to name and
    ``identity_issuer`` the address of the identity provider.
    ``source`` is a destination as for :func:`publish`, or a directory that holds a release.
    """
    where = os.fspath(source) if isinstance(source, os.PathLike) else source
    if isinstance(where, str) and (name is not None or "://" in where):
        where = _place(where, name)
    settings = settings or Settings.from_environment()
    use = _container(settings).verify_release()
    who = _identity(identity, identity_issuer)
    return use(where, key=_path(key), identity=who, progress=progress)


def _identity(name: str | None, issuer: str | None) -> Identity | None:
    from weighbridge.domain.signature import Identity

    if (name is None) is not (issuer is None):
        raise UsageError(problem="who signed is known by an identity and its issuer, both")
    return None if name is None or issuer is None else Identity(name, issuer)


def rollback(
    destination: str | os.PathLike[str] | Destination,
    to: str,
    *,
    name: str | None = None,
    message: str = "",
    dry_run: bool = False,
    settings: Settings | None = None,
) -> RolledBack:
    """Make a destination hold again what its revision ``to`` holds, as one revision that is read
    back; no large file is sent. Raises DestinationMissing, RevisionConflict."""
    done: RolledBack = _container(settings).rollback()(
        _place(destination, name), to, message=message, dry_run=dry_run
    )
    return done


def pull(
    source: str | os.PathLike[str] | Destination,
    output: PathLike,
    *,
    name: str | None = None,
    force: bool = False,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Pulled:
    """Write what ``source`` holds to the directory ``output``, all or nothing, digests verified.

    ``source`` is spelled as a destination of ``publish``. Raises ContentMismatch if other bytes
    come than were announced, OutputExists if not ``force``, DestinationMissing.
    """
    from weighbridge.application.pull import PullRequest

    _keep_apart(output)
    request = PullRequest(_place(source, name), os.fspath(output), force)
    return _container(settings).pull()(request, progress)


def copy(
    source: str | os.PathLike[str] | Destination,
    to: str | os.PathLike[str] | Destination,
    *,
    source_name: str | None = None,
    name: str | None = None,
    public: bool = False,
    dry_run: bool = False,
    message: str | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Copied:
    """Publish at ``to`` what ``source`` holds, as it is, as one revision, and read it back.

    ``source_name`` and ``name`` go with directory registries. Raises VisibilityMismatch if the
    destination is public and not ``public``, RevisionConflict, and the rest of RegistryError.
    """
    from weighbridge.application.copy import CopyRequest
    from weighbridge.domain.logins import public_message

    request = CopyRequest(
        _place(source, source_name),
        _destination(to, name),
        public,
        dry_run,
        public_message(message) if message else None,
    )
    return _container(settings).copy()(request, progress)


def _destination(place: str | os.PathLike[str] | Destination, name: str | None) -> Destination:
    from weighbridge.domain.publication import parse_destination

    if isinstance(place, str | os.PathLike):
        return parse_destination(os.fspath(place), name)
    return place


# --- drop-in functions of the pipeline that this project was born in ----------------------------


def detect_model_type(path: PathLike) -> str:
    """``"lora"`` or ``"fused"``. Raises ValueError for anything else.

    A file that is there but broken does not change the type; validation says what is wrong with it.
    """
    from weighbridge.application.load import classify, read_artifact

    location = os.fspath(path)
    try:
        artifact = read_artifact(_container(None).files(), location)
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

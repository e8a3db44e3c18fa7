"""Plan, publish, look back and roll back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weighbridge.application.ports import Progress, no_progress
from weighbridge.domain.errors import UsageError
from weighbridge.domain.models import Kind
from weighbridge.entrypoints.api.common import PathLike, container, place, text_of
from weighbridge.entrypoints.settings import Settings

if TYPE_CHECKING:
    from weighbridge.application.compare import Comparison
    from weighbridge.application.history import RolledBack
    from weighbridge.application.publish import PublishOutcome
    from weighbridge.application.verify_release import ReleaseVerdict
    from weighbridge.domain.conversion import Profile
    from weighbridge.domain.policy.policy import Policy
    from weighbridge.domain.proof import ProofLevel
    from weighbridge.domain.publication import Destination, Revision
    from weighbridge.domain.signature import Identity
    from weighbridge.entrypoints.saved_plans import SavedPlan


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

    The arguments are those of ``publish``. The result's ``plan.does_nothing`` says if there is
    nothing to do, its ``outcome`` has the report and the proof.
    """
    from weighbridge.entrypoints.policy_files import require_writable
    from weighbridge.entrypoints.saved_plans import Wishes, plan_publication

    if output is not None:
        require_writable(os.fspath(output), os.fspath(path))
    wishes = Wishes.said(
        path, to, name=name, branch=branch, base_model=base_model, base=text_of(base), scale=scale,
        profile=profile, kind=kind, checkpoint=checkpoint, public=public,
        require_proof=require_proof, prove_up_to=prove_up_to, licence=licence, message=message,
        tags=tags, move_tag=move_tag, pull_request=pull_request, sign_key=text_of(sign_key),
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
        path, to, name=name, branch=branch, base_model=base_model, base=text_of(base), scale=scale,
        profile=profile, kind=kind, checkpoint=checkpoint, public=public,
        require_proof=require_proof, prove_up_to=prove_up_to, licence=licence, message=message,
        tags=tags, move_tag=move_tag, pull_request=pull_request, sign_key=text_of(sign_key),
    )  # fmt: skip
    return publish_now(wishes, settings, policy, progress, dry_run=dry_run, keyless=sign_keyless)


def log(
    destination: str | os.PathLike[str] | Destination,
    *,
    name: str | None = None,
    limit: int = 20,
    settings: Settings | None = None,
) -> tuple[Revision, ...]:
    """The publications of a destination, newest first. Raises DestinationMissing if there are
    none."""
    found: tuple[Revision, ...] = container(settings).log()(place(destination, name), limit)
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
    done: Comparison = container(settings).diff()(place(before, name), place(after, name), progress)
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
        where = place(where, name)
    settings = settings or Settings.from_environment()
    use = container(settings).verify_release()
    who = _identity(identity, identity_issuer)
    return use(where, key=text_of(key), identity=who, progress=progress)


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
    done: RolledBack = container(settings).rollback()(
        place(destination, name), to, message=message, dry_run=dry_run
    )
    return done

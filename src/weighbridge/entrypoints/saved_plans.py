"""A plan as a file: what was asked for, from which bytes, and what would change.

Decides what of a request is written down: what the caller said, as it was said, so that the file
holds no path that was found, and no token. A plan is no permission: everything is judged and proved
again when it is carried out, under the policy of then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import asdict, evolve, field, fields, frozen

from weighbridge.application.convert import Wanted
from weighbridge.application.ports import Progress
from weighbridge.application.publish import Planned, PublishOutcome, PublishRequest
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.conversion import Profile
from weighbridge.domain.errors import PathMissing, StorageDenied, UsageError
from weighbridge.domain.logins import public_message
from weighbridge.domain.policy.policy import Policy
from weighbridge.domain.publication import (
    Change,
    Destination,
    LocalRegistry,
    PublicationPlan,
    on_branch,
    parse_destination,
    tag_name,
)
from weighbridge.domain.strict_json import StrictJsonError, parse_object

if TYPE_CHECKING:
    from weighbridge.entrypoints.settings import Settings

SCHEMA = "weighbridge/plan/1"
_MOST_BYTES = 64 << 20
_T = TypeVar("_T")


@frozen
class Wishes:
    """The arguments of a publication, as plain values."""

    location: str
    to: str
    name: str | None = None
    branch: str | None = None
    base_model: str | None = None
    base: str | None = None
    scale: float | None = None
    profile: str = "portable"
    kind: str | None = None
    checkpoint: int | None = None
    public: bool = False
    require_proof: str | None = None
    prove_up_to: str | None = None
    licence: str | None = None
    message: str = ""
    tags: tuple[str, ...] = ()
    move_tag: bool = False
    pull_request: bool = False
    sign_key: str | None = None

    @classmethod
    def said(
        cls,
        path: str | os.PathLike[str],
        to: str | os.PathLike[str] | Destination,
        *,
        name: str | None,
        tags: Sequence[str],
        **options: Any,
    ) -> Wishes:
        """From the arguments of a call; values of our own types become their words."""
        if isinstance(to, LocalRegistry):
            where, name = to.root, f"{to.name}@{to.revision}"
        else:
            where = os.fspath(to) if isinstance(to, str | os.PathLike) else str(to)
        words = {key: _word(value) for key, value in options.items()}
        listed = (tags,) if isinstance(tags, str) else tuple(tags)
        return cls(os.fspath(path), where, name, tags=listed, **words)

    @property
    def destination(self) -> Destination:
        """Where it goes. Raises UsageError."""
        place = parse_destination(self.to, self.name)
        return place if self.branch is None else on_branch(place, self.branch)

    def request(self, settings: Settings, policy: Policy | None) -> PublishRequest:
        """What the use case is asked for; the base model is looked for now."""
        from weighbridge.entrypoints import options

        if self.tags and self.pull_request:
            raise UsageError(problem="a pull request is not tagged before it is merged")
        destination = self.destination
        if isinstance(destination, LocalRegistry):
            options.keep_outside(destination.root, self.location)
        base = options.base_directory(
            self.location, self.base, self.base_model, self.kind, settings
        )
        base = options.pinned(base, settings)
        profile = options.word(self.profile, Profile, "profile")
        return PublishRequest(
            location=self.location,
            destination=destination,
            wanted=Wanted(self.base_model, base, self.scale, profile),
            choice=options.choice(self.kind, self.checkpoint, bare=self.scale is not None),
            public=self.public,
            require=options.level(self.require_proof),
            limit=options.proof_limit(self.prove_up_to, self.require_proof),
            licence=self.licence,
            message=public_message(self.message),
            policy=policy or Policy(),
            tags=tuple(map(tag_name, self.tags)),
            move_tags=self.move_tag,
            pull_request=self.pull_request,
            sign_key=self.sign_key,
        )


def _word(value: Any) -> Any:
    if isinstance(value, Enum):
        return getattr(value, "label", value.value)
    return value


@frozen
class SavedPlan:
    """What would be done, and all that is needed to do just that. ``outcome`` has the report and
    the proof, unless the plan comes from a file."""

    wishes: Wishes
    source: Manifest
    plan: PublicationPlan
    outcome: PublishOutcome | None = field(default=None, eq=False, repr=False)

    def save(self, path: str) -> None:
        """Write it, whole or not at all. Raises StorageError, UsageError if the file would be in
        the artifact."""
        from weighbridge.entrypoints.policy_files import write_text
        from weighbridge.entrypoints.render.json import dumps
        from weighbridge.entrypoints.render.publication_json import saved_plan

        write_text(path, dumps(saved_plan(self)) + "\n", self.wishes.location)


def plan_publication(
    wishes: Wishes, settings: Settings, policy: Policy | None, progress: Progress
) -> SavedPlan:
    """Everything but the sending."""
    done = publish_now(wishes, settings, policy, progress, dry_run=True)
    return SavedPlan(wishes, done.report.manifest, done.plan, done)


def publish_now(
    wishes: Wishes,
    settings: Settings,
    policy: Policy | None,
    progress: Progress,
    *,
    dry_run: bool,
    keyless: bool = False,
) -> PublishOutcome:
    """Without a plan of before. ``keyless``: whoever runs this signs."""
    if keyless and dry_run:
        raise UsageError(
            problem="a signature without a key is made, and logged, when it is published: leave it "
            "out of what only plans"
        )
    return _carry_out(
        evolve(wishes.request(settings, policy), dry_run=dry_run, keyless=keyless),
        settings,
        progress,
    )


def apply(
    saved: SavedPlan,
    settings: Settings,
    policy: Policy | None,
    progress: Progress,
    *,
    keyless: bool = False,
) -> PublishOutcome:
    """Exactly what the plan says, and with ``keyless`` a signature by whoever runs this. Raises
    ArtifactChanged, RevisionConflict."""
    request = saved.wishes.request(settings, policy)
    planned = Planned(saved.plan, saved.source)
    return _carry_out(evolve(request, planned=planned, keyless=keyless), settings, progress)


def _carry_out(request: PublishRequest, settings: Settings, progress: Progress) -> PublishOutcome:
    from weighbridge.entrypoints.container import build

    if request.keyless and request.sign_key is not None:
        raise UsageError(problem="sign with a key or without one, not both")
    return build(settings).publish()(request, progress)


def as_plan(plan: SavedPlan | str | os.PathLike[str]) -> SavedPlan:
    """The plan itself, or that of a file."""
    return plan if isinstance(plan, SavedPlan) else load(os.fspath(plan))


# --- the file -------------------------------------------------------------------------------------


def written(wishes: Wishes) -> dict[str, Any]:
    """The options of a plan's document."""
    return {**asdict(wishes), "tags": list(wishes.tags)}


def load(path: str) -> SavedPlan:
    """A plan from its file. Raises UsageError if it is none, StorageError if it cannot be read."""
    try:
        file = Path(path)
        if file.stat().st_size > _MOST_BYTES:
            raise UsageError(problem=f"{path} is no plan: it has more than {_MOST_BYTES} bytes")
        raw = file.read_bytes()
    except FileNotFoundError as error:
        raise PathMissing(path=path, operation="reading the plan") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageDenied(path=path, operation="reading the plan", reason=reason) from error
    try:
        return _parsed(parse_object(raw))
    except StrictJsonError as error:
        raise UsageError(problem=f"{path} is no plan: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(problem=f"{path} is no plan of this version: {told}") from error


def _parsed(document: Mapping[str, Any]) -> SavedPlan:
    if document["schema"] != SCHEMA:
        raise ValueError(f"its schema is {document['schema']!r}, not {SCHEMA}")
    wishes = _wishes(document["options"])
    return SavedPlan(wishes, _manifest(document["source"]), _plan(document["plan"], wishes))


def _wishes(options: Mapping[str, Any]) -> Wishes:
    known = {f.name: f for f in fields(Wishes)}
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{', '.join(unknown)} is unknown")
    for name, value in options.items():
        if not isinstance(value, _TYPES[str(known[name].type)]):
            raise ValueError(f"{name} cannot be {value!r}")
    tags = tuple(_is(str, tag) for tag in options["tags"])
    return Wishes(**{**options, "tags": tags})


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
    "float | None": (float, int, type(None)),
    "tuple[str, ...]": (list,),
}


def _is(kind: type[_T], value: Any) -> _T:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r} is not what belongs there")
    return value


def _or_none(read: Callable[[Any], _T], value: Any) -> _T | None:
    return None if value is None else read(value)


def _manifest(files: Sequence[Mapping[str, Any]]) -> Manifest:
    return Manifest(
        ManifestEntry(
            ArtifactPath(each["path"]),
            _is(int, each["size"]),
            _digests(each["digests"]),
        )
        for each in files
    )


def _digests(said: Mapping[str, Any]) -> tuple[Digest, ...]:
    if not said:
        raise ValueError("a file has no digest")
    return tuple(Digest(name, _is(str, value)) for name, value in said.items())


def _plan(document: Mapping[str, Any], wishes: Wishes) -> PublicationPlan:
    return PublicationPlan(
        wishes.destination,
        _manifest(document["files"]),
        _or_none(_text, document["parent"]),
        tuple(map(_change, document["changes"])),
        _is(bool, document["private"]),
        _or_none(_text, document["start"]),
        tuple((_text(each["name"]), _or_none(_text, each["now"])) for each in document["tags"]),
        _is(bool, document["pull_request"]),
    )


def _text(value: Any) -> str:
    return _is(str, value)


def _change(each: Mapping[str, Any]) -> Change:
    if each["action"] not in ("add", "change", "keep", "remove"):
        raise ValueError(f"{each['action']!r} is no action")
    return Change(
        each["action"],
        ArtifactPath(each["path"]),
        _is(int, each["size"]),
        _or_none(_digest, each["digest"]),
        _or_none(_digest, each["before"]),
    )


def _digest(text: str) -> Digest:
    algorithm, _, value = _text(text).partition(":")
    return Digest(algorithm, value)

"""Where a model may go, what would change there, and what came of it. Pure values and decisions.

The plan is a value: adapters carry it out, ``--dry-run`` prints it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from attrs import evolve, frozen

from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import RevisionConflict, TagTaken, UsageError, VisibilityMismatch
from weighbridge.domain.logins import require_no_login

_REPO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})")
#: Ways to say where a model is published.
SPELLINGS = (
    "hf://org/name[@revision], oci://host[:port]/repository[:tag], s3://bucket/prefix[@revision], "
    "or a directory with --name org/name"
)
# As git has it: https://git-scm.com/docs/git-check-ref-format
_REVISION = re.compile(
    r"(?!.*(\.\.|//|/\.|\.lock(/|\Z)))[A-Za-z0-9][A-Za-z0-9._/-]{0,126}(?<![/.])"
)

# Whoever looks such a name up would get a commit, or the tag in its place.
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")
_OCI = re.compile(
    r"(?P<host>([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:(?P<port>[0-9]{1,5}))?)"
    r"/(?P<name>[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MOST_PORT = 65535
#: Digits of an id or digest that are shown where there is no need of all.
SHORT = 12
_DIGEST = re.compile(r"sha256:[0-9a-f]{7,64}")
_BEGINNING = re.compile(r"(?:sha256:)?[0-9a-f]{7,63}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# What every server and tool takes in a key without quoting it.
_S3_PART = re.compile(r"[A-Za-z0-9!_.*'()-]+")


@frozen
class HubRepo:
    """A model repository on the Hugging Face Hub or a server that speaks its protocol."""

    name: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hf://{self.name}" + ("" if self.revision == "main" else f"@{self.revision}")


@frozen
class LocalRegistry:
    """A model in a directory registry: ``root`` is a Hugging Face cache directory."""

    root: str
    name: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{self.root}:{self.name}@{self.revision}"


@frozen
class OciRepo:
    """A repository in an OCI registry. ``revision`` is a tag, or a digest for reading."""

    host: str
    name: str
    revision: str = "latest"

    @property
    def is_tag(self) -> bool:
        """Whether something may be published there; a digest names what is there already."""
        return ":" not in self.revision

    def __str__(self) -> str:
        return f"oci://{self.host}/{self.name}{':' if self.is_tag else '@'}{self.revision}"


@frozen
class S3Prefix:
    """A model below a prefix of a bucket; ``revision`` is one of the names in its index, or a
    digest for reading."""

    bucket: str
    prefix: str
    revision: str = "main"

    @property
    def is_name(self) -> bool:
        """Whether something may be published there; a digest names what is there already."""
        return ":" not in self.revision

    @property
    def name(self) -> str:
        """What a card calls it: the last two parts."""
        return "/".join(self.prefix.split("/")[-2:])

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f"@{self.revision}"
        return f"s3://{self.bucket}/{self.prefix}{at}"


Destination: TypeAlias = HubRepo | LocalRegistry | OciRepo | S3Prefix


def repository_id(text: str) -> str:
    """``text`` if it is an ``org/name`` that the Hub accepts. Raises UsageError otherwise."""
    if text.startswith(("datasets/", "spaces/")) and text.count("/") == 2:
        raise UsageError(problem=f"{text!r} is no place for a model; expected org/name")
    if not _REPO_ID.fullmatch(text) or "--" in text or ".." in text or text.endswith(".git"):
        raise UsageError(problem=f"{text!r} is not a repository name; expected org/name")
    return text


def _named(text: str) -> tuple[str, str]:
    """The repository and the revision of ``org/name[@revision]``.

    An empty revision, as an unset variable leaves behind the ``@``, is not taken for main.
    """
    repo, at, revision = text.partition("@")
    if at and not _REVISION.fullmatch(revision):
        raise UsageError(problem=f"{revision!r} is not a branch name")
    return repository_id(repo), revision or "main"


def on_branch(destination: Destination, branch: str) -> Destination:
    """The same model at another branch. Raises UsageError if it is no name of one, or if the
    destination names one already."""
    require_no_login(branch)
    if not _REVISION.fullmatch(branch):
        raise UsageError(problem=f"{branch!r} is not a branch name")
    if destination.revision not in ("main", branch):
        raise UsageError(problem=f"{destination} names another branch than {branch}")
    return evolve(destination, revision=branch)


def tag_name(text: str) -> str:
    """``text`` if it can name a tag. Raises UsageError otherwise."""
    require_no_login(text)
    if not _REVISION.fullmatch(text) or text in ("main", "HEAD") or _COMMIT.fullmatch(text):
        raise UsageError(problem=f"{text!r} is not a tag's name")
    return text


def _oci(text: str) -> OciRepo:
    found = _OCI.fullmatch(text)
    if found is None or int(found["port"] or 0) > _MOST_PORT:
        raise UsageError(
            problem=f"'oci://{text}' is not oci://host[:port]/repository[:tag] or @sha256:digest; "
            "repositories are in lower case"
        )
    # Of both, as `docker pull` prints them, the tag is for people.
    return OciRepo(
        found["host"].lower(), found["name"], found["digest"] or found["tag"] or "latest"
    )


def _s3(text: str) -> S3Prefix:
    place, at, revision = text.partition("@")
    bucket, _, prefix = place.partition("/")
    prefix = prefix.removesuffix("/")
    parts_known = all(_S3_PART.fullmatch(part) and part.strip(".") for part in prefix.split("/"))
    if not _BUCKET.fullmatch(bucket) or not parts_known:
        raise UsageError(problem=f"'s3://{text}' is not s3://bucket/prefix[@revision]")
    if at and not _REVISION.fullmatch(revision) and not _DIGEST.fullmatch(revision):
        raise UsageError(problem=f"{revision!r} is not a name for a revision, or a digest")
    return S3Prefix(bucket, prefix, revision or "main")


def _hub(text: str) -> HubRepo:
    return HubRepo(*_named(text))


_SCHEMES: Mapping[str, Callable[[str], Destination]] = {"hf": _hub, "oci": _oci, "s3": _s3}


def parse_destination(text: str, name: str | None = None) -> Destination:
    """``hf://org/name[@revision]``, ``oci://host/repository[:tag]``, ``s3://bucket/prefix``, or a
    directory together with ``name`` (org/name[@revision]).

    Raises UsageError with the accepted spellings for anything else, and for a login in there.
    """
    require_no_login(text)
    require_no_login(name or "")
    scheme, separated, rest = text.partition("://")
    if separated and scheme in _SCHEMES:
        if name is not None:
            raise UsageError(problem=f"--name goes with a directory registry, not with {scheme}://")
        return _SCHEMES[scheme](rest)
    if separated and scheme != "file":
        raise UsageError(problem=f"unknown registry scheme {scheme}://; use {SPELLINGS}")
    root = text.removeprefix("file://")
    if not root:
        raise UsageError(problem=f"the destination is an empty path; use {SPELLINGS}")
    if name is None:
        hub = f"; on the Hub it is hf://{text}" if text[0] not in "./~" and "/" in text else ""
        raise UsageError(
            problem=f"the directory registry {text!r} needs --name org/name: the name under which "
            f"the model will be loaded{hub}"
        )
    return LocalRegistry(root, *_named(name))


def parse_revision(text: str, name: str | None = None) -> Destination:
    """One revision: ``hf://org/name@revision``, or ``directory@revision`` with ``name``.

    Raises UsageError with the accepted spellings for anything else.
    """
    if name is None or "@" in name:
        return parse_destination(text, name)
    folder, slash, last = text.rpartition("/")
    root, at, revision = last.rpartition("@")
    if not at:
        return parse_destination(text, name)
    return parse_destination(folder + slash + root, f"{name}@{revision}")


@frozen
class RemoteHead:
    """What a destination holds now. ``gated`` says who lets others in, "auto" or "manual"."""

    revision: str
    manifest: Manifest
    private: bool | None = None
    gated: str | None = None


@frozen
class Revision:
    """One publication of a destination's history: ``when`` is ISO 8601 in UTC, '' if unknown."""

    id: str
    when: str
    message: str
    tags: tuple[str, ...] = ()


def short_id(revision: str) -> str:
    """Enough of an id for people to tell it from others."""
    algorithm, colon, digits = revision.rpartition(":")
    return f"{algorithm}{colon}{digits[:SHORT]}"


def may_be_short(text: str) -> bool:
    """Whether it can be the beginning of an id."""
    return _BEGINNING.fullmatch(text) is not None


def full_id(ids: Iterable[str], beginning: str) -> str | None:
    """The one of ``ids`` that begins so, with seven digits or more, as people copy them; None if
    none does, or several do."""
    if not may_be_short(beginning):
        return None
    digits = beginning.removeprefix("sha256:")
    found = {each for each in ids if each.removeprefix("sha256:").startswith(digits)}
    return found.pop() if len(found) == 1 else None


def tagged(told: Iterable[Revision], tags: Mapping[str, str]) -> tuple[Revision, ...]:
    """Revisions with the tags that name them; ``tags`` has the revision of each."""
    return tuple(
        evolve(each, tags=tuple(sorted(n for n, r in tags.items() if r == each.id)))
        for each in told
    )


@frozen
class Change:
    """One path of a plan; ``action`` is add, change, keep or remove; ``size`` in bytes.

    ``digest`` is of what is to be there, ``before`` of what is there now.
    """

    action: str
    path: ArtifactPath
    size: int
    digest: Digest | None = None
    before: Digest | None = None


@frozen
class PublicationPlan:
    """Exactly what a publication would do.

    ``parent`` is the revision it was planned on, None if the branch is yet to be made; such a
    branch ``start`` s at that revision of another, if the registry does so. ``tags`` are to be set,
    each with what it names now. ``pull_request`` means that it is proposed, not done.
    """

    destination: Destination
    manifest: Manifest
    parent: str | None
    changes: tuple[Change, ...]
    private: bool = True
    start: str | None = None
    tags: tuple[tuple[str, str | None], ...] = ()
    pull_request: bool = False

    def of(self, action: str) -> tuple[Change, ...]:
        """The changes of one action."""
        return tuple(c for c in self.changes if c.action == action)

    @property
    def is_noop(self) -> bool:
        """True if the destination already holds exactly this."""
        return self.parent is not None and all(c.action == "keep" for c in self.changes)

    @property
    def does_nothing(self) -> bool:
        """True if no tag is to be set either."""
        return self.is_noop and not self.tags

    @property
    def upload_bytes(self) -> int:
        """Bytes of added and changed files."""
        return sum(c.size for c in self.changes if c.action in ("add", "change"))


#: What the Hub itself puts into a repository; never removed, never compared.
SERVER_OWNED = frozenset({".gitattributes"})


def plan_publication(
    destination: Destination,
    manifest: Manifest,
    head: RemoteHead | None,
    *,
    private: bool = True,
    start: RemoteHead | None = None,
    pull_request: bool = False,
) -> PublicationPlan:
    """Compare what is to be published with what is there. Files not in the manifest are removed.

    ``start`` is what a branch that is yet to be made begins with. Raises VisibilityMismatch if the
    destination is public and that was not allowed.
    """
    there = head or start
    if private and there is not None and there.private is False:
        raise VisibilityMismatch(
            destination=str(destination),
            reason=f"{_openness(there)}. Nothing was uploaded; make it private, or allow that "
            "with --public",
        )
    changes = changes_between(there.manifest if there else Manifest(()), manifest)
    return PublicationPlan(
        destination,
        manifest,
        head.revision if head else None,
        changes,
        private,
        start.revision if start and head is None else None,
        pull_request=pull_request,
    )


def _openness(there: RemoteHead) -> str:
    if there.gated is None:
        return "the repository is public"
    asked = "asks" if there.gated == "auto" else "is let in by hand"
    return f"the repository is not private, only gated: whoever {asked} may read it"


def changes_between(before: Manifest, after: Manifest) -> tuple[Change, ...]:
    """What makes the one of the other, sorted by path; the server's own files stay."""
    remote = {e.path: e for e in before.entries}
    changes = []
    for entry in after.entries:
        there = remote.pop(entry.path, None)
        if entry.path.text in SERVER_OWNED:
            continue
        action = "add" if there is None else "keep" if entry.same_content(there) else "change"
        changes.append(Change(action, entry.path, entry.size, _first(entry), _first(there)))
    changes += [
        Change("remove", e.path, e.size, before=_first(e))
        for e in remote.values()
        if e.path.text not in SERVER_OWNED
    ]
    return tuple(sorted(changes, key=lambda c: c.path))


def _first(entry: ManifestEntry | None) -> Digest | None:
    return entry.digests[0] if entry and entry.digests else None


def with_tags(
    plan: PublicationPlan, wanted: tuple[str, ...], there: Mapping[str, str], *, move: bool = False
) -> PublicationPlan:
    """The plan, setting those of the ``wanted`` tags that do not name its revision yet.

    Raises TagTaken if one names another revision and may not ``move``.
    """
    stays = plan.parent if plan.is_noop else None
    open_ = {name: there.get(name) for name in wanted if there.get(name, "") != stays}
    for name, now in open_.items():
        if now is not None and not move:
            raise TagTaken(destination=str(plan.destination), tag=name, revision=now)
    return evolve(plan, tags=tuple(open_.items()))


def require_no_branch(
    destination: Destination, wanted: Iterable[str], is_branch: Callable[[str], bool]
) -> None:
    """Raises UsageError if a tag that is wanted would be named like a branch: whoever reads by that
    name would get the one or the other."""
    for name in wanted:
        if is_branch(name):
            raise UsageError(problem=f"{destination}: {name} is a branch; a tag needs another name")


def require_same_ground(planned: PublicationPlan, now: PublicationPlan) -> None:
    """Raises RevisionConflict if the destination is not what it was when ``planned`` was made.

    That it holds the planned content already is no conflict, nor that the planned branch was made
    meanwhile, just where it was to begin.
    """
    begun = planned.start is not None and planned.start == now.parent
    if not (now.is_noop or begun or _same_revision(planned, now)):
        raise RevisionConflict(
            destination=str(now.destination),
            expected=planned.parent or planned.start,
            actual=now.parent or now.start,
        )


def require_same_changes(planned: PublicationPlan, now: PublicationPlan) -> None:
    """Raises UsageError if what was approved is not what its files come to on that revision."""
    approved = (planned.changes, planned.private)
    if _same_revision(planned, now) and approved != (now.changes, now.private) and not now.is_noop:
        raise UsageError(
            problem=f"the plan for {now.destination} does not say what would be done: its "
            "changes, or who may see it, were edited; make another one"
        )


def _same_revision(planned: PublicationPlan, now: PublicationPlan) -> bool:
    return (planned.parent, planned.start) == (now.parent, now.start)


@frozen
class Receipt:
    """What a registry answered. ``created`` is False if nothing had to be done."""

    destination: Destination
    revision: str
    created: bool
    url: str = ""


def read_back_differences(sent: Manifest, stored: Manifest) -> tuple[str, ...]:
    """Every path whose stored size or digest is not what was sent; empty if all is well."""
    problems = []
    there = {e.path: e for e in stored.entries}
    for entry in sent.entries:
        found = there.pop(entry.path, None)
        if found is None:
            problems.append(f"{entry.path}: missing")
        elif not entry.same_content(found):
            problems.append(
                f"{entry.path}: sent {entry.size} bytes {_digests(entry.digests)}, "
                f"stored {found.size} bytes {_digests(found.digests)}"
            )
    problems += [f"{p}: not sent" for p in there if p.text not in SERVER_OWNED]
    return tuple(problems)


def _digests(digests: tuple[object, ...]) -> str:
    return ", ".join(map(str, digests)) or "without digest"

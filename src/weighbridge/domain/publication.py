"""Where a model may go, what would change there, and what came of it. Pure values and decisions.

The plan is a value: adapters carry it out, ``--dry-run`` prints it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from attrs import frozen

from weighbridge.domain.artifact import ArtifactPath, Manifest
from weighbridge.domain.errors import UsageError, VisibilityMismatch

_REPO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})")
#: Ways to say where a model is published.
SPELLINGS = (
    "hf://org/name[@revision], oci://host[:port]/repository[:tag], s3://bucket/prefix[@revision], "
    "or a directory with --name org/name"
)
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")

_OCI = re.compile(
    r"(?P<host>([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?)"
    r"/(?P<name>[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)
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
    """A model below a prefix of a bucket; ``revision`` is one of the names in its index."""

    bucket: str
    prefix: str
    revision: str = "main"

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


def _oci(text: str) -> OciRepo:
    found = _OCI.fullmatch(text)
    if found is None:
        raise UsageError(
            problem=f"'oci://{text}' is not oci://host[:port]/repository[:tag] or @sha256:digest; "
            "repositories are in lower case"
        )
    return OciRepo(found["host"], found["name"], found["tag"] or found["digest"] or "latest")


def _s3(text: str) -> S3Prefix:
    place, at, revision = text.partition("@")
    bucket, _, prefix = place.partition("/")
    prefix = prefix.removesuffix("/")
    parts_known = all(_S3_PART.fullmatch(part) and part.strip(".") for part in prefix.split("/"))
    if not _BUCKET.fullmatch(bucket) or not parts_known:
        raise UsageError(problem=f"'s3://{text}' is not s3://bucket/prefix[@revision]")
    if at and not _REVISION.fullmatch(revision):
        raise UsageError(problem=f"{revision!r} is not a name for a revision")
    return S3Prefix(bucket, prefix, revision or "main")


def _hub(text: str) -> HubRepo:
    return HubRepo(*_named(text))


_SCHEMES: Mapping[str, Callable[[str], Destination]] = {"hf": _hub, "oci": _oci, "s3": _s3}


def parse_destination(text: str, name: str | None = None) -> Destination:
    """``hf://org/name[@revision]``, ``oci://host/repository[:tag]``, ``s3://bucket/prefix``, or a
    directory together with ``name`` (org/name[@revision]).

    Raises UsageError with the accepted spellings for anything else.
    """
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
        raise UsageError(
            problem=f"the directory registry {text!r} needs --name org/name: the name under which "
            "the model will be loaded"
        )
    return LocalRegistry(root, *_named(name))


@frozen
class RemoteHead:
    """What a destination holds now."""

    revision: str
    manifest: Manifest
    private: bool | None = None


@frozen
class Change:
    """One path of a plan; ``action`` is add, change, keep or remove; ``size`` in bytes."""

    action: str
    path: ArtifactPath
    size: int


@frozen
class PublicationPlan:
    """Exactly what a publication would do. ``parent`` is the revision it was planned on."""

    destination: Destination
    manifest: Manifest
    parent: str | None
    changes: tuple[Change, ...]
    private: bool = True

    def of(self, action: str) -> tuple[Change, ...]:
        """The changes of one action."""
        return tuple(c for c in self.changes if c.action == action)

    @property
    def is_noop(self) -> bool:
        """True if the destination already holds exactly this."""
        return self.parent is not None and all(c.action == "keep" for c in self.changes)

    @property
    def upload_bytes(self) -> int:
        """Bytes of added and changed files."""
        return sum(c.size for c in self.changes if c.action in ("add", "change"))


#: What the Hub itself puts into a repository; never removed, never compared.
SERVER_OWNED = frozenset({".gitattributes"})


def plan_publication(
    destination: Destination, manifest: Manifest, head: RemoteHead | None, *, private: bool = True
) -> PublicationPlan:
    """Compare what is to be published with what is there. Files not in the manifest are removed.

    Raises VisibilityMismatch if the destination is public and that was not allowed.
    """
    if private and head is not None and head.private is False:
        raise VisibilityMismatch(
            destination=str(destination),
            reason="the repository is public. Nothing was uploaded; make it private, or allow that "
            "with --public",
        )
    remote = {e.path: e for e in head.manifest.entries} if head else {}
    changes = []
    for entry in manifest.entries:
        there = remote.pop(entry.path, None)
        action = "add" if there is None else "keep" if entry.same_content(there) else "change"
        changes.append(Change(action, entry.path, entry.size))
    changes += [
        Change("remove", e.path, e.size) for e in remote.values() if e.path.text not in SERVER_OWNED
    ]
    ordered = tuple(sorted(changes, key=lambda c: c.path))
    return PublicationPlan(destination, manifest, head.revision if head else None, ordered, private)


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

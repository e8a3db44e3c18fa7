"""The error family, sorted by who must act. Fields first; the text is derived from them.

Every error survives pickling: attrs exceptions with keyword-only fields do not by themselves, and
one that does not breaks a whole process pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, fields

if TYPE_CHECKING:
    from weighbridge.domain.artifact import Archive, Manifest
    from weighbridge.domain.findings import ValidationReport
    from weighbridge.domain.proof import Proof, ProofLevel


def _rebuild(cls: Callable[..., WeighbridgeError], state: dict[str, Any]) -> WeighbridgeError:
    return cls(**state)


@define(kw_only=True, eq=False, slots=False)
class WeighbridgeError(Exception):
    """Base of everything that Weighbridge raises on purpose; anything else is a bug."""

    def __reduce__(self) -> tuple[Any, ...]:
        state = {field.name: getattr(self, field.name) for field in fields(type(self))}
        return _rebuild, (type(self), state)

    def __str__(self) -> str:
        return self.message()

    def message(self) -> str:
        """What happened, where, and what to do; several lines are allowed."""
        return type(self).__name__


#: Of problems that are alike, a message has so many.
_LISTED = 20

# --- the author of the artifact must act -------------------------------------------------------


class ArtifactError(WeighbridgeError):
    """Something is wrong with the directory that was given."""


@define(kw_only=True, eq=False, slots=False)
class StructureError(ArtifactError, ValueError):
    """The directory is not, or not clearly, one of the known kinds of model."""

    location: str
    problems: tuple[str, ...]
    found: tuple[str, ...] = ()

    def message(self) -> str:
        lines = [f"Invalid model structure at {self.location}"]
        lines += [f"  - {problem}" for problem in self.problems]
        listed = ", ".join(self.found[:12]) or "nothing"
        more = f" and {len(self.found) - 12} more" if len(self.found) > 12 else ""
        return "\n".join([*lines, f"  found: {listed}{more}"])


class InvalidModelStructure(StructureError):
    """No kind is complete; the problems say what each kind needs and what is missing."""


@define(kw_only=True, eq=False, slots=False)
class AmbiguousModelStructure(StructureError):
    """Several kinds are complete; only the caller may choose."""

    kinds: tuple[str, ...] = ()


@define(kw_only=True, eq=False, slots=False)
class ArtifactUnreadable(ArtifactError):
    """A file that the kind needs cannot be parsed."""

    location: str
    problems: tuple[str, ...]

    def message(self) -> str:
        lines = [f"  - {problem}" for problem in self.problems[:_LISTED]]
        rest = len(self.problems) - _LISTED
        lines += [f"  - and {rest} more problems"] if rest > 0 else []
        return "\n".join([f"Unreadable artifact at {self.location}", *lines])


@define(kw_only=True, eq=False, slots=False)
class NotConvertible(ArtifactError):
    """The model is sound, but an exact conversion is not possible."""

    location: str
    reasons: tuple[str, ...]

    def message(self) -> str:
        return "\n".join(
            [f"Cannot convert {self.location} exactly", *(f"  - {r}" for r in self.reasons)]
        )


@define(kw_only=True, eq=False, slots=False)
class NotRepairable(NotConvertible):
    """A broken PEFT adapter that cannot be corrected with what is known; ``report`` names its
    defects, ``reasons`` the evidence that is missing and the option that would supply it."""

    report: ValidationReport | None = None

    def message(self) -> str:
        findings = self.report.findings if self.report else ()
        counted = Counter(f.code for f in findings if f.severity.rank < 2)
        lines = []
        for code, count in counted.items():
            first = next(f for f in findings if f.code == code)
            more = f" (and {count - 1} more)" if count > 1 else ""
            lines.append(f"  found: {code} {first.name}, {first.where}: {first.message}{more}")
        missing = [f"  - {reason}" for reason in self.reasons]
        return "\n".join([f"Cannot repair {self.location}", *lines, *missing])


@define(kw_only=True, eq=False, slots=False)
class ArtifactChanged(ArtifactError):
    """A file is not what it was when it was judged."""

    path: str
    expected: str
    actual: str
    planned: bool = False

    def message(self) -> str:
        if self.planned:
            return (
                f"{self.path} is not what it was when the plan was made: expected {self.expected}, "
                f"found {self.actual}. Nothing was sent; make a new plan."
            )
        return (
            f"{self.path} changed while it was being worked on: expected {self.expected}, "
            f"found {self.actual}. Run again when nothing writes to the directory."
        )


@define(kw_only=True, eq=False, slots=False)
class PublicationBlocked(ArtifactError):
    """The report holds findings that block publication."""

    report: ValidationReport

    def message(self) -> str:
        lines, counts = [], Counter[str]()
        for f in self.report.blocking:
            counts[f.code] += 1
            if counts[f.code] <= _LISTED:
                lines.append(f"  - {f.where}: {f.code} {f.message}\n    fix: {f.remedy}")
        lines += [f"  - and {n - _LISTED} more of {c}" for c, n in counts.items() if n > _LISTED]
        lines += [f"  - {c.code} could not be run: {c.error}" for c in self.report.crashed]
        lines += [
            f"  - not examined: {part.what}: {part.reason}"
            for part in self.report.unexamined
            if not part.chosen
        ]
        why = "Blocked by findings in" if self.report.blocking else "Not everything is checked of"
        return "\n".join([f"{why} {self.report.location}", *lines])


@define(kw_only=True, eq=False, slots=False)
class ProofFailed(ArtifactError):
    """The converted files are not proved to be the same function."""

    proof: Proof
    required: ProofLevel | None = None

    def message(self) -> str:
        lines = [
            f"  - {step.level.label}: {problem}"
            for step in self.proof.steps
            for problem in step.problems
        ]
        lines += [f"  - {u.level.label}: not attempted, {u.reason}" for u in self.proof.unattempted]
        wanted = f" at level {self.required.label!r}" if self.required else ""
        return "\n".join([f"The conversion is not proved{wanted}", *lines])


# --- the operator must act ---------------------------------------------------------------------


@define(kw_only=True, eq=False, slots=False)
class UsageError(WeighbridgeError):
    """The request itself cannot be carried out as it was worded."""

    problem: str

    def message(self) -> str:
        return self.problem


@define(kw_only=True, eq=False, slots=False)
class MissingExtra(UsageError):
    """An optional part of Weighbridge is not installed."""

    extra: str = ""


@define(kw_only=True, eq=False, slots=False)
class StorageError(WeighbridgeError):
    """The file system did not do what was asked."""

    path: str
    operation: str
    reason: str = ""

    def message(self) -> str:
        reason = self.reason or type(self).__name__
        return f"{self.operation} failed for {self.path}: {reason}"


class PathMissing(StorageError):
    """No such file or directory."""

    def message(self) -> str:
        reason = self.reason or "no such file or directory"
        return f"{self.operation} failed for {self.path}: {reason}"


class PathConflict(StorageError):
    """Something of another kind, or something at all, is already there."""


class OutputExists(PathConflict):
    """The output of a conversion is already there."""

    def message(self) -> str:
        return f"{self.path} already exists; give --force to replace it, or another output"


class NotAnOutput(PathConflict):
    """What is to be replaced is no earlier output."""

    def message(self) -> str:
        return (
            f"{self.path} {self.reason}: it is no earlier output; remove it yourself if you mean it"
        )


class StorageFull(StorageError):
    """No space, quota or file size left."""


class StorageDenied(StorageError):
    """The operating system refused."""


# --- the remote side, or the operator in its stead, must act -----------------------------------


@define(kw_only=True, eq=False, slots=False)
class RegistryError(WeighbridgeError):
    """A registry did not do what was asked. ``destination`` never holds a token."""

    destination: str
    reason: str = ""

    def message(self) -> str:
        return f"{self.destination}: {self.reason or type(self).__name__}"


class AuthenticationFailed(RegistryError):
    """No token, or one that the registry does not know."""


class PermissionDenied(RegistryError):
    """The token is known but may not do this."""


class DestinationMissing(RegistryError):
    """The repository or revision does not exist, or may not be seen with this token."""


class VisibilityMismatch(RegistryError):
    """The repository is public and nobody said that this may be public."""


@define(kw_only=True, eq=False, slots=False)
class RevisionConflict(RegistryError):
    """Somebody else published in the meantime, or is about to.

    ``actual`` is the head now, None if there is none or if nobody knows. ``reason``, if there is
    one, tells it better: the words of the registry that refused, or what the other did.
    """

    expected: str | None = None
    actual: str | None = None

    def message(self) -> str:
        planned = f"{self.destination}: planned on revision {self.expected or 'none'}"
        if self.reason and self.actual in (None, self.expected):
            return f"{planned}, and refused by the registry: {self.reason}. Run again."
        why = f": {self.reason.rstrip('.')}" if self.reason else ""
        return (
            f"{planned}, but the head is now {self.actual or 'gone'}{why}. "
            "Run again to plan on the new head."
        )


@define(kw_only=True, eq=False, slots=False)
class TagTaken(RegistryError):
    """A tag names another revision already, and a tag stays where it is."""

    tag: str
    revision: str

    def message(self) -> str:
        return (
            f"{self.destination}: the tag {self.tag} names revision {self.revision} already. "
            f"{self.reason or 'Nothing was uploaded'}; choose another tag, or give --move-tag"
        )


class Unsupported(RegistryError):
    """The registry has no such thing; ``reason`` names it and the way out."""


@define(kw_only=True, eq=False, slots=False)
class RateLimited(RegistryError):
    """The registry wants a pause; ``retry_after`` is in seconds, None if it did not say."""

    retry_after: float | None = None

    def message(self) -> str:
        when = "later" if self.retry_after is None else f"in {self.retry_after:.0f} seconds"
        return f"{super().message()}. Try again {when}"


class RegistryRejected(RegistryError):
    """The registry understood and said no; ``reason`` holds its words."""


@define(kw_only=True, eq=False, slots=False)
class ModelPacked(RegistryRejected):
    """A model whose files, or some of them, are in archives, so that what is in it is known only
    once they came, or that is one of an index: a pull takes it out, and nothing else can be done
    with it. ``revision`` is that of the model itself."""

    revision: str
    files: Manifest
    archives: tuple[Archive, ...]


class TooLarge(RegistryRejected):
    """More than the registry takes: of one file, of one commit, or of all."""


@define(kw_only=True, eq=False, slots=False)
class RegistryUnreachable(RegistryError):
    """Transport failed. ``applied`` says if the commit landed; None means it is not known."""

    applied: bool | None = None

    def message(self) -> str:
        if self.applied is not None:
            return super().message()
        return (
            f"{super().message()}. It is not known if it was published; run again: if it was, "
            "nothing more is done"
        )


@define(kw_only=True, eq=False, slots=False)
class ServerSilent(RegistryUnreachable):
    """The server took a request and did not answer it, or not in full, in the time it had."""

    def message(self) -> str:
        return f"{super().message()}. If the server needs longer, set WEIGHBRIDGE_TIMEOUT (seconds)"


@define(kw_only=True, eq=False, slots=False)
class ContentMismatch(RegistryError):
    """The bytes that a registry sent are not those that it announced. None of them are kept."""

    path: str
    expected: str
    actual: str

    def message(self) -> str:
        return (
            f"{self.destination}: {self.path} came as {self.actual}, but the registry says that it "
            f"holds {self.expected}. Try again; if it stays so, what is stored there is damaged."
        )


@define(kw_only=True, eq=False, slots=False)
class ReadBackMismatch(RegistryError):
    """What the registry holds is not what was sent."""

    differences: tuple[str, ...] = ()

    def message(self) -> str:
        lines = [f"{self.destination}: the read-back differs from what was sent"]
        remedy = "Delete there what differs and publish again."
        return "\n".join([*lines, *(f"  - {d}" for d in self.differences), remedy])

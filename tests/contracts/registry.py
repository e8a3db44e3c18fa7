"""What every Registry must do. A subclass gives the ``subject``; it overrides no test."""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from attrs import evolve, field, frozen

from tests.fakes.memory_registry import entry_of
from weighbridge.application.ports import Blob, Registry
from weighbridge.domain.artifact import ArtifactPath, Manifest
from weighbridge.domain.errors import (
    ArtifactChanged,
    DestinationMissing,
    RevisionConflict,
    TagTaken,
    UsageError,
    WeighbridgeError,
)
from weighbridge.domain.publication import (
    SERVER_OWNED,
    Destination,
    PublicationPlan,
    Receipt,
    plan_publication,
    read_back_differences,
)

Files = Mapping[str, bytes]
WEIGHTS = bytes(range(256)) * 1200
LARGE = b"large" * 300_000
FIRST: Files = {
    "config.json": b'{"a": 1}\n',
    "README.md": b"---\nlicense: mit\n---\n# m\n",
    "model.safetensors": WEIGHTS,
    "weights/more/part.safetensors": LARGE,
    "weights/notes.txt": b"hello\n",
    "empty.txt": b"",
}
SECOND: Files = {
    "config.json": b'{"a": 2}\n',
    "README.md": FIRST["README.md"],
    "model.safetensors": WEIGHTS[::-1],
    "weights/more/part.safetensors": LARGE,
    "new/added.json": b"[]",
}


@frozen
class Subject:
    """A registry, a destination where nothing is yet, and the secret it was given."""

    registry: Registry
    destination: Destination
    secret: str = field(default="none-was-given", repr=False)

    def plan(self, files: Files) -> PublicationPlan:
        """The plan to publish those files on the present head."""
        head = self.registry.head(self.destination)
        return plan_publication(self.destination, manifest_of(files), head)

    def push(self, plan: PublicationPlan, blobs: Mapping[ArtifactPath, Blob]) -> Receipt:
        """Carry out a plan with these blobs."""
        return self.registry.push(plan, blobs, message="publish", progress=lambda *_: None)

    def publish(self, files: Files) -> Receipt:
        """Plan and push."""
        plan = self.plan(files)
        return self.push(plan, blobs_of(plan, files))

    def holds(self, files: Files) -> bool:
        """Whether the head is exactly those files, for head() and for the read-back."""
        head = self.registry.head(self.destination)
        assert head is not None
        read = self.registry.manifest(self.destination, head.revision)
        assert read.revision == head.revision
        found = [read_back_differences(manifest_of(files), h.manifest) for h in (head, read)]
        return found == [(), ()]


def manifest_of(files: Files) -> Manifest:
    """The manifest of those files with both digests, as the application makes it."""
    return Manifest(entry_of(ArtifactPath(path), content) for path, content in files.items())


def blobs_of(plan: PublicationPlan, files: Files) -> dict[ArtifactPath, Blob]:
    """A blob for every added or changed path."""
    wanted = {c.path for c in plan.changes if c.action in ("add", "change")}
    return {
        e.path: blob_of(e.path, files[e.path.text])
        for e in plan.manifest.entries
        if e.path in wanted
    }


def blob_of(path: ArtifactPath, content: bytes) -> Blob:
    """A blob with that content."""
    return Blob(entry_of(path, content), lambda: io.BytesIO(content))


class Unreadable(io.BytesIO):
    """A stream whose disk dies when it is read to the end."""

    def read(self, size: int | None = -1) -> bytes:
        """The first bytes, then an error."""
        if self.tell() >= 512 or size is None or size < 0:
            raise OSError(5, "Input/output error", "/the/weights")
        return super().read(min(size, 512))


class ReadError(WeighbridgeError):
    """What a file system port could raise on opening."""


def _not_to_open() -> io.BytesIO:
    raise ReadError


Sabotage = Callable[[Blob], Blob]
SABOTAGES: dict[str, tuple[Sabotage, type[BaseException]]] = {
    "cannot be opened": (lambda b: evolve(b, open=_not_to_open), ReadError),
    "dies while read": (
        lambda b: evolve(b, open=lambda: Unreadable(bytes(b.entry.size))),
        WeighbridgeError,
    ),
    "changed": (
        lambda b: evolve(b, open=lambda: io.BytesIO(bytes(b.entry.size))),
        ArtifactChanged,
    ),
    "grown": (
        lambda b: evolve(b, open=lambda: io.BytesIO(bytes(b.entry.size + 1))),
        ArtifactChanged,
    ),
    "cut": (
        lambda b: evolve(b, open=lambda: io.BytesIO(bytes(b.entry.size - 1))),
        ArtifactChanged,
    ),
}


class RegistryContract:
    """Subclass it, with a fixture ``subject``."""

    def test_nothing_is_there_at_first(self, subject: Subject) -> None:
        assert subject.registry.head(subject.destination) is None

    def test_an_unknown_revision_is_missing(self, subject: Subject) -> None:
        subject.publish(FIRST)
        with pytest.raises(DestinationMissing):
            subject.registry.manifest(subject.destination, "0" * 40)

    def test_what_is_pushed_is_there(self, subject: Subject) -> None:
        receipt = subject.publish(FIRST)
        assert receipt.created
        assert receipt.url
        assert receipt.destination == subject.destination
        head = subject.registry.head(subject.destination)
        assert head is not None
        assert head.revision == receipt.revision
        assert subject.holds(FIRST)

    @pytest.mark.parametrize("name", FIRST)
    def test_a_published_file_is_streamed(self, subject: Subject, name: str) -> None:
        old = subject.publish(FIRST)
        subject.publish(SECOND)
        path = ArtifactPath(name)
        with subject.registry.open(subject.destination, old.revision, path) as stream:
            assert stream.read(3) == FIRST[name][:3]
            assert b"".join(iter(lambda: stream.read(70_001), b"")) == FIRST[name][3:]
            assert stream.read() == b""
        with subject.registry.open(subject.destination, old.revision, path) as again:
            assert again.read(5) == FIRST[name][:5]  # and left before its end

    def test_opening_what_is_not_there(self, subject: Subject) -> None:
        now = subject.publish(FIRST).revision
        for revision, path in ((now, "none.json"), (now, "weights"), ("0" * 40, "config.json")):
            with pytest.raises(DestinationMissing):
                subject.registry.open(subject.destination, revision, ArtifactPath(path))

    def test_changes_removals_and_kept_files(self, subject: Subject) -> None:
        first = subject.publish(FIRST)
        plan = subject.plan(SECOND)
        actions = {c.path.text: c.action for c in plan.changes}
        assert actions == {
            "README.md": "keep",
            "config.json": "change",
            "empty.txt": "remove",
            "model.safetensors": "change",
            "new/added.json": "add",
            "weights/more/part.safetensors": "keep",
            "weights/notes.txt": "remove",
        }
        second = subject.push(plan, blobs_of(plan, SECOND))
        assert second.created
        assert second.revision != first.revision
        assert subject.holds(SECOND)

    def test_an_old_revision_stays_as_it_was(self, subject: Subject) -> None:
        first = subject.publish(FIRST)
        subject.publish(SECOND)
        old = subject.registry.manifest(subject.destination, first.revision)
        assert not read_back_differences(manifest_of(FIRST), old.manifest)

    def test_a_file_may_become_a_directory(self, subject: Subject) -> None:
        subject.publish({"a": b"1"})
        subject.publish({"a/b": b"2"})
        assert subject.holds({"a/b": b"2"})

    def test_planning_again_is_a_no_op(self, subject: Subject) -> None:
        first = subject.publish(FIRST)
        plan = subject.plan(FIRST)
        assert plan.is_noop
        again = subject.push(plan, {})
        assert (again.created, again.revision) == (False, first.revision)
        assert subject.holds(FIRST)

    def test_the_same_plan_again_is_a_no_op(self, subject: Subject) -> None:
        plan = subject.plan(FIRST)
        only_sha256 = evolve(
            plan,
            manifest=Manifest(evolve(e, digests=e.digests[:1]) for e in plan.manifest.entries),
        )
        first = subject.push(only_sha256, blobs_of(plan, FIRST))
        again = subject.push(only_sha256, blobs_of(plan, FIRST))
        assert (first.created, again.created) == (True, False)
        assert again.revision == first.revision

    def test_a_stale_parent_is_a_conflict(self, subject: Subject) -> None:
        subject.publish(FIRST)
        stale = subject.plan(SECOND)
        now = subject.publish({"config.json": b"{}"})
        with pytest.raises(RevisionConflict) as conflict:
            subject.push(stale, blobs_of(stale, SECOND))
        assert (conflict.value.expected, conflict.value.actual) == (stale.parent, now.revision)
        assert subject.holds({"config.json": b"{}"})

    def test_a_plan_on_nothing_is_stale_once_there_is_something(self, subject: Subject) -> None:
        stale = subject.plan(FIRST)
        now = subject.publish(SECOND)
        with pytest.raises(RevisionConflict) as conflict:
            subject.push(stale, blobs_of(stale, FIRST))
        assert conflict.value.actual == now.revision
        assert subject.holds(SECOND)

    def test_a_plan_on_something_is_stale_where_there_is_nothing(self, subject: Subject) -> None:
        plan = evolve(subject.plan(FIRST), parent="a" * 40)
        with pytest.raises(RevisionConflict):
            subject.push(plan, blobs_of(plan, FIRST))
        assert subject.registry.head(subject.destination) is None

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors", "new/big.safetensors"])
    @pytest.mark.parametrize("how", SABOTAGES)
    def test_a_failure_leaves_the_previous_revision(
        self, subject: Subject, name: str, how: str
    ) -> None:
        first = subject.publish(FIRST)
        files = {**SECOND, "new/big.safetensors": LARGE[::-1]}
        plan = subject.plan(files)
        blobs = blobs_of(plan, files)
        sabotage, expected = SABOTAGES[how]
        path = ArtifactPath(name)
        with pytest.raises((expected, OSError)):
            subject.push(plan, {**blobs, path: sabotage(blobs[path])})
        head = subject.registry.head(subject.destination)
        assert head is not None
        assert head.revision == first.revision
        assert subject.holds(FIRST)
        assert subject.push(plan, blobs).created
        assert subject.holds(files)

    def test_a_failure_of_the_first_push_shows_nothing(self, subject: Subject) -> None:
        plan = subject.plan(FIRST)
        blobs = blobs_of(plan, FIRST)
        path = ArtifactPath("model.safetensors")
        with pytest.raises(ArtifactChanged):
            subject.push(plan, {**blobs, path: SABOTAGES["changed"][0](blobs[path])})
        head = subject.registry.head(subject.destination)
        shown = {e.path.text for e in head.manifest.entries} if head else set()
        assert shown <= SERVER_OWNED
        assert subject.push(plan, blobs).created
        assert subject.holds(FIRST)

    def test_two_writers_and_one_of_them_wins(self, subject: Subject) -> None:
        subject.publish(FIRST)
        variants = [{"config.json": b"%d" % n, "w.safetensors": WEIGHTS} for n in range(4)]
        plans = [subject.plan(files) for files in variants]

        def attempt(number: int) -> str:
            try:
                subject.push(plans[number], blobs_of(plans[number], variants[number]))
            except RevisionConflict:
                return "conflict"
            return "won"

        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(attempt, range(4)))
        assert sorted(outcomes) == ["conflict"] * 3 + ["won"]
        assert subject.holds(variants[outcomes.index("won")])

    def test_writers_of_the_same_at_once_all_succeed(self, subject: Subject) -> None:
        start = subject.registry.start(subject.destination)
        plan = evolve(subject.plan(FIRST), start=start.revision if start else None)
        with ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(subject.push, plan, blobs_of(plan, FIRST)) for _ in range(3)]
        assert len({job.result().revision for job in jobs}) == 1
        assert subject.holds(FIRST)

    def test_progress_ends_where_it_said(self, subject: Subject) -> None:
        plan = subject.plan(FIRST)
        seen: list[tuple[str, int, int]] = []
        subject.registry.push(
            plan,
            blobs_of(plan, FIRST),
            message="publish",
            progress=lambda stage, done, total: seen.append((stage, done, total)),
        )
        assert seen
        assert {stage for stage, _, _ in seen} == {"upload"}
        assert seen[-1][1:] == (plan.upload_bytes, plan.upload_bytes)
        assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)

    def test_what_is_on_record_is_what_is_there(self, subject: Subject) -> None:
        first = subject.publish(FIRST).revision
        second = subject.publish(SECOND).revision
        for files, revision in ((FIRST, first), (SECOND, second)):
            told = subject.registry.recorded(subject.destination, revision)
            assert told.revision == revision
            assert read_back_differences(manifest_of(files), told.manifest) == ()
        with pytest.raises(DestinationMissing):
            subject.registry.recorded(subject.destination, "0" * 40)

    def test_the_beginning_of_an_id_is_enough(self, subject: Subject) -> None:
        """As people copy it from a page or a message."""
        first = subject.publish(FIRST)
        subject.publish(SECOND)
        registry, place = subject.registry, subject.destination
        beginning = first.revision[: first.revision.find(":") + 11]
        for short in {beginning, beginning.removeprefix("sha256:")}:
            assert registry.recorded(place, short) == registry.recorded(place, first.revision)
        unknown = "".join("0" if digit != "0" else "1" for digit in beginning[-10:])
        for short in (unknown, f"sha256:{unknown}"):
            with pytest.raises(DestinationMissing):
                registry.recorded(place, short)

    def test_no_secret_is_shown(self, subject: Subject) -> None:
        subject.publish(FIRST)
        stale = evolve(subject.plan(SECOND), parent="a" * 40)
        with pytest.raises(RevisionConflict) as conflict:
            subject.push(stale, blobs_of(stale, SECOND))
        shown = "".join(traceback.format_exception(conflict.value))
        shown += repr(conflict.value) + repr(subject.registry)
        assert subject.secret not in shown

    # --- what was published before ---------------------------------------------------------------

    def test_nothing_has_no_past(self, subject: Subject) -> None:
        assert subject.registry.history(subject.destination, limit=5) == ()
        assert subject.registry.tags(subject.destination) == {}

    def test_the_newest_publication_comes_first(self, subject: Subject) -> None:
        first = subject.publish(FIRST)
        second = subject.publish(SECOND)
        told = subject.registry.history(subject.destination, limit=2)
        assert [each.id for each in told] == [second.revision, first.revision]
        assert {each.message for each in told} == {"publish"}
        assert all(each.when >= "2026-01-01T00:00:00" for each in told)
        assert subject.registry.history(subject.destination, limit=1) == told[:1]

    def test_a_no_op_is_no_publication(self, subject: Subject) -> None:
        subject.publish(FIRST)
        before = subject.registry.history(subject.destination, limit=9)
        subject.publish(FIRST)
        assert subject.registry.history(subject.destination, limit=9) == before

    @pytest.mark.parametrize("path", ["model.safetensors", "weights/notes.txt", "empty.txt"])
    def test_a_file_of_an_old_revision_can_be_read(self, subject: Subject, path: str) -> None:
        first = subject.publish(FIRST)
        subject.publish(SECOND)
        name = ArtifactPath(path)
        with subject.registry.open(subject.destination, first.revision, name) as stream:
            assert stream.read(7) == FIRST[path][:7]
            assert stream.read() == FIRST[path][7:]

    def test_a_file_that_is_not_there(self, subject: Subject) -> None:
        first = subject.publish(FIRST)
        for revision, path in ((first.revision, "no.txt"), ("0" * 40, "config.json")):
            with pytest.raises(DestinationMissing):
                subject.registry.open(subject.destination, revision, ArtifactPath(path))

    def test_a_tag_names_a_revision_and_stays(self, subject: Subject) -> None:
        registry, place = subject.registry, subject.destination
        first = subject.publish(FIRST)
        registry.tag(place, "v1", first.revision)
        registry.tag(place, "v1", first.revision)
        second = subject.publish(SECOND)
        with pytest.raises(TagTaken) as taken:
            registry.tag(place, "v1", second.revision)
        assert (taken.value.tag, taken.value.revision) == ("v1", first.revision)
        assert registry.tags(place) == {"v1": first.revision}
        assert registry.manifest(place, "v1").revision == first.revision
        told = registry.history(place, limit=2)
        assert [each.tags for each in told] == [(), ("v1",)]

    def test_a_tag_is_not_named_like_a_branch(self, subject: Subject) -> None:
        registry, place = subject.registry, subject.destination
        branch = evolve(place, revision="dev")
        for each in (place, branch):
            evolve(subject, destination=each).publish(FIRST)
        for here in (place, branch):
            assert registry.tags(here, wanted=["v1"]) == {}
            with pytest.raises(UsageError, match="is a branch"):
                registry.tags(here, wanted=["v1", "dev" if here == place else place.revision])

    def test_a_tag_is_moved_on_demand(self, subject: Subject) -> None:
        registry, place = subject.registry, subject.destination
        registry.tag(place, "v1", subject.publish(FIRST).revision)
        second = subject.publish(SECOND)
        registry.tag(place, "v1", second.revision, move=True)
        assert registry.tags(place) == {"v1": second.revision}

    def test_a_tag_needs_a_revision(self, subject: Subject) -> None:
        subject.publish(FIRST)
        with pytest.raises(DestinationMissing):
            subject.registry.tag(subject.destination, "v1", "0" * 40)
        assert subject.registry.tags(subject.destination) == {}

    def test_an_old_revision_is_restored(self, subject: Subject) -> None:
        registry, place = subject.registry, subject.destination
        first = subject.publish(FIRST)
        registry.tag(place, "good", first.revision)
        second = subject.publish(SECOND)
        back = registry.restore(place, "good", parent=second.revision, message="roll back")
        assert back.created
        assert subject.holds(FIRST)
        newest, before, *_ = registry.history(place, limit=3)
        assert (newest.id, newest.message) == (back.revision, "roll back")
        assert before.id == second.revision
        again = registry.restore(place, "good", parent=back.revision, message="roll back")
        assert (again.created, again.revision) == (False, back.revision)
        forth = registry.restore(place, second.revision, parent=back.revision, message="forth")
        assert forth.created and subject.holds(SECOND)

    def test_restoring_needs_the_head_it_was_planned_on(self, subject: Subject) -> None:
        registry, place = subject.registry, subject.destination
        first = subject.publish(FIRST)
        second = subject.publish(SECOND)
        with pytest.raises(RevisionConflict) as conflict:
            registry.restore(place, first.revision, parent=first.revision, message="back")
        assert conflict.value.actual == second.revision
        with pytest.raises(DestinationMissing):
            registry.restore(place, "0" * 40, parent=second.revision, message="back")
        assert subject.holds(SECOND)

    def test_publishing_goes_on_after_a_restoration(self, subject: Subject) -> None:
        registry, place = subject.registry, subject.destination
        first = subject.publish(FIRST)
        second = subject.publish(SECOND)
        registry.restore(place, first.revision, parent=second.revision, message="back")
        assert subject.publish(SECOND).created
        assert subject.holds(SECOND)
        third = {**SECOND, "config.json": b'{"a": 3}\n'}
        assert subject.publish(third).created
        assert subject.holds(third)

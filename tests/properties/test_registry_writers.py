"""Two writers of one place, in any order, and crashes in between: old or new, and never both."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

import pytest
from attrs import define, evolve
from hypothesis import HealthCheck, example, given, settings, strategies as st

from tests.contracts.registry import Files, Subject, blobs_of
from tests.places import PLACES, Places
from weighbridge.application.ports import Blob
from weighbridge.domain.errors import RevisionConflict
from weighbridge.domain.publication import PublicationPlan

BIG = bytes(range(256)) * 5000
VARIANTS: tuple[Files, ...] = (
    {"config.json": b"{}", "w.safetensors": BIG},
    {"config.json": b"{}", "w.safetensors": BIG[::-1]},
    {"README.md": b"# m\n", "w.safetensors": BIG, "more/x.safetensors": BIG[:1000]},
)
#: Who does what: plans one of the variants, pushes that plan, or dies at the n-th step of a push.
STEPS = st.tuples(
    st.sampled_from("ab"), st.sampled_from(["plan", "push", "die"]), st.integers(0, 8)
)


class Crash(BaseException):
    """The process dies here."""


@define
class Fuse:
    """Burns with each step and ends in a crash."""

    left: int

    def burn(self, *_: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def on(self, blob: Blob) -> Blob:
        """``blob``, whose streams burn with every read."""
        fuse = self

        class Burning(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                fuse.burn()
                return super().read(size)

        def opened() -> BinaryIO:
            fuse.burn()
            with blob.open() as stream:
                return Burning(stream.read())

        return evolve(blob, open=opened)


@define
class World:
    """The place, what should be there, and what the writers have planned."""

    place: Subject
    there: Files | None
    plans: dict[str, tuple[PublicationPlan, Files]]

    def step(self, who: str, what: str, number: int) -> None:
        if what == "plan":
            files = VARIANTS[number % len(VARIANTS)]
            self.plans[who] = (self.place.plan(files), files)
        elif who in self.plans:
            plan, files = self.plans[who]
            self._push(plan, files, Fuse(number if what == "die" else 10**9))
        self.check()

    def _push(self, plan: PublicationPlan, files: Files, fuse: Fuse) -> None:
        registry, before, ground = self.place.registry, self._head(), self._ground()
        blobs = {path: fuse.on(blob) for path, blob in blobs_of(plan, files).items()}
        try:
            receipt = registry.push(plan, blobs, message="m", progress=fuse.burn)
        except RevisionConflict:
            assert plan.parent not in ground and self.there != files
        except Crash:
            if self._head() != before:  # it died after the one request that counts
                self.there = files
        else:
            assert plan.parent in ground or self.there == files
            assert receipt.revision == self._head()
            assert receipt.created is (self.there != files)
            self.there = files

    def _ground(self) -> set[str | None]:
        """What a plan may rest on: the head; nothing, too, where all is the Hub's own."""
        head = self.place.registry.head(self.place.destination)
        ours = self._head()
        return {ours} if ours or head is None else {None, head.revision}

    def _head(self) -> str | None:
        head = self.place.registry.head(self.place.destination)
        return head.revision if head and self._ours(head.manifest.entries) else None

    def _ours(self, entries: object) -> bool:
        """An empty repository, as a crash may leave it on the Hub, is as good as none."""
        return any(str(e.path) != ".gitattributes" for e in entries)  # type: ignore[attr-defined]

    def check(self) -> None:
        if self.there is None:
            assert self._head() is None
        else:
            assert self.place.holds(self.there)


@pytest.fixture(scope="module", params=PLACES)
def places(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch, PLACES[request.param](folder, patch) as made:
        yield made


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=3, max_size=8))
# It dies when the Hub has a repository with nothing of ours, on which the next one plans.
@example([("a", "plan", 0), ("a", "plan", 0), ("a", "die", 7)])
def test_two_writers_and_crashes(places: Places, steps: list[tuple[str, str, int]]) -> None:
    world = World(places(), None, {})
    for step in steps:
        world.step(*step)
    for who, number in (("a", 0), ("b", 1)):  # whoever comes again gets through
        world.step(who, "plan", number)
        world.step(who, "push", 0)
        assert world.there == VARIANTS[number]

"""One signed release through every registry and back: the same files, digest by digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

import weighbridge
from tests.builders import lora_files, write
from tests.integration.test_releases import keys
from tests.places import PLACES, Places
from weighbridge.domain.publication import Destination

KINDS = ("directory", "hub", "oci", "s3")
#: From each kind to each, its own included: after the first, every copy goes on from the last.
TOUR = ("directory", "directory", "hub", "hub", "oci", "oci", "s3", "s3", "directory", "oci",
        "directory", "s3", "hub", "directory", "hub", "s3", "oci", "hub")  # fmt: skip


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, Places]]:
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(PLACES[kind](tmp_path / kind, monkeypatch)) for kind in KINDS
        }


def test_the_tour_goes_from_each_kind_to_each() -> None:
    assert set(pairwise(TOUR)) == {(a, b) for a in KINDS for b in KINDS}


@pytest.mark.slow
def test_a_signed_release_stays_what_it_is(places: Mapping[str, Places], tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    run = write(tmp_path / "run", lora_files())
    first = places["directory"]()
    weighbridge.publish(run, first.destination, base_model="acme/base", sign_key=private)
    original = pulled(first.destination, tmp_path / "original")
    assert {"weighbridge.json", "model.sig", "adapter_model.safetensors"} <= set(original)
    here, revisions = first, {}
    for number, kind in enumerate(TOUR[1:]):
        there = places[kind]()
        done = weighbridge.copy(here.destination, there.destination)
        assert done.receipt is not None and done.receipt.created
        if kind not in TOUR[: number + 1] or number == 0:
            verdict = weighbridge.verify_release(there.destination, key=public)
            assert verdict.sound and verdict.signature == "valid"
        assert pulled(there.destination, tmp_path / f"copy{number}") == original
        # Where a revision is named by the content, it is the same wherever it is.
        if kind in ("oci", "s3"):
            revisions[done.receipt.revision] = kind
        assert weighbridge.copy(here.destination, there.destination).plan.is_noop
        here = there
    assert len(revisions) == 1


def pulled(place: Destination, folder: Path) -> Mapping[str, bytes]:
    weighbridge.pull(place, folder)
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }

"""A plan that is written, read and carried out: exactly that, or nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weighbridge
from tests.builders import fused_files, lora_files, peft_files, write
from tests.contracts.registry import Subject
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.domain.errors import (
    ArtifactChanged,
    OutputExists,
    RevisionConflict,
    TagTaken,
    UsageError,
    WeighbridgeError,
)
from weighbridge.domain.publication import LocalRegistry
from weighbridge.entrypoints.saved_plans import SavedPlan

KINDS = {"lora": lora_files, "peft": peft_files, "fused": fused_files}


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run beside the registry, named as a caller in the same directory would."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "run", KINDS[request.param]())
    return "run"


def plan(run: str, **said: Any) -> SavedPlan:
    made: SavedPlan = weighbridge.plan(run, "registry", name="acme/bot", **said)
    return made


def head(name: str = "acme/bot") -> str | None:
    ref = Path("registry", "models--" + name.replace("/", "--"), "refs", "main")
    return ref.read_text() if ref.exists() else None


EDITS: dict[str, Callable[[Any], object]] = {
    "no digest": lambda d: d["source"][0].update(digests={}),
    "no digest of a file": lambda d: d["plan"]["files"][0].update(digests={}),
    "changes left out": lambda d: d["plan"].update(changes=[]),
    "a removal": lambda d: d["plan"]["changes"].append(
        {**d["plan"]["changes"][0], "action": "remove", "path": "theirs.txt"}
    ),
    "said to be private": lambda d: d["options"].update(public=True),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_plan_that_does_not_say_what_would_be_done(run: str, edit: str) -> None:
    plan(run, output="plan.json")
    document = json.loads(Path("plan.json").read_text())
    EDITS[edit](document)
    Path("plan.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=r"edited|no digest"):
        weighbridge.publish(plan="plan.json")
    assert head() is None


def test_there_and_back(run: str) -> None:
    made = plan(run, output="plan.json", tags=["v1"], licence="mit")
    assert weighbridge.load_plan("plan.json") == made
    assert not Path("registry").exists() and not made.plan.does_nothing


def test_the_plan_is_carried_out_and_again_is_a_no_op(run: str) -> None:
    made = plan(run, output="plan.json", tags=["v1"])
    done = weighbridge.publish(plan="plan.json")
    assert done.receipt.created and done.plan.manifest == made.plan.manifest
    again = weighbridge.publish(plan=made)
    assert (again.receipt.created, again.receipt.revision) == (False, done.receipt.revision)
    assert plan(run, tags=["v1"]).plan.does_nothing
    assert not plan(run, tags=["v1", "v2"]).plan.does_nothing


def test_the_file_holds_no_path_of_this_machine(run: str, tmp_path: Path) -> None:
    plan(run, output="plan.json")
    text = Path("plan.json").read_text()
    assert str(tmp_path) not in text and os.path.expanduser("~") not in text
    first = text
    plan(run, output="plan.json")
    assert Path("plan.json").read_text() == first


def _flip(name: str) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        file = next(p for p in run.rglob(name) if p.is_file())
        raw = bytearray(file.read_bytes())
        raw[-1] ^= 1
        file.write_bytes(raw)

    return change


CHANGES: dict[str, Callable[[Path], object]] = {
    "a bit of the weights": _flip("*.safetensors"),
    "a space in the config": lambda run: [
        p.write_bytes(p.read_bytes() + b" ") for p in run.glob("*config.json")
    ],
    "a new file that ships": lambda run: (run / "LICENSE").write_text("new"),
    "another card": lambda run: (run / "README.md").write_text(
        "---\nlicense: mit\nbase_model: acme/base\n---\n# Bot\n\nIt answers questions.\n"
    ),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_byte_of_the_source_that_is_another_now(run: str, how: str) -> None:
    plan(run, output="plan.json")
    CHANGES[how](Path(run))
    with pytest.raises(ArtifactChanged, match="when the plan was made"):
        weighbridge.publish(plan="plan.json")
    assert head() is None


def test_files_that_do_not_matter_may_come(run: str) -> None:
    plan(run, output="plan.json")
    Path(run, "train.log").write_text("done")
    assert weighbridge.publish(plan="plan.json").receipt.created


def test_somebody_published_meanwhile(run: str) -> None:
    plan(run, output="plan.json")
    other = write(Path("other"), KINDS["lora"]() | {"LICENSE": b"of the other"})
    theirs = weighbridge.publish(other, "registry", name="acme/bot").receipt.revision
    with pytest.raises(RevisionConflict) as conflict:
        weighbridge.publish(plan="plan.json")
    assert (conflict.value.expected, conflict.value.actual) == (None, theirs)
    assert head() == theirs


def test_a_tag_that_was_free_when_planned(run: str) -> None:
    plan(run, output="plan.json", tags=["v1"])
    other = write(Path("other"), KINDS["lora"]() | {"LICENSE": b"of the other"})
    place: dict[str, Any] = {"to": "registry", "name": "acme/bot"}
    weighbridge.publish(other, branch="theirs", tags=["v1"], **place)
    with pytest.raises(TagTaken):
        weighbridge.publish(plan="plan.json")
    assert head() is None


def test_a_run_that_moved(run: str) -> None:
    plan(run, output="plan.json")
    shutil.move(run, "elsewhere")
    with pytest.raises(WeighbridgeError):
        weighbridge.publish(plan="plan.json")


def test_nothing_is_said_beside_a_plan(run: str) -> None:
    made = plan(run)
    with pytest.raises(UsageError):
        weighbridge.publish(run, plan=made)
    with pytest.raises(UsageError):
        weighbridge.publish(run)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(schema="weighbridge/plan/2"),
        lambda d: d.pop("plan"),
        lambda d: d["options"].update(token="x"),
        lambda d: d["options"].update(public="yes"),
        lambda d: d["options"].update(tags=[1]),
        lambda d: d["options"].update(to="ftp://x"),
        lambda d: d["plan"]["files"][0].update(path="../x"),
        lambda d: d["plan"]["files"][0].update(size="1"),
        lambda d: d["plan"]["changes"][0].update(action="burn"),
        lambda d: d["source"].append({}),
        lambda d: d.update(plan=[]),
    ],
)
def test_a_file_that_is_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "run", lora_files())
    plan("run", output="plan.json")
    document = json.loads(Path("plan.json").read_text())
    spoil(document)
    Path("plan.json").write_text(json.dumps(document))
    with pytest.raises(UsageError):
        weighbridge.load_plan("plan.json")


def test_a_plan_does_not_go_into_the_artifact(run: str) -> None:
    with pytest.raises(UsageError):
        plan(run, output="run/plan.json")


# --- what others put there ------------------------------------------------------------------------


def test_files_of_others_are_not_removed_in_silence(
    run: str, caplog: pytest.LogCaptureFixture
) -> None:
    def warned() -> list[str]:
        found = [r.getMessage() for r in caplog.records if r.name == "weighbridge.publish"]
        caplog.clear()
        return found

    place = Subject(DirectoryRegistry(), LocalRegistry("registry", "acme/bot"))
    theirs = place.publish({f"{n}.gguf": b"GGUF" for n in range(7)})
    planned = plan(run)
    assert [c.path.text for c in planned.plan.of("remove")] == [f"{n}.gguf" for n in range(7)]
    assert not warned()  # a plan says it itself
    weighbridge.publish(run, "registry", name="acme/bot")
    (said,) = warned()
    assert "removes what Weighbridge did not publish there: 0.gguf, 1.gguf" in said
    assert "4.gguf and 2 more" in said and theirs.revision in said
    # What is removed of one's own, and what was approved, is no news.
    other = next(kind for kind in KINDS.values() if kind().keys() != KINDS["lora"]().keys())
    write(Path("other"), other() | {"LICENSE": b"MIT"})
    weighbridge.publish("other", "registry", name="acme/bot")
    weighbridge.publish(run, "registry", name="acme/bot")
    assert not warned()
    place.publish({"theirs.txt": b"theirs"})
    weighbridge.publish(plan=plan(run))
    assert not warned() and place.registry.head(place.destination) is not None


# --- where a file of ours goes --------------------------------------------------------------------


def nothing_is_done(*_: object) -> None:
    pytest.fail("work was begun for an output that cannot be")


def test_a_place_that_cannot_be_written_is_found_before_any_work(run: str) -> None:
    Path("dangling").symlink_to("nowhere/plan.json")
    for output in ("dangling", "nowhere/plan.json", "/proc/plan.json", "run/plan.json", "."):
        with pytest.raises(WeighbridgeError):
            plan(run, output=output, progress=nothing_is_done)
    Path("shelf").symlink_to("nowhere")
    weighbridge.publish(run, "registry", name="acme/bot")
    with pytest.raises(OutputExists):
        weighbridge.pull("registry", "shelf", name="acme/bot", progress=nothing_is_done)
    weighbridge.pull("registry", "shelf", name="acme/bot", force=True)


def test_a_link_that_is_written_through_stays(run: str) -> None:
    Path("kept").mkdir()
    for there in (False, True):
        link = Path(f"latest-{there}.json")
        link.symlink_to(f"kept/{there}.json")
        if there:
            link.write_text("before")
        made = plan(run, output=link)
        assert link.is_symlink() and weighbridge.load_plan(link) == made


# --- .weighbridgeignore ---------------------------------------------------------------------------


def shipped(run: str) -> set[str]:
    return {e.path.text for e in plan(run).plan.manifest.entries}


def test_what_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    extra = {"LICENSE": b"mit", "NOTICE": b"n", "generation_config.json": b"{}"}
    run = str(write(tmp_path / "run", fused_files() | extra))
    everything = shipped(run)
    Path(run, ".weighbridgeignore").write_text("# legal\nLICEN*\nNOTICE\n!NOTICE\nREADME.md\n")
    assert everything - shipped(run) == {"LICENSE", "README.md"}
    # It can only take away.
    Path(run, "train.jsonl").write_text("{}\n")
    Path(run, ".weighbridgeignore").write_text("*\n!train.jsonl\n!config.json\n!*.safetensors\n")
    assert shipped(run) == {"config.json", "model.safetensors", "weighbridge.json"}


@pytest.mark.parametrize("pattern", ["*", "*.safetensors", "*config.json", "/**", "!x\n*.json"])
def test_what_the_model_needs_is_not_taken_away(run: str, pattern: str) -> None:
    Path(run, ".weighbridgeignore").write_text(pattern)
    with pytest.raises(UsageError, match="without which there is no model"):
        plan(run)


@pytest.mark.parametrize("pattern", ["*a*a*a*a*b", "**/**/**/**/x"])
def test_a_pattern_that_takes_for_ever_is_refused(run: str, pattern: str) -> None:
    Path(run, ".weighbridgeignore").write_text(pattern)
    with pytest.raises(UsageError, match="wildcards"):
        plan(run)


def test_a_link_is_not_followed_and_not_passed_over(run: str) -> None:
    Path(run, "patterns").write_text("LICENSE")
    Path(run, ".weighbridgeignore").symlink_to("patterns")
    with pytest.raises(UsageError, match="symlink"):
        plan(run)

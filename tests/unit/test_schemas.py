"""What the console script prints under ``--format json`` always parses and fits its schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.builders import (
    LORA_SPECS,
    Q,
    fused_files,
    lora_files,
    peft_files,
    raw_tensors,
    sharded_files,
    tensors,
    write,
)
from tests.checkpoints import base_files, packed_files, run_files

SCHEMAS = Path(__file__).parents[2] / "schemas" / "v1"
SCRIPT = Path(sys.prefix, "bin", "weighbridge")
NAMES = [
    "baseline",
    "completion",
    "conversion",
    "copy",
    "dequantization",
    "diff",
    "error",
    "fusion",
    "help",
    "inspection",
    "log",
    "plan",
    "proof",
    "publication",
    "pull",
    "release",
    "repair",
    "report",
    "rollback",
    "rules",
    "version",
]


def schema(name: str) -> dict[str, Any]:
    return dict(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def run(cwd: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document, checked against the schema that it names."""
    env = os.environ | {"HF_HOME": str(cwd / "no-cache"), "HF_HUB_OFFLINE": "1"}
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_ENDPOINT"):
        env.pop(name, None)
    done = subprocess.run(
        [SCRIPT, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    document = json.loads(done.stdout)
    family, name, version = document["schema"].split("/")
    assert (family, version) == ("weighbridge", "1")
    jsonschema.Draft202012Validator(schema(name)).validate(document)
    return done.returncode, document


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write(root / "lora", lora_files())
    write(root / "nested", lora_files("adapters"))
    write(root / "peft", peft_files())
    write(root / "fused", fused_files())
    write(root / "by-hand", peft_files() | {"adapter_model.safetensors": tensors(LORA_SPECS)})
    write(root / "sharded", sharded_files())
    write(root / "both", lora_files("adapters") | fused_files())
    write(root / "broken", lora_files() | {"adapters.safetensors": raw_tensors(b"{]")})
    write(root / "blocked", lora_files(model="/Users/ada/base", weird=["\u202e\x1b"]))
    write(root / "half", {"adapters.safetensors": b"", "evil\u202e.txt": b"x"})
    write(root / "empty", {})
    write(root / "file", {"x": b""})
    return root


def test_there_is_a_schema_of_every_document() -> None:
    assert sorted(p.name for p in SCHEMAS.iterdir()) == [f"{n}.schema.json" for n in NAMES]


def objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from objects(child)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_sound_and_closed(name: str) -> None:
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$schema"].endswith("2020-12/schema")
    assert found["properties"]["schema"]["const"] == f"weighbridge/{name}/1"
    for each in objects(found):
        assert "additionalProperties" in each and each["additionalProperties"] is not True
        if "required" in each:
            assert set(each["required"]) == set(each["properties"])
            assert each["additionalProperties"] is False


@pytest.mark.parametrize("kind", ["lora", "nested", "peft", "fused", "sharded"])
@pytest.mark.parametrize("command", ["inspect", "validate"])
def test_reading_a_good_model(models: Path, command: str, kind: str) -> None:
    code, document = run(models, command, kind, "--format", "json")
    wanted = {"nested": "lora", "sharded": "fused"}.get(kind, kind)
    assert code == 0 and document["kind"] == wanted
    assert (
        document["schema"] == f"weighbridge/{'report' if command == 'validate' else 'inspection'}/1"
    )


def test_the_option_before_the_command_and_with_an_equals_sign(models: Path) -> None:
    for arguments in (
        ["--format", "json", "inspect", "lora"],
        ["inspect", "lora", "--format=json"],
    ):
        assert run(models, *arguments)[0] == 0


@pytest.mark.parametrize(
    ("model", "code"), [("blocked", 1), ("broken", 1), ("both", 3), ("half", 3), ("empty", 3),
                        ("missing", 3), ("file/x", 3)],
)  # fmt: skip
def test_validate_bad(models: Path, model: str, code: int) -> None:
    found, document = run(models, "validate", model, "--format", "json")
    assert found == code and document["schema"] == "weighbridge/report/1"
    assert document["findings"] and document["counts"]["error"] and not document["overall_valid"]


@pytest.mark.parametrize("model", ["broken", "both", "half", "empty", "missing", "file/x"])
@pytest.mark.parametrize(
    "command",
    [
        ["inspect"],
        ["convert", "-o", "out"],
        ["repair", "-o", "out"],
        ["fuse", "-o", "out", "--base", "fused"],
        ["dequantize", "-o", "out"],
        ["verify", "peft"],
        ["publish", "reg", "--name", "a/b"],
    ],
    ids=lambda c: c[0],
)
def test_failing_on_a_bad_model(models: Path, command: list[str], model: str) -> None:
    name, *rest = command
    positional = [rest.pop(0)] if name in ("verify", "publish") else []
    code, document = run(models, name, model, *positional, *rest, "--format", "json")
    assert code == document["exit_code"] and code in (1, 3)
    assert document["schema"] == "weighbridge/error/1" and document["message"]
    assert not (models / "out").exists() and not (models / "reg").exists()


def test_convert_then_verify_then_validate(models: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    code, document = run(models, "convert", "lora", "-o", out, "--format", "json")
    assert code == 0 and document["tensors"] == 2 and document["proof"]["passed"]
    code, document = run(models, "verify", "lora", out, "--format", "json")
    assert code == 0 and document["level"] == "algebra"
    assert run(models, "validate", out, "--format", "json")[0] == 0
    code, document = run(models, "convert", "lora", "-o", out, "--format", "json")
    assert (code, document["error"]) == (2, "OutputExists")
    assert run(models, "convert", "lora", "-o", out, "--force", "--format", "json")[0] == 0
    code, document = run(models, "verify", "lora", "peft", "--format", "json")
    assert code == 0 and document["schema"] == "weighbridge/proof/1"


def test_fuse(models: Path, tmp_path: Path) -> None:
    run_of = str(write(tmp_path / "run", run_files(dora=True)))
    base = str(write(tmp_path / "base", base_files(sharded=True)))
    command = ["fuse", run_of, "-o", str(tmp_path / "out"), "--format", "json"]
    code, document = run(models, *command, "--base", base)
    assert code == 0 and document["scales"] == [20.0] and document["proof"]["passed"]
    assert document["changed"] == [f"{Q}.weight"] and document["tensors"] == 4
    code, document = run(models, *command, "--base", base)
    assert (code, document["error"]) == (2, "OutputExists")
    assert run(models, *command, "--base", base, "--force")[0] == 0
    code, document = run(models, *command, "--force")
    assert (code, document["error"]) == (2, "UsageError")
    code, document = run(models, *command, "--base", str(models / "fused"), "--force")
    assert (code, document["error"]) == (1, "NotConvertible")


def test_dequantize(models: Path, tmp_path: Path) -> None:
    packed = str(write(tmp_path / "packed", packed_files()))
    command = ["dequantize", packed, "-o", str(tmp_path / "out"), "--format", "json"]
    code, document = run(models, *command, "--shard-gb", "1e-9")
    assert code == 0 and len(document["files"]) == 7
    packing = {"mode": "affine", "bits": 4, "group_size": 64, "modules": 1}
    assert document["packings"] == [packing] and document["renamed"] == 0
    few = ("--ignore", "CF021,CF024")  # a layer of one matrix
    assert run(models, "validate", str(tmp_path / "out"), "--format", "json", *few)[0] == 0
    code, document = run(models, *command)
    assert (code, document["error"]) == (2, "OutputExists")
    code, document = run(models, *command, "--shard-gb", "0")
    assert code == 2


def test_a_wrong_conversion_is_not_proved(models: Path) -> None:
    code, document = run(models, "verify", "lora", "peft", "--scale", "3", "--format", "json")
    assert code == 1 and document["passed"] is False and document["level"] is None


def test_a_level_that_is_not_reached(models: Path) -> None:
    arguments = ["verify", "lora", "peft", "--require-proof", "logits", "--format", "json"]
    code, document = run(models, *arguments)
    assert code == 1 and document["error"] == "ProofFailed"
    assert document["proof"]["unattempted"]


@pytest.mark.parametrize("model", ["fused", "peft", "blocked"])
def test_not_convertible(models: Path, model: str) -> None:
    code, document = run(models, "convert", model, "-o", "out", "--format", "json")
    assert (code, document["error"]) == (1, "NotConvertible")


def test_repair(models: Path, tmp_path: Path) -> None:
    out, rest = str(tmp_path / "out"), ["--format", "json", "--original", "lora"]
    code, document = run(models, "repair", "by-hand", "--dry-run", *rest)
    assert code == 0 and document["output"] is None and document["proof"] is None
    code, document = run(models, "repair", "by-hand", "-o", out, *rest)
    assert code == 0 and document["needed"] and document["proof"]["level"] == "algebra"
    assert {d["code"] for d in document["defects"]} == {"PE002", "PE005", "PE009"}
    assert {t["operation"] for t in document["tensors"]} == {"transposed"}
    code, document = run(models, "repair", out, "-o", str(tmp_path / "again"), *rest)
    assert code == 0 and not document["needed"] and not document["files"]
    assert document["proof"]["passed"] and not (tmp_path / "again").exists()
    code, document = run(models, "repair", "by-hand", "-o", out, *rest)
    assert (code, document["error"]) == (2, "OutputExists")


def test_what_cannot_be_repaired_is_explained(models: Path, tmp_path: Path) -> None:
    write(tmp_path / "bad", peft_files(lora_alpha=None))
    arguments = [str(tmp_path / "bad"), "-o", str(tmp_path / "out"), "--format", "json"]
    code, document = run(models, "repair", *arguments)
    assert (code, document["error"]) == (1, "NotRepairable") and "--scale" in document["message"]
    assert [f["code"] for f in document["report"]["findings"]] == ["PE017"]


@pytest.mark.parametrize("model", ["lora", "peft", "fused", "sharded"])
def test_publish(models: Path, tmp_path: Path, model: str) -> None:
    where = [str(tmp_path / "registry"), "--name", f"acme/{model}", "--format", "json"]
    code, document = run(models, "publish", model, *where, "--dry-run")
    assert code == 0 and document["receipt"] is None and not (tmp_path / "registry").exists()
    code, first = run(models, "publish", model, *where)
    assert code == 0 and first["receipt"]["created"] is True
    code, again = run(models, "publish", model, *where)
    assert code == 0 and again["plan"]["noop"] and again["receipt"]["created"] is False
    assert again["receipt"]["revision"] == first["receipt"]["revision"]


def test_plan_then_the_past(models: Path, tmp_path: Path) -> None:
    form = ["--format", "json"]
    place = [str(tmp_path / "registry"), "--name", "acme/bot", *form]
    saved = str(tmp_path / "plan.json")
    code, planned = run(models, "plan", "lora", *place, "--tag", "v1", "-o", saved)
    assert code == 0 and not planned["does_nothing"] and planned["proof"] == "algebra"
    assert json.loads(Path(saved).read_text()) == planned
    options = ["--tag", "v1", "--detailed-exitcode"]
    assert run(models, "plan", "lora", *place, *options)[0] == 6
    code, first = run(models, "publish", "--plan", saved, *form)
    assert code == 0 and first["plan"]["files"] == planned["plan"]["files"]
    code, planned = run(models, "plan", "lora", *place, *options)
    assert code == 0 and planned["does_nothing"]
    code, _ = run(models, "publish", "peft", *place)
    assert code == 0
    code, told = run(models, "log", *place)
    assert code == 0 and [each["tags"] for each in told["revisions"]] == [[], ["v1"]]
    sides = [f"{place[0]}@v1", place[0]]
    code, differs = run(models, "diff", *sides, *place[1:])
    assert code == 0 and differs["before"]["revision"] == first["receipt"]["revision"]
    assert {c["action"] for c in differs["changes"]} >= {"change"}
    for more, created in ((["--dry-run"], None), ([], True), ([], False)):
        code, back = run(models, "rollback", *place, "--to", "v1", *more)
        assert code == 0 and (back["receipt"] and back["receipt"]["created"]) is created
    assert back["receipt"]["revision"] == first["receipt"]["revision"]


def test_pull_and_copy(models: Path, tmp_path: Path) -> None:
    shelf, other, out = (str(tmp_path / name) for name in ("shelf", "other", "out"))
    code, first = run(models, "publish", "peft", shelf, "--name", "a/b", "--format", "json")
    assert code == 0
    source = [shelf, "--name", "a/b", "--format", "json"]
    code, document = run(models, "pull", *source, "-o", out)
    assert code == 0 and document["revision"] == first["receipt"]["revision"]
    assert {f["path"] for f in document["files"]} == {p.name for p in Path(out).iterdir()}
    code, document = run(models, "pull", *source, "-o", out)
    assert (code, document["error"]) == (2, "OutputExists")
    assert run(models, "pull", *source, "-o", out, "--force")[0] == 0
    places = [shelf, other, "--source-name", "a/b", "--name", "c/d", "--format", "json"]
    code, document = run(models, "copy", *places, "--dry-run")
    assert code == 0 and document["receipt"] is None and not Path(other).exists()
    code, document = run(models, "copy", *places)
    assert code == 0 and document["receipt"]["created"] is True
    code, document = run(models, "copy", *places)
    assert code == 0 and document["plan"]["noop"] and document["receipt"]["created"] is False
    code, document = run(models, "pull", shelf, "--name", "a/none", "-o", "new", *source[3:])
    assert (code, document["error"]) == (4, "DestinationMissing")


def test_publish_blocked_carries_the_report(models: Path, tmp_path: Path) -> None:
    write(tmp_path / "mock", lora_files() | {"README.md": b"# TODO\n"})
    where = [str(tmp_path / "registry"), "--name", "acme/bot"]
    code, document = run(models, "publish", str(tmp_path / "mock"), *where, "--format", "json")
    assert (code, document["error"]) == (1, "PublicationBlocked")
    assert [f["code"] for f in document["report"]["findings"]] == ["FS009", "CD006"]


def test_a_storage_that_fails_is_four(models: Path, tmp_path: Path) -> None:
    arguments = ["validate", "lora", "--base", str(tmp_path / "missing"), "--format", "json"]
    code, document = run(models, *arguments)
    assert (code, document["exit_code"], document["error"]) == (4, 4, "PathMissing")


def test_the_catalogue(models: Path) -> None:
    code, document = run(models, "rules", "--format", "json")
    assert code == 0 and len(document["rules"]) > 50
    code, document = run(models, "explain", "shard-missing", "--format", "json")
    assert code == 0 and [r["code"] for r in document["rules"]] == ["IX002"]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--help"], "weighbridge"),
        (["inspect", "-h"], "weighbridge inspect"),
        (["publish", "lora", "--help", "nonsense"], "weighbridge publish"),
    ],
)
@pytest.mark.parametrize("option", [["--format", "json"], ["--format=json"]])
def test_help(models: Path, arguments: list[str], command: str, option: list[str]) -> None:
    for line in (option + arguments, arguments + option):
        code, document = run(models, *line)
        assert code == 0 and document["command"] == command
        assert {"--format", "--help"} <= {n for o in document["options"] for n in o["names"]}
        assert bool(document["commands"]) is (command == "weighbridge")


def test_help_says_what_an_option_takes(models: Path) -> None:
    _, document = run(models, "publish", "--help", "--format", "json")
    assert document["usage"] == "weighbridge publish [OPTIONS] [RUN] [DEST]"
    assert document["arguments"][1] == {"name": "DEST", "required": False}
    options = {o["names"][-1]: o for o in document["options"]}
    assert options["--dry-run"]["value"] is None
    assert options["--license"]["value"] == "ID"
    assert options["--as"]["choices"] == ["lora", "fused", "peft"]


def test_version(models: Path) -> None:
    for line in (["--version", "--format", "json"], ["--format=json", "--version"]):
        code, document = run(models, *line)
        assert code == 0 and document["version"].count(".") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["inspect"],
        ["inspect", "lora", "more"],
        ["inspect", "lora", "--as", "gguf"],
        ["validate", "lora", "--nonsense"],
        ["convert", "lora"],
        ["convert", "lora", "-o", "out", "--scale", "much"],
        ["repair", "by-hand"],
        ["fuse", "lora", "--base", "fused"],
        ["dequantize", "fused"],
        ["dequantize", "fused", "-o", "out", "--shard-gb", "many"],
        ["verify", "lora"],
        ["publish"],
        ["publish", "lora"],
        ["publish", "--plan", "lora/adapter_config.json"],
        ["publish", "lora", "registry", "--name", "a/b", "--plan", "plan.json"],
        ["publish", "--plan", "plan.json", "--public"],
        ["publish", "lora", "registry", "--name", "a/b@x", "--branch", "y"],
        ["publish", "lora", "registry", "--name", "a/b", "--tag", "main"],
        ["publish", "lora", "registry", "--name", "a/b", "--tag", "v", "--pull-request"],
        ["plan", "lora"],
        ["plan", "lora", "registry", "--name", "a/b", "-o", "lora/plan.json"],
        ["log"],
        ["log", "registry"],
        ["diff", "registry@a", "--name", "a/b"],
        ["rollback", "registry", "--name", "a/b"],
        ["publish", "lora", "registry"],
        ["publish", "lora", "s3://bucket", "--name", "a/b"],
        ["publish", "lora", "hf://nonsense"],
        ["publish", "lora", "registry", "--name", "nonsense"],
        ["pull", "registry", "--name", "a/b"],
        ["pull", "registry", "-o", "out"],
        ["pull", "hf://a/b", "-o", ""],
        ["copy", "hf://a/b"],
        ["copy", "hf://a/b", "hf://a/b"],
        ["copy", "hf://a/b", "hf://c/d", "--name", "a/b"],
        ["explain"],
        ["explain", "ZZ999"],
        ["rules", "more"],
        ["completion"],
        ["completion", "tcsh"],
    ],
    ids=" ".join,
)
def test_usage_errors(models: Path, arguments: list[str]) -> None:
    code, document = run(models, "--format", "json", *arguments)
    assert code == 2 and document["exit_code"] == 2 and document["message"]
    assert document["schema"] == "weighbridge/error/1"
    assert not (models / "registry").exists()

"""The policy through the command line: where it is found, where it is not, and what it decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

import weighbridge
from tests.builders import lora_files, peft_files, tensors, write
from tests.unit.examples_of_contents import CARD
from weighbridge.domain.errors import PublicationBlocked, UsageError
from weighbridge.domain.tensors import TensorSpec
from weighbridge.entrypoints.cli import main

Run = Callable[..., tuple[int, str, str]]
#: FS009, an error; FS008, a warning.
ODD = lora_files() | CARD | {"NOTICE.txt": b"# TODO\n", ".DS_Store": b"x"}
SCHEMAS = Path(__file__).parents[2] / "schemas" / "v1"
BASELINE = json.loads((SCHEMAS / "baseline.schema.json").read_text())
DEEP = "a/b/model.safetensors"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a run that has findings, and the current directory."""
    write(tmp_path / "runs" / "odd", ODD)
    write(tmp_path / "runs" / "good", lora_files() | CARD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line; exit code, stdout, stderr."""

    def ask(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return ask


def codes(out: str) -> list[str]:
    return [f["code"] for f in json.loads(out)["findings"]]


@pytest.mark.parametrize(
    ("options", "code", "found"),
    [
        ([], 1, ["FS009", "FS008"]),
        (["--ignore", "FS009"], 0, ["FS008"]),
        (["--ignore", "placeholder-file,FS008"], 0, []),
        (["--select", "ST"], 0, []),
        (["--select", "FS008", "--fail-on", "warning"], 1, ["FS008"]),
        (["--fail-on", "never"], 0, ["FS009", "FS008"]),
        (["--severity", "FS=warning"], 0, ["FS008", "FS009"]),
        (["--severity", "FS009=info", "--severity", "FS008=error"], 1, ["FS008", "FS009"]),
    ],
)
def test_options(project: Path, run: Run, options: list[str], code: int, found: list[str]) -> None:
    done, out, _ = run("validate", "runs/odd", "--format", "json", *options)
    assert (done, codes(out)) == (code, found)


@pytest.mark.parametrize(
    ("name", "head"),
    [("weighbridge.toml", ""), ("pyproject.toml", "[tool.weighbridge]\n")],
)
def test_the_nearest_configuration_counts(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str, head: str
) -> None:
    (project / name).write_text(head + 'ignore = ["FS009"]\n')
    inner = project / "inner"
    write(inner, {"pyproject.toml": b"[project]\nname = 'x'\n"})  # none of ours
    monkeypatch.chdir(inner)
    validate = ["validate", "../runs/odd", "--format", "json"]
    assert run(*validate)[0] == 0
    assert run(*validate, "--isolated")[0] == 1
    (inner / "weighbridge.toml").write_text('fail-on = "warning"\n')
    assert run(*validate)[0] == 1
    assert run(*validate, "--config", str(project / name))[0] == 0


def test_no_policy_comes_from_the_artifact(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = project / "runs" / "odd" / "weighbridge.toml"
    evil.write_text('ignore = ["FS009"]\n')
    for cwd, given in ((project, "runs/odd"), (evil.parent, "."), (evil.parent, str(evil.parent))):
        monkeypatch.chdir(cwd)
        code, out, err = run("validate", given, "--format", "json")
        assert code == 1 and "FS009" in codes(out)
        assert ("lies in the artifact" in err) is (cwd == evil.parent)
    monkeypatch.chdir(project)
    (project / "weighbridge.toml").symlink_to(evil)
    code, _, err = run("validate", "runs/odd")
    assert code == 1 and "lies in the artifact" in err
    for option in ("--config", "--baseline"):
        code, _, err = run("validate", "runs/odd", option, str(evil))
        assert code == 2 and "must not decide" in err


def test_a_configuration_above_the_artifact_counts_from_inside_it_too(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "weighbridge.toml").write_text('ignore = ["FS009"]\n')
    monkeypatch.chdir(project / "runs" / "odd")
    assert run("validate", ".")[0] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('selct = ["ST"]', "did you mean select?"),
        ('ignore = ["FS09"]', "did you mean FS0"),
        ("[exceptions]", "exceptions must be a list"),
        ("x = ", "is no TOML"),
        (f"x = {'1' * 5000}", "is no TOML"),
        (f"x = {'[' * 5000}", "is no TOML"),
    ],
)
def test_a_configuration_that_is_wrong_is_a_usage_error(
    project: Path, run: Run, text: str, said: str
) -> None:
    (project / "weighbridge.toml").write_text(text)
    for command in (["validate", "runs/odd"], ["publish", "runs/good", "r", "--name", "a/b"]):
        code, _, err = run(*command)
        assert code == 2 and said in err and "weighbridge.toml" in err


@pytest.mark.parametrize(
    "options",
    [
        ["--ignore", "XX"],
        ["--ignore", "EX"],
        ["--severity", "FS"],
        ["--fail-on", "often"],
        ["--isolated", "--config", "x"],
        ["--statistics", "--format", "json"],
        ["-o", "runs/odd/report.txt"],
        ["--write-baseline", "runs/odd/known.json"],
    ],
)
def test_usage(project: Path, run: Run, options: list[str]) -> None:
    before = sorted((project / "runs" / "odd").iterdir())
    assert run("validate", "runs/odd", *options)[0] == 2
    assert sorted((project / "runs" / "odd").iterdir()) == before


def test_a_configuration_that_is_not_there_is_a_storage_error(project: Path, run: Run) -> None:
    assert run("validate", "runs/odd", "--config", "missing.toml")[0] == 4
    assert run("validate", "runs/odd", "--baseline", "missing.json")[0] == 4


def test_a_baseline_lets_only_new_findings_block(project: Path, run: Run) -> None:
    validate = ["validate", "runs/odd", "--format", "json"]
    code, _, err = run(*validate, "--write-baseline", "known.json")
    assert code == 0 and "known.json is written: 2 findings" in err
    jsonschema.validate(json.loads((project / "known.json").read_text()), BASELINE)
    code, out, _ = run(*validate, "--baseline", "known.json")
    assert code == 0 and [w["by"] for w in json.loads(out)["waived"]] == ["baseline"] * 2
    (project / "runs" / "odd" / "USE_POLICY.md").write_text("# TODO\n")
    code, out, _ = run(*validate, "--baseline", "known.json")
    assert code == 1 and [f["path"] for f in json.loads(out)["findings"]] == ["USE_POLICY.md"]
    (project / "weighbridge.toml").write_text('baseline = "known.json"\n')
    assert codes(run(*validate)[1]) == ["FS009"]
    (project / "known.json").write_text("{}")
    assert run(*validate)[0] == 2


def exception(project: Path, **changed: str) -> None:
    digest = hashlib.sha256(ODD["NOTICE.txt"]).hexdigest()
    said = {"code": "FS009", "path": "NOTICE.txt", "sha256": digest, "reason": "a draft",
            "expires": "2999-12-31"} | changed  # fmt: skip
    lines = (f"{k} = {json.dumps(v)}" for k, v in said.items())
    (project / "weighbridge.toml").write_text("[[exceptions]]\n" + "\n".join(lines) + "\n")


def test_an_exception_holds_for_a_file_s_bytes(project: Path, run: Run) -> None:
    exception(project)
    code, out, _ = run("validate", "runs/odd")
    assert code == 0 and "excepted FS009, NOTICE.txt: a draft (until 2999-12-31)" in out
    (project / "runs" / "odd" / "NOTICE.txt").write_text("TODO: another")
    code, out, _ = run("validate", "runs/odd", "--format", "json")
    assert code == 1 and codes(out) == ["FS009", "FS008", "PO003"]
    exception(project, expires="2001-01-01")
    assert "PO001" in run("validate", "runs/odd")[1]
    exception(project, path="LICENSE")
    assert "PO002" in run("validate", "runs/odd")[1]


def test_the_same_policy_decides_what_is_published(project: Path, run: Run) -> None:
    publish = ["publish", "runs/odd", "registry", "--name", "acme/bot"]
    assert run(*publish)[0] == 1
    assert run(*publish, "--fail-on", "never")[0] == 1
    assert run(*publish, "--select", "ST", "--fail-on", "info", "--dry-run")[0] == 0
    exception(project)
    assert run(*publish, "--fail-on", "warning")[0] == 1
    code, out, _ = run(*publish, "--ignore", "FS008", "--fail-on", "warning")
    assert code == 0 and "excepted FS009" in out and "published" in out


def test_the_policy_from_python(project: Path) -> None:
    assert not weighbridge.validate("runs/odd").overall_valid
    (project / "weighbridge.toml").write_text('ignore = ["FS009"]\n')
    assert not weighbridge.validate("runs/odd").overall_valid  # nothing is looked for
    policy = weighbridge.load_policy("weighbridge.toml", severity="FS008=error")
    (found,) = weighbridge.validate("runs/odd", policy=policy).blocking
    assert found.code == "FS008"
    with pytest.raises(PublicationBlocked):
        weighbridge.publish("runs/odd", "registry", name="acme/bot", policy=policy)
    policy = weighbridge.load_policy("weighbridge.toml")
    done = weighbridge.publish("runs/odd", "registry", name="acme/bot", policy=policy)
    assert done.receipt is not None
    with pytest.raises(UsageError, match="names no rule"):
        weighbridge.load_policy(ignore="nonsense")


def test_what_could_not_be_checked_is_told_from_what_is_bad(project: Path, run: Run) -> None:
    deep = {DEEP: tensors([TensorSpec("t", "F32", (16,))])}
    write(project / "runs" / "good", deep)
    code, out, _ = run("validate", "runs/good", "--format", "json")
    document = json.loads(out)
    assert code == 5 and document["verdict"] == "incomplete" and not document["overall_valid"]
    assert [part["what"] for part in document["unexamined"]] == [DEEP]
    assert "incomplete: runs/good" in run("validate", "runs/good", "--fail-on", "never")[1]
    code, _, err = run("publish", "runs/good", "registry", "--name", "acme/bot")
    assert code == 5 and "not examined" in err and not (project / "registry").exists()
    write(project / "runs" / "odd", deep)
    assert run("validate", "runs/odd")[0] == 1
    assert run("validate", "runs/odd", "--fail-on", "never")[0] == 5
    assert run("validate", "runs", "--fail-on", "never")[0] == 3


def test_weights_that_no_one_could_read_are_not_taken_for_good(project: Path, run: Run) -> None:
    cut = peft_files()["adapter_model.safetensors"][:-4]
    write(project / "cut", peft_files() | {"adapter_model.safetensors": cut})
    assert run("validate", "cut")[0] == 1
    code, out, _ = run("validate", "cut", "--ignore", "ST,PE")
    assert code == 5 and "not examined: values of the weights" in out


def test_reports_go_to_a_file_and_are_the_same_again(project: Path, run: Run) -> None:
    for form in ("text", "json", "sarif", "junit", "github", "markdown"):
        seen = []
        for _ in range(2):
            code, out, _ = run("validate", "runs/odd", "--format", form, "-o", "report")
            assert code == 1 and out == ""
            seen.append((project / "report").read_bytes())
        assert seen[0] == seen[1] and b"FS009" in seen[0] and b"\x1b" not in seen[0]
        _, out, _ = run("--format", form, "validate", "runs/odd")
        assert out.encode() == seen[0]
    assert not list(project.glob(".report*"))


def test_reports_name_files_below_the_current_directory(project: Path, run: Run) -> None:
    for location in ("runs/odd", str(project / "runs" / "odd")):
        document = json.loads(run("validate", location, "--format", "sarif")[1])
        place = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "runs/odd/NOTICE.txt"
        assert (
            "::error file=runs/odd/NOTICE.txt," in run("validate", location, "--format=github")[1]
        )
    root = ElementTree.fromstring(run("validate", "runs/odd", "--format", "junit")[1])
    assert root[0].attrib["failures"] == "1"
    assert "`NOTICE.txt`" in run("validate", "runs/odd", "--format", "markdown")[1]


def test_statistics(project: Path, run: Run) -> None:
    (project / "runs" / "odd" / "USE_POLICY.md").write_text("# TODO\n")
    lines = run("validate", "runs/odd", "--statistics")[1].splitlines()
    assert lines[:2] == ["2  error    FS009  placeholder-file", "1  warning  FS008  junk-file"]


def test_a_format_of_reports_is_for_reports_alone(project: Path, run: Run) -> None:
    for line in (["--format", "sarif", "inspect"], ["inspect", "--format", "sarif"]):
        code, _, err = run(*line, "runs/good")
        assert code == 2 and "sarif" in err


def test_a_broken_configuration_in_the_artifact_is_passed_over(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"x = ", b"\xff\xfe", b"weighbridge = "):
        (project / "runs" / "good" / "pyproject.toml").write_bytes(content)
        monkeypatch.chdir(project / "runs" / "good")
        code, _, err = run("validate", ".")
        assert code == 0 and ("lies in the artifact" in err) is (b"weighbridge" in content)


def test_a_byte_order_mark_and_two_files_in_one_directory(project: Path, run: Run) -> None:
    (project / "pyproject.toml").write_text('[tool.weighbridge]\nignore = ["FS009"]\n')
    assert run("validate", "runs/odd")[0] == 0
    (project / "weighbridge.toml").write_bytes(b'\xef\xbb\xbfignore = ["FS008"]\n')
    code, out, _ = run("validate", "runs/odd", "--format", "json")
    assert code == 1 and codes(out) == ["FS009"]

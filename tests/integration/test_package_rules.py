"""Rules of other packages: the documented one is installed, and broken ones are not passed over."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.builders import lora_files, write
from tests.unit.examples_of_contents import CARD
from weighbridge.entrypoints.rulebook import installed_rulebook

ROOT = Path(__file__).parents[2]
RUN = "from weighbridge.entrypoints.cli import main; main()"


def documented() -> tuple[str, str]:
    """The two files of the page: its pyproject.toml, and its module."""
    page = (ROOT / "docs" / "how-to" / "add-a-rule.md").read_text()
    (project,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (module,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return project, module


def install(site: Path, name: str, points: dict[str, str], **modules: str) -> Path:
    """A package as an installer leaves it: modules, and metadata with entry points."""
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    return write(
        site,
        {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
            f"{info}/entry_points.txt": f"[weighbridge.rules]\n{lines}".encode(),
            **{f"{module}.py": text.encode() for module, text in modules.items()},
        },
    )


def ask(cwd: Path, site: Path | None, *arguments: str) -> tuple[int, Any, str]:
    """Exit code, JSON document or text, stderr of a new interpreter that finds ``site``."""
    paths = [str(ROOT / "src"), *([str(site)] if site else [])]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    as_json = "json" in arguments or "sarif" in arguments
    return done.returncode, json.loads(done.stdout) if as_json else done.stdout, done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where the documented package is installed."""
    text, module = documented()
    project = tomllib.loads(text)["project"]
    points = project["entry-points"]["weighbridge.rules"]
    (name,) = {value.partition(":")[0] for value in points.values()}
    return install(tmp_path / "site", project["name"], points, **{name: module})


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    write(root / "ours", lora_files(model="acme/base") | CARD)
    write(root / "foreign", lora_files(model="other/base") | CARD)
    return root


def test_the_documented_package(site: Path, models: Path) -> None:
    assert ask(models, site, "validate", "ours", "--format", "json")[0] == 0
    assert ask(models, None, "validate", "foreign", "--format", "json")[0] == 0
    code, document, _ = ask(models, site, "validate", "foreign", "--format", "json")
    (found,) = document["findings"]
    assert code == 1 and (found["code"], found["name"]) == ("ACME001", "acme-foreign-base")
    assert found["message"] == "the base model other/base is not ours"
    assert found["why"].startswith("Acme's servers") and found["remedy"]
    code, _, err = ask(models, site, "publish", "foreign", "registry", "--name", "acme/bot")
    assert code == 1 and "ACME001" in err and not (models / "registry").exists()


def test_a_package_that_comes_and_goes_while_a_process_runs(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known() -> bool:
        return any(rule.code == "ACME001" for rule in installed_rulebook().all)

    assert not known()
    monkeypatch.syspath_prepend(str(site))
    assert known() and installed_rulebook() is installed_rulebook()
    (metadata,) = site.glob("*.dist-info")
    shutil.rmtree(metadata)
    assert not known()


@pytest.mark.slow
def test_the_documented_package_built_and_installed_by_pip(models: Path, tmp_path: Path) -> None:
    project, module = documented()
    source = {"pyproject.toml": project.encode(), "acme_model_rules.py": module.encode()}
    where = [str(write(tmp_path / "acme", source)), "--target", str(tmp_path / "site")]
    # Its one dependency is what is tested.
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *where]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    code, document, _ = ask(models, tmp_path / "site", "validate", "foreign", "--format", "json")
    assert code == 1 and [f["code"] for f in document["findings"]] == ["ACME001"]
    assert ask(models, tmp_path / "site", "validate", "ours", "--format", "json")[0] == 0


def test_every_command_knows_it(site: Path, models: Path) -> None:
    assert ask(models, site, "validate", "foreign", "--ignore", "ACME", "--format", "json")[0] == 0
    assert ask(models, None, "validate", "foreign", "--ignore", "ACME")[0] == 2
    assert "ACME001  error    acme-foreign-base" in ask(models, site, "rules")[1]
    assert "acme-foreign-base" in ask(models, site, "explain", "ACME001")[1]
    (run,) = ask(models, site, "validate", "foreign", "--format", "sarif")[1]["runs"]
    assert [r["ruleId"] for r in run["results"]] == ["ACME001"]
    assert "ACME001" in {r["id"] for r in run["tool"]["driver"]["rules"]}
    out = ask(models, site, "validate", "foreign", "--format", "junit")[1]
    assert 'classname="weighbridge.ACME"' in out


CRASHING = '''
from weighbridge.domain.findings import Rule, Severity

def check(subject):
    """Since."""
    raise SystemExit(0)

RULES = [Rule("BOOM001", "boom", Severity.INFO, "x", "y", check)]
'''


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("raise RuntimeError('on import')", "other: r", "RuntimeError: on import"),
        ("import sys; sys.exit(0)", "other: r", "SystemExit"),
        ("RULES = 3", "other: r", "is no rule"),
        ("", "other: r", "AttributeError"),
        (CRASHING, "BOOM001", "SystemExit"),
        (CRASHING.replace("SystemExit(0)", "GeneratorExit"), "BOOM001", "GeneratorExit"),
        (
            CRASHING.replace("SystemExit(0)", "type('E', (ValueError,), {'__str__': lambda s: 1})"),
            "BOOM001",
            "E, which cannot be written",
        ),
        (CRASHING.replace("BOOM001", "ST777"), "other: r", "Weighbridge's own"),
        (CRASHING.replace("BOOM001", "ACME001"), "other: r", "is taken"),
    ],
)
def test_what_does_not_work_is_reported_and_blocks_and_hides_nothing(
    site: Path, models: Path, module: str, source: str, said: str
) -> None:
    install(site, "other", {"r": "other:RULES"}, other=module)
    code, document, _ = ask(models, site, "validate", "ours", "--format", "json")
    assert code == 5 and document["verdict"] == "incomplete"
    (crash,) = document["crashed"]
    assert crash["code"] == source and said in crash["error"]
    code, document, _ = ask(models, site, "validate", "foreign", "--format", "json")
    assert code == 1 and [f["code"] for f in document["findings"]] == ["ACME001"]
    code, _, err = ask(models, site, "publish", "ours", "registry", "--name", "acme/bot")
    assert code == 5 and source in err and not (models / "registry").exists()


def test_entry_points_that_nobody_can_read_are_reported(models: Path, tmp_path: Path) -> None:
    for text in (b"[weighbridge.rules]\nno value\n", b"[weighbridge.rules]\nr = \xff:R\n"):
        broken = install(tmp_path / "site", "acme", {})
        (broken / "acme-1.0.dist-info" / "entry_points.txt").write_bytes(text)
        code, document, _ = ask(models, broken, "validate", "ours", "--format", "json")
        assert code == 5
        assert [c["code"] for c in document["crashed"]] == ["acme: entry_points.txt"]


def test_a_rule_does_not_hold_up_who_ends_us(site: Path, models: Path) -> None:
    ended = CRASHING.replace("raise SystemExit(0)", "os.kill(os.getpid(), signal.SIGTERM)")
    install(site, "other", {"r": "other:RULES"}, other=f"import os, signal\n{ended}")
    code, _, err = ask(models, site, "validate", "ours")
    assert code == 128 + signal.SIGTERM and err.startswith("\ninterrupted") and "crash" not in err


def test_what_a_rule_prints_is_no_part_of_the_report(site: Path, models: Path) -> None:
    said = CRASHING.replace(
        "raise SystemExit(0)", "print('seen'); os.system('echo by a process'); return ()"
    )
    loading = "import os\nos.system('echo loading')\nprint('loaded')\n"
    install(site, "other", {"r": "other:RULES"}, other=loading + said)
    code, document, err = ask(models, site, "validate", "ours", "--format", "json")
    assert (code, document["verdict"]) == (0, "good")
    assert err.split("\n") == ["loading", "loaded", "seen", "by a process", ""]


@pytest.mark.parametrize("busy", ["pass", "print('and', end=' ')", "time.sleep(60)"])
def test_a_rule_that_does_not_end_is_reported(site: Path, models: Path, busy: str) -> None:
    short = "import time\nfrom weighbridge.entrypoints import rulebook\nrulebook._SECONDS = 0.3\n"
    endless = f"yield Observation(Location('a'))\n    while True: {busy}"
    said = CRASHING.replace("raise SystemExit(0)", endless).replace(
        "Rule,", "Location, Observation, Rule,"
    )
    install(site, "other", {"r": "other:RULES"}, other=short + said)
    code, document, _ = ask(models, site, "validate", "ours", "--format", "json")
    assert code == 5 and "BOOM001" in {finding["code"] for finding in document["findings"]}
    assert document["crashed"] == [
        {"code": "BOOM001", "error": "TimeoutError: did not come to an end within 0.3 s"}
    ]


def test_a_rule_whose_findings_never_end_is_reported(site: Path, models: Path) -> None:
    endless = "while True: yield Observation(Location('a'))"
    said = CRASHING.replace("raise SystemExit(0)", endless).replace(
        "Rule,", "Location, Observation, Rule,"
    )
    install(site, "other", {"r": "other:RULES"}, other=said)
    code, document, _ = ask(models, site, "validate", "ours", "--format", "json")
    assert code == 5 and document["crashed"] == [
        {"code": "BOOM001", "error": "RuntimeError: saw more than 100000 things"}
    ]


def test_a_package_in_the_artifact_is_not_installed(models: Path) -> None:
    """``python -c`` and notebooks look for modules in the current directory first."""
    evil = "open('run', 'w').close()\nRULES = []\n"
    install(models / "ours", "evil", {"r": "evil:RULES"}, evil=evil)
    code, _, err = ask(models / "ours", None, "rules")
    assert code == 0 and "evil" not in err and not (models / "ours" / "run").exists()

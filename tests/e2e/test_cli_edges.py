"""The command line at its edges: no arguments, an output that is the input, a stdout that fails."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import fused_files, lora_files, write
from weighbridge.entrypoints.cli import main

WEIGHBRIDGE = "import sys; from weighbridge.entrypoints.cli import main; main(sys.argv[1:])"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    files = {f"adapters/{name}": content for name, content in lora_files().items()}
    return write(tmp_path / "run", files)


def ask(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def piped(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line below a shell that does something with its output."""
    script = f'"$0" -c "$1" "${{@:2}}" {redirection}'
    command = ["bash", "-c", script, sys.executable, WEIGHBRIDGE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_arguments_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    code = ask()
    shown = capsys.readouterr()
    # Which of the two streams and codes is click's business, and differs with its version.
    assert code in (0, 2) and "Commands:" in shown.out + shown.err


def test_the_module_is_the_command_too(run: Path) -> None:
    command = [sys.executable, "-m", "weighbridge", "inspect", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "lora" in done.stdout, done.stderr


def test_a_misspelt_command_is_told_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("dequantise", "run") == 2
    assert "Did you mean 'dequantize'?" in capsys.readouterr().err
    assert ask("unlike-any", "run") == 2
    assert "No such command 'unlike-any'." in capsys.readouterr().err


def test_a_name_in_the_place_of_a_base_is_told_from_a_directory(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("fuse", str(run), "-o", str(run.parent / "out"), "--base", "acme/base") == 2
    assert "give hf://acme/base" in capsys.readouterr().err
    assert ask("fuse", str(run), "-o", str(run.parent / "out"), "--base", "./base") == 3


def test_the_next_command_can_be_copied(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run.parent / "my out"
    assert ask("convert", str(run), "-o", str(out), "--scale", "2", "--base-model", "a/b") == 0
    words = shlex.split(capsys.readouterr().err.partition("next: weighbridge ")[2])
    assert words == ["verify", str(run), str(out), "--base", "DIR", "--scale", "2.0"]
    assert ask(*words[:3], *words[5:]) == 0


def test_a_tilde_that_the_shell_left_is_the_home(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(run.parent))
    monkeypatch.chdir(run.parent)
    assert ask("inspect", "~/run") == 0
    os.rename(run, run.parent / "~")  # what is called that is meant
    assert ask("inspect", "~") == 0


def test_a_verification_the_wrong_way_round(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(run.parent / "out")
    assert ask("convert", str(run), "-o", out, "--base-model", "a/b") == 0
    assert ask("verify", out, str(run)) == 2
    assert "the run comes first" in capsys.readouterr().err


def test_the_last_format_counts_for_errors_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--format", "json", "inspect", "/nowhere", "--format=text") == 3
    assert capsys.readouterr().out == ""
    assert ask("--format=text", "inspect", "/nowhere", "--format", "json") == 3
    assert capsys.readouterr().out.startswith("{")


@pytest.mark.parametrize("output", ["run", "run/adapters", "."])
@pytest.mark.parametrize("command", ["convert", "repair", "fuse"])
def test_force_does_not_replace_what_is_read(
    run: Path, output: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(run.parent / "base", fused_files())
    target = str(run.parent / output)
    code = ask(command, str(run), "-o", target, "--base", str(base), "--force")
    assert code == 2 and "holds, what is read" in capsys.readouterr().err
    assert (run / "adapters" / "adapters.safetensors").is_file()


def test_force_replaces_nothing_with_directories_in_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = "letters/to-mother.txt"
    home = write(tmp_path / "home", {mine: b"mine", "config.json": b"{}"})
    assert ask("convert", str(run), "-o", str(home), "--force") == 2
    assert "no earlier output" in capsys.readouterr().err
    assert (home / mine).read_bytes() == b"mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    for _ in range(2):
        assert ask("convert", str(run), "-o", str(empty), "--force") == 0


@pytest.mark.parametrize("arguments", [("convert", "-o", ""), ("publish", "", "--name", "acme/a")])
def test_an_empty_path_is_not_the_working_directory(
    run: Path, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = write(tmp_path / "here", {"thesis.txt": b"mine"})
    monkeypatch.chdir(here)
    command, *rest = arguments
    force = ["--force"] if command == "convert" else []
    assert ask(command, str(run), *rest, *force) == 2
    assert [p.name for p in here.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["run", "run/adapters/adapters.safetensors"])
def test_what_cannot_be_read_is_called_that(run: Path, name: str) -> None:
    """Run without the privilege of root to read everything."""
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search",
               "--inh-caps=-dac_override,-dac_read_search"]  # fmt: skip
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("nothing is forbidden to root")
    there = run.parent / name
    mode = there.stat().st_mode
    there.chmod(0)
    try:
        command = [*(without if os.geteuid() == 0 else []), sys.executable, "-c", WEIGHBRIDGE]
        done = subprocess.run(
            [*command, "inspect", str(run)], capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        there.chmod(mode)
    assert done.returncode == (4 if name == "run" else 3)
    assert "Permission denied" in done.stderr or f"{there.name} cannot be read" in done.stderr


@pytest.mark.parametrize("verdict", [0, 1])
def test_a_reader_that_leaves_does_not_change_the_verdict(run: Path, verdict: int) -> None:
    if verdict:
        (run / "adapters" / "adapter_config.json").write_text("{}")
    # The reader is gone before the first word is written; click itself would answer 1.
    closed = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); " + WEIGHBRIDGE
    command = [sys.executable, "-c", closed, "validate", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == verdict and "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_stdout_without_space_is_a_failure_of_storage(run: Path, form: str) -> None:
    done = piped("> /dev/full", "inspect", str(run), "--format", form)
    assert done.returncode == 4 and "Traceback" not in done.stderr and "error: " in done.stderr


def test_a_closed_stdout_is_no_crash(run: Path) -> None:
    done = piped(">&-", "inspect", str(run))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("card", "beside", "kept"),
    [
        ("README.md", {}, b"# Of the run"),
        ("adapters/README.md", {"README.md": b"# Of the repository"}, b"# Of the run"),
        ("README.md", {"config.json": b"{}"}, b"acme/bot"),  # the card of another model
    ],
)
def test_the_card_that_the_author_wrote_is_kept(
    run: Path, card: str, beside: dict[str, bytes], kept: bytes
) -> None:
    write(run, {**beside, card: b"# Of the run", "LICENSE": b"free"})
    registry = run.parent / "registry"
    assert ask("publish", str(run), str(registry), "--name", "acme/bot") == 0
    (published,) = registry.glob("models--acme--bot/snapshots/*/README.md")
    assert kept in published.read_bytes()
    assert (published.parent / "LICENSE").exists() is ("config.json" not in beside)

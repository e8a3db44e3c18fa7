"""What is imported when: the light commands stay light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import weighbridge
from tests.builders import lora_files, write

HEAVY = {"gguf", "mlx", "mlx_lm", "torch", "transformers", "peft", "huggingface_hub"}
RUN_CLI = """
from weighbridge.entrypoints.cli import main
try:
    main({arguments!r})
except SystemExit as stop:
    assert stop.code in (0, None), stop.code
"""
REPORT = """
import json, sys
sys.stderr.write("MODULES" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(code: str) -> set[str]:
    """Top-level modules after ``code`` in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rpartition("MODULES")[2]))


def test_the_package_alone() -> None:
    assert not loaded_by("import weighbridge") & (
        HEAVY | {"numpy", "click", "attrs", "attr", "dependency_injector", "safetensors"}
    )


def test_the_errors_are_a_module_of_their_own() -> None:
    code = """
from weighbridge.errors import NotConvertible
import weighbridge
from weighbridge.domain import errors
assert weighbridge.errors.NotConvertible is NotConvertible is errors.NotConvertible
"""
    assert not loaded_by(code) & (HEAVY | {"numpy", "click", "dependency_injector"})


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["inspect", "--help"]])
def test_help(arguments: list[str]) -> None:
    found = loaded_by(RUN_CLI.format(arguments=arguments))
    assert not found & (HEAVY | {"numpy", "dependency_injector", "attr", "safetensors", "tqdm"})


@pytest.mark.parametrize("command", ["rules", "explain"])
def test_the_catalogue(command: str) -> None:
    arguments = [command, *(["ST001"] if command == "explain" else [])]
    found = loaded_by(RUN_CLI.format(arguments=arguments))
    assert not found & (HEAVY | {"numpy", "dependency_injector"})


@pytest.mark.parametrize("command", ["inspect", "validate"])
def test_reading_commands(command: str, tmp_path: Path) -> None:
    write(tmp_path, lora_files())
    found = loaded_by(RUN_CLI.format(arguments=[command, str(tmp_path)]))
    assert not found & HEAVY


@pytest.mark.parametrize("command", ["inspect", "validate"])
def test_the_python_api(command: str, tmp_path: Path) -> None:
    write(tmp_path, lora_files())
    found = loaded_by(f"import weighbridge; weighbridge.{command}({str(tmp_path)!r})")
    assert not found & HEAVY


@pytest.mark.parametrize("command", ["inspect", "validate"])
def test_the_template_parser_is_imported_for_templates_only(command: str, tmp_path: Path) -> None:
    write(tmp_path / "plain", lora_files())
    write(tmp_path / "chat", lora_files() | {"chat_template.jinja": b"{{ messages }}"})
    plain = loaded_by(RUN_CLI.format(arguments=[command, str(tmp_path / "plain")]))
    chat = loaded_by(RUN_CLI.format(arguments=[command, str(tmp_path / "chat")]))
    assert "jinja2" not in plain and ("jinja2" in chat) is (command == "validate")


def test_a_type_checker_is_told_of_every_public_name() -> None:
    """What it is not told of would be Any to the caller, and a slip of the pen pass."""
    tree = ast.parse(Path(weighbridge.__file__).read_text())
    told = {a.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            for a in node.names if a.asname}  # fmt: skip
    assert told == set(weighbridge.__all__)
    assert all(hasattr(weighbridge, name) for name in dir(weighbridge))

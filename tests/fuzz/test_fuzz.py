"""A short run of every fuzzing target, from the kept corpus and the same each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import NAMES
from tests.fuzz.targets import CORPUS, TARGETS, kept

_ROOT = Path(__file__).parents[2]
#: About three seconds of each.
_RUNS = {"config": 500, "index": 500, "card": 400, "file": 500, "secrets": 800, "template": 2000}
_PLANTED = """
import sys
from tests.fuzz import __main__ as fuzz, targets
fuzz._MOST_SECONDS = 1
def planted(data):
    if len(data) > 100:
        {defect}
targets.TARGETS = {{"header": planted}}
fuzz.unguided("header", 20, 1000)
"""


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_target_has_a_corpus_and_a_name() -> None:
    assert set(NAMES) == set(TARGETS) == {each.name for each in CORPUS.iterdir()}


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_was_found_comes_back(target: str) -> None:
    for data in kept(target):
        TARGETS[target](data)


@pytest.mark.slow
@pytest.mark.parametrize("target", NAMES)
def test_a_short_run_finds_nothing(target: str) -> None:
    done = _python("-m", "tests.fuzz", target, "--runs", str(_RUNS.get(target, 20_000)))
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    "defect",
    ["raise KeyError(data)", "bytearray(3 << 30)", "while True: pass"],
)
def test_a_planted_defect_is_found(defect: str) -> None:
    assert _python("-c", _PLANTED.format(defect="pass")).returncode == 0
    assert _python("-c", _PLANTED.format(defect=defect)).returncode != 0

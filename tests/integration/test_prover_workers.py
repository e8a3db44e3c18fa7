"""What the provers do where they cannot prove: vendors absent, bases unusable, workers that die.

No vendor runs here. A worker that goes wrong is played by a shell script in the place of Python.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

pytest.importorskip("mlx_lm")
pytest.importorskip("peft")

from tests.mlx_artifacts import quantise, tiny_base
from weighbridge.adapters.binding_prover import BindingProver
from weighbridge.adapters.logits_prover import LogitsProver
from weighbridge.adapters.workers import WorkerFailed, available_memory, run_worker
from weighbridge.application.ports import ProofRequest
from weighbridge.domain.errors import StorageError
from weighbridge.domain.proof import ProofStep


@pytest.fixture
def llama(tmp_path: Path) -> ProofRequest:
    """A request with a usable base; no test here gets as far as its LoRA."""
    return ProofRequest(
        source=str(tmp_path), converted=str(tmp_path), base=str(tiny_base("llama")), scale=20.0
    )


def told(step: ProofStep) -> str:
    assert not step.passed
    return "\n".join(step.problems)


def test_obstacles_are_told(llama: ProofRequest, tmp_path: Path) -> None:
    empty = evolve(llama, base=str(tmp_path))
    for prover in (BindingProver(), LogitsProver()):
        assert "no base directory was given" in str(prover.obstacle(evolve(llama, base=None)))
        assert "config.json" in str(prover.obstacle(empty))
        assert told(prover.prove(empty)) == prover.obstacle(empty)
    shutil.copy(tiny_base("llama") / "config.json", tmp_path)
    assert "no model.safetensors" in str(LogitsProver().obstacle(empty))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    assert "unreadable header" in str(LogitsProver().obstacle(empty))
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert "unreadable" in str(LogitsProver().obstacle(empty))
    (tmp_path / "config.json").write_text('{"vocab_size": 1e30}')
    assert "vocab_size" in str(LogitsProver().obstacle(empty))


def test_too_little_memory_is_an_obstacle(llama: ProofRequest) -> None:
    assert "GiB of memory" in str(LogitsProver(memory=lambda: 2**29).obstacle(llama))
    assert LogitsProver(memory=lambda: None).obstacle(llama) is None
    assert (available_memory() or 2**40) > 2**20


def test_a_base_quantised_by_mlx_is_unpacked_by_the_caller(
    llama: ProofRequest, tmp_path: Path
) -> None:
    quantised = quantise(tiny_base("llama"), tmp_path / "quantised")
    step = LogitsProver().prove(evolve(llama, base=str(quantised)))
    assert not step.passed and "quantised by MLX" in step.problems[0]


@pytest.mark.parametrize(("vendor", "extra_"), [("peft", "peft"), ("mlx_lm", "mlx")])
def test_a_missing_extra_is_an_obstacle(
    vendor: str, extra_: str, llama: ProofRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, vendor, None)
    reason = str(LogitsProver().obstacle(llama))
    assert f"needs the extra '{extra_}': pip install 'weighbridge[{extra_}]'" in reason
    assert "://" not in reason


def test_the_caller_imports_no_vendor(llama: ProofRequest) -> None:
    code = (
        "import sys\n"
        "from weighbridge.adapters.binding_prover import BindingProver\n"
        "from weighbridge.adapters.logits_prover import LogitsProver\n"
        "from weighbridge.domain.base_model import BaseModel\n"
        "class Request: base, known = sys.argv[1], BaseModel()\n"
        "assert BindingProver().obstacle(Request) is LogitsProver().obstacle(Request) is None\n"
        "print({'torch', 'transformers', 'peft', 'mlx', 'mlx_lm'} & set(sys.modules))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code, str(llama.base)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout == "set()\n"


# Workers that go wrong: a script in the place of Python.


@pytest.fixture
def worker_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    if sys.platform == "win32":
        pytest.skip("needs a POSIX shell")

    def install(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return install


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -9 $$", "was killed by SIGKILL (often: out of memory)"),
        ("kill -6 $$", "was killed by SIGABRT"),
        (
            "echo Traceback >&2; echo 'OSError: gone' >&2; exit 1",
            "code 1: Traceback\nOSError: gone",
        ),
        ("exit 0", "left no answer: FileNotFoundError"),
        ("echo '[]' > answer", "left an answer that is no JSON object"),
        ("echo '{' > answer", "left no answer: JSONDecodeError"),
    ],
)
def test_a_worker_that_goes_wrong_is_a_failed_step(
    script: str, words: str, llama: ProofRequest, worker_is: Callable[[str], None]
) -> None:
    worker_is(script)
    for prover in (BindingProver(), LogitsProver()):
        assert words in told(prover.prove(llama))


def test_a_worker_that_cannot_be_started_is_a_failed_step(
    llama: ProofRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "could not be started" in told(BindingProver().prove(llama))


def test_the_stages_of_a_worker_are_told_while_it_runs(
    llama: ProofRequest, worker_is: Callable[[str], None]
) -> None:
    worker_is("for s in one two; do echo $s >> stages; sleep 0.5; done; kill -9 $$")
    for prover, total in ((BindingProver(), 3), (LogitsProver(), 6)):
        told_: list[tuple[str, int, int]] = []
        prover.prove(llama, lambda *figures, heard=told_: heard.append(figures))
        title = f"proving {prover.level.label}"
        assert list(dict.fromkeys(told_)) == [
            (f"{title}: one", 0, total),
            (f"{title}: two", 1, total),
            (f"{title}: two", total, total),
        ]
        assert len(told_) > 3, "the same again, as a sign of life"


def alive(pid: int) -> bool:
    """True if there is such a process, and it is no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip()[:1] not in ("", "Z")


GONE = 'rm -rf "$PWD"; exit 1'


@pytest.mark.parametrize("prover", [BindingProver(), LogitsProver()], ids=lambda p: p.level.label)
def test_a_temporary_directory_that_is_taken_away_is_no_verdict(
    prover: BindingProver | LogitsProver, llama: ProofRequest, worker_is: Callable[[str], None]
) -> None:
    worker_is(GONE)
    with pytest.raises(StorageError, match="removed while it was in use"):
        prover.prove(llama)


def test_no_room_for_temporary_files_is_told(
    llama: ProofRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match=r"temporary directory failed for .*gone"):
        BindingProver().prove(llama)


FAMILY = "sleep 300 & echo $! > {}; wait"


def test_a_slow_worker_is_ended_with_its_children(
    tmp_path: Path, worker_is: Callable[[str], None]
) -> None:
    worker_is(FAMILY.format(tmp_path / "pid"))
    with pytest.raises(WorkerFailed, match=r"took longer than 0\.5 s"):
        run_worker("binding_worker", {}, timeout=0.5)
    assert not alive(int((tmp_path / "pid").read_text()))


def test_an_interrupt_ends_the_worker_and_goes_on(
    tmp_path: Path, worker_is: Callable[[str], None]
) -> None:
    worker_is(FAMILY.format(tmp_path / "pid"))

    def interrupt() -> None:
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        time.sleep(0.1)
        signal.raise_signal(signal.SIGINT)

    try:
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:
        pytest.skip("signals reach the main thread only")
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            run_worker("binding_worker", {}, timeout=60)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_worker_is_offline_and_gets_no_token(
    tmp_path: Path, worker_is: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    worker_is(f"env > {tmp_path / 'env'}; echo '{{}}' > answer")
    assert run_worker("binding_worker", {}) == {}
    environment = (tmp_path / "env").read_text()
    assert "HF_HUB_OFFLINE=1" in environment and "TRANSFORMERS_OFFLINE=1" in environment
    assert "hf_secret" not in environment

"""Starts the scripts beside it, each with the sources of its witness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .fetch import fetch

_TIMEOUT_SECONDS = 500
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class WitnessFailed(Exception):
    """A witness gave no answer; the text ends with what it printed."""


def ask(script: str, tree: Path, question: Any) -> Any:
    """What the script of that name answers to ``question``. Raises WitnessFailed."""
    with tempfile.TemporaryDirectory(prefix="witness-") as scratch:
        answer = Path(scratch, "answer.json")
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(f"{script}.py")), tree, answer],
            input=json.dumps(question),
            env={**os.environ, **_OFFLINE},
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        if not answer.is_file():
            raise WitnessFailed(f"{script} ended with {done.returncode}: {done.stderr[-2000:]}")
        return json.loads(answer.read_text())


def convert(jobs: list[dict[str, Any]]) -> list[str]:
    """Outcomes of llama.cpp's converter; see ``convert.py``. Paths must be absolute."""
    return list(ask("convert", fetch("converter") / "vendor" / "llama.cpp", jobs))


def complete(base: Path, lora: Path | None, prompts: list[list[int]]) -> list[Any]:
    """llama.cpp's distributions; see ``complete.py``.

    A process of it that answers nothing at all, as seen once with its own file of a base, is asked
    anew: that is no answer, and whoever gets none in the end fails for it.
    """
    question = {"base": str(base), "lora": lora and str(lora), "prompts": prompts}
    answers: list[Any] = []
    for _ in range(3):
        answers = list(ask("complete", fetch("llama.cpp"), question))
        if any(answer is not None for answer in answers):
            break
    return answers


def read_with_vllm(directory: Path, modules: list[str], *, max_rank: int = 16) -> dict[str, Any]:
    """What vLLM takes from that PEFT LoRA, by module; see ``read_vllm.py``."""
    question = {"directory": str(directory), "modules": modules, "max_rank": max_rank}
    return dict(ask("read_vllm", fetch("vllm"), question))


def read_with_sglang(directory: Path, base_config: dict[str, Any]) -> dict[str, Any]:
    """What SGLang takes from that PEFT LoRA, by layer; see ``read_sglang.py``."""
    question = {"directory": str(directory), "config": base_config}
    return dict(ask("read_sglang", fetch("sglang"), question))

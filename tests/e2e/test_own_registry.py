"""The documented example: a team's own registry behind the publish service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.builders import lora_files, write
from tests.fakes.memory_registry import MemoryRegistry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "add-a-registry.md"


def test_the_documented_example_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found.group(1), names)
    shelf = MemoryRegistry()
    run = write(tmp_path / "run", lora_files("adapters"))
    outcome = names["release"](str(run), shelf)
    assert outcome.receipt.created and outcome.proof.passed and shelf.pushes == 1
    assert not names["release"](str(run), shelf).receipt.created

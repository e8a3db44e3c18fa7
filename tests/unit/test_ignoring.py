"""What a .weighbridgeignore takes away is what git ignores."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from weighbridge.domain.ignoring import IGNORE, Ignored

PATHS = (
    "LICENSE", "NOTICE", "README.md", "config.json", "a/README.md", "a/b/LICENSE", "a/b/x.jinja",
    "a/x.jinja", "templates/tool.jinja", "templates/rag.jinja", "!odd", "#odd", "with space ",
)  # fmt: skip
PATTERNS = (
    "templates/\n!templates/tool.jinja\n",
    "templates/*\n!templates/tool.jinja\n",
    "a\n!a/b/LICENSE\n",
    "*\n!*/\n!a/b/LICENSE\n",
    "/*\n!/a\n/a/*\n!/a/b\n",
    "**/b/\n!x.jinja\n",
    "\ufeffLICENSE\r\nNOTICE\r\n",
    "license\nReadme.md\n",
    "# LICENSE\n\\#odd\n\\!odd\n",
    "with space\nLICENSE  \n",
    "with space\\ \n",
    "[LN]*E\n!NOTICE\n",
    "a/**/x.jinja\n",
    "a/**\n!a/x.jinja\n!a/b/x.jinja\n",
    "*\n!a/\n!a/b/\n",
    "*\n!a/\n!x.jinja\n",
    "/**\n!/a\n",
    "a/\n!a/\n",
    "x\x0cLICENSE\n",
    "LICENSE\n!LICENSE\n/README.md",
)


@pytest.mark.parametrize("patterns", PATTERNS)
def test_as_git_does(patterns: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text(patterns, newline="")
    asked = subprocess.run(
        ["git", "-C", tmp_path, "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(PATHS), capture_output=True, text=True, check=False,
    )  # fmt: skip
    ignored = Ignored.parse(patterns.encode())
    assert {p for p in PATHS if ignored.takes(p)} == {*filter(None, asked.stdout.split("\0"))}
    assert IGNORE not in asked.stdout

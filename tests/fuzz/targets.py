"""What is fuzzed, by name. A target takes any bytes; whatever it raises is a defect of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fuzz import directories, oracles

CORPUS = Path(__file__).with_name("corpus")
TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "header": oracles.header,
    "header-text": oracles.header_text,
    "json": oracles.document,
    "npz": oracles.npz,
    "npy": oracles.npy,
    "index": directories.index,
    "config": directories.config,
    "card": directories.card,
    "file": directories.file,
    "template": directories.template,
    "secrets": directories.secrets,
}


def kept(target: str) -> list[bytes]:
    """The inputs of the kept corpus, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]

"""Weighbridge sees every defect by the rules that are for it, and nothing in the good twins."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import DEFECTS, Twin, good_twin, spoiled
from .seen import codes


@pytest.mark.parametrize("twin", Twin, ids=lambda twin: twin.value)
def test_the_good_twin_is_good(twin: Twin) -> None:
    assert codes(good_twin(twin)) == set()


@pytest.mark.parametrize("name", DEFECTS)
def test_the_defect_is_seen(name: str, tmp_path: Path) -> None:
    defect = DEFECTS[name]
    assert set(defect.codes) <= codes(spoiled(defect, tmp_path))

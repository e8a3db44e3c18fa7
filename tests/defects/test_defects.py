"""Weighbridge sees every defect by the rules that are for it, and nothing in the good twins."""

from __future__ import annotations

from pathlib import Path

import pytest

from weighbridge.domain.rules import CATALOGUE

from . import DEFECTS, Twin, base, base_of, good_twin, spoiled
from .page import WITHOUT_ROW
from .seen import codes


@pytest.mark.parametrize("twin", Twin, ids=lambda twin: twin.value)
def test_the_good_twin_is_good(twin: Twin) -> None:
    assert codes(good_twin(twin)) == set()


@pytest.mark.parametrize("name", DEFECTS)
def test_the_defect_is_seen(name: str, tmp_path: Path) -> None:
    defect = DEFECTS[name]
    directory = spoiled(defect, tmp_path)
    assert set(defect.codes) <= codes(directory, base_of(defect, directory))


@pytest.mark.parametrize("twin", [Twin.LORA, Twin.PEFT, Twin.FUSED, Twin.QUANTISED])
def test_the_good_twin_is_good_beside_its_base(twin: Twin) -> None:
    assert codes(good_twin(twin), base()) == set()


def test_every_rule_has_a_row_or_a_reason_why_not() -> None:
    rows = {code for defect in DEFECTS.values() for code in defect.codes}
    reasons = {code for codes_of in WITHOUT_ROW.values() for code in codes_of}
    ours = {rule.code for rule in CATALOGUE}
    assert rows | reasons == ours | {"PO001", "PO002", "PO003"} and not rows & reasons

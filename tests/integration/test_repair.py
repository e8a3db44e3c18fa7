"""Hand-written conversions of what mlx-lm really trained: named, repaired, proved, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlx_lm")
pytest.importorskip("peft")

import weighbridge
from tests.mlx_artifacts import hand_scripts as scripts, tiny_base, tiny_lora
from weighbridge.application.repair import Repaired
from weighbridge.domain.errors import (
    InvalidModelStructure,
    NotRepairable,
    OutputExists,
)
from weighbridge.domain.proof import ProofLevel

pytestmark = pytest.mark.slow

#: What ``validate`` says of each, with the base's config.json at hand.
NAMED: dict[scripts.Script, set[str]] = {
    scripts.stripped_prefix: {"PE005", "PE006", "PE018", "PE019"},
    scripts.half_prefix: {"PE005", "PE006", "PE014", "PE018", "PE019"},
    scripts.scale_for_alpha: {"PE014", "PE018", "PE019"},
    scripts.view_of_the_transpose: {"PE004"},
    scripts.view_with_the_right_settings: set(),
    scripts.dumped_settings: {
        "PE001", "PE002", "PE005", "PE013", "PE016", "PE018", "PE021", "PE022", "AD009",
    },
    scripts.default_in_names: {"PE010", "PE018"},
    scripts.other_file_name: {"PE002", "PE012", "PE018", "PE019", "FS001"},
    scripts.mlx_file_name: {"PE012", "PE018", "PE019"},
    scripts.multimodal_prefix: {"PE008", "AD011"},
    scripts.copied_weights: {"PE001", "PE002", "PE005", "PE009", "PE018", "PE019", "PE023"},
}  # fmt: skip
#: No card, and no commit of the base: both are true of every one of them.
UNRELATED = {"CD001", "AD012"}
#: What only the original shows beside.
SHOWN: dict[scripts.Script, set[str]] = {
    scripts.view_of_the_transpose: {"bytes-not-transposed", "alpha-is-rank"},
    scripts.view_with_the_right_settings: {"bytes-not-transposed"},
    scripts.default_in_names: set(),
    scripts.multimodal_prefix: set(),
}
SCALE_TAKEN = {"alpha-is-scale"}


@pytest.fixture(scope="module")
def base() -> Path:
    return tiny_base("llama")


@pytest.fixture(scope="module")
def lora(base: Path) -> Path:
    return tiny_lora(base, model_name="acme/tiny")


@pytest.fixture(scope="module")
def right(lora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``convert`` makes of the same run."""
    out = tmp_path_factory.mktemp("right") / "peft"
    weighbridge.convert(lora, out, profile="peft")
    return out


def same(one: Path, other: Path) -> bool:
    names = ("adapter_model.safetensors", "adapter_config.json")
    return all((one / n).read_bytes() == (other / n).read_bytes() for n in names)


def shown(done: Repaired) -> set[str]:
    return {d.name for d in done.plan.defects if d.code is None}


def told(repair: Callable[[], Any]) -> str:
    with pytest.raises(NotRepairable) as caught:
        repair()
    return str(caught.value)


def test_every_script_has_its_findings() -> None:
    assert set(NAMED) == set(scripts.SCRIPTS)


@pytest.mark.parametrize("script", scripts.SCRIPTS, ids=lambda s: s.__name__)
def test_validate_names_each_defect(
    script: scripts.Script, base: Path, lora: Path, tmp_path: Path
) -> None:
    report = weighbridge.validate(script(lora, tmp_path / "broken"), base=base)
    assert {f.code for f in report.findings} - UNRELATED == NAMED[script]
    assert report.crashed == ()
    assert all("weighbridge repair" in f.remedy for f in report.findings if f.code[:2] == "PE")


@pytest.mark.parametrize("script", scripts.SCRIPTS, ids=lambda s: s.__name__)
def test_with_the_original_it_becomes_what_convert_makes(
    script: scripts.Script, base: Path, lora: Path, right: Path, tmp_path: Path
) -> None:
    broken = script(lora, tmp_path / "broken")
    before = {p.name: p.read_bytes() for p in broken.iterdir()}
    done = weighbridge.repair(broken, tmp_path / "out", original=lora, base=base)
    assert same(tmp_path / "out", right)
    assert done.proof is not None and done.proof.level is ProofLevel.BINDING
    assert done.plan.unknown == () and done.plan.needed
    assert shown(done) == SHOWN.get(script, SCALE_TAKEN)
    assert all(d.correction for d in done.plan.defects)
    assert {p.name: p.read_bytes() for p in broken.iterdir()} == before
    again = weighbridge.validate(tmp_path / "out", base=base)
    assert {f.code for f in again.findings} <= UNRELATED


@pytest.mark.parametrize("script", scripts.SCRIPTS, ids=lambda s: s.__name__)
def test_without_the_original_the_scale_must_be_said(
    script: scripts.Script, base: Path, lora: Path, right: Path, tmp_path: Path
) -> None:
    """With --scale the result is right, but for the bytes that no header gives away."""
    broken = script(lora, tmp_path / "broken")
    done = weighbridge.repair(
        broken, tmp_path / "out", base=base, scale=20.0, base_model="acme/tiny"
    )
    assert done.proof is not None and ProofLevel.ALGEBRA in {
        u.level for u in done.proof.unattempted
    }
    assert "only --original shows" in done.plan.unknown[0]
    if script is scripts.view_with_the_right_settings:
        assert not done.plan.needed and not (tmp_path / "out").exists()
        return
    assert done.proof.level is ProofLevel.BINDING
    assert same(tmp_path / "out", right) == (script is not scripts.view_of_the_transpose)


def test_the_scale_that_mlx_left_behind_is_enough(base: Path, lora: Path, tmp_path: Path) -> None:
    broken = scripts.dumped_settings(lora, tmp_path / "broken")
    done = weighbridge.repair(broken, tmp_path / "out", base=base)
    assert done.plan.conversion.config["lora_alpha"] == 160
    assert not any("nothing proves it" in text for text in done.plan.unknown)
    assert weighbridge.verify(lora, tmp_path / "out").passed


def test_a_suspicion_is_said_and_not_acted_upon(lora: Path, tmp_path: Path) -> None:
    broken = scripts.stripped_prefix(lora, tmp_path / "broken")
    done = weighbridge.repair(broken, tmp_path / "out", base_model="acme/tiny")
    assert done.plan.conversion.config["lora_alpha"] == 20
    assert any("alpha-suspicious" in text for text in done.plan.unknown)
    assert any("nothing proves it" in text for text in done.plan.unknown)
    assert not weighbridge.verify(lora, tmp_path / "out").passed


def test_what_is_missing_is_listed_with_its_option(lora: Path, tmp_path: Path) -> None:
    broken = scripts.view_of_the_transpose(lora, tmp_path / "broken")
    config = json.loads((broken / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/Users/ada/models/tiny"
    (broken / "adapter_config.json").write_text(json.dumps(config))
    text = told(lambda: weighbridge.repair(broken, tmp_path / "out"))
    for part in ("PE004", "AD010", "--scale", "--original", "--base-model"):
        assert part in text
    assert not (tmp_path / "out").exists()


def test_a_stub_converted_nothing(lora: Path, tmp_path: Path) -> None:
    broken = scripts.stub(lora, tmp_path / "broken")
    with pytest.raises(InvalidModelStructure, match="no safetensors file"):
        weighbridge.repair(broken, tmp_path / "out", original=lora)


def test_another_run_is_not_the_original(base: Path, lora: Path, tmp_path: Path) -> None:
    other = tiny_lora(base, model_name="acme/tiny", seed=7)
    broken = scripts.scale_for_alpha(lora, tmp_path / "broken")
    text = told(lambda: weighbridge.repair(broken, tmp_path / "out", original=other))
    assert "values are not those of the original's" in text and not (tmp_path / "out").exists()


def test_an_mlx_run_is_not_broken(lora: Path, tmp_path: Path) -> None:
    assert "weighbridge convert" in told(lambda: weighbridge.repair(lora, tmp_path / "out"))


def test_what_is_sound_stays(base: Path, lora: Path, right: Path, tmp_path: Path) -> None:
    done = weighbridge.repair(right, tmp_path / "out", original=lora, base=base)
    assert not done.plan.needed and done.plan.defects == () and done.output is None
    assert done.proof is not None and done.proof.level is ProofLevel.BINDING
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(lora: Path, tmp_path: Path) -> None:
    broken = scripts.half_prefix(lora, tmp_path / "broken")
    done = weighbridge.repair(broken, original=lora, dry_run=True)
    assert done.plan.needed and done.proof is None and done.output is None
    assert [p.name for p in tmp_path.iterdir()] == ["broken"]


def test_an_output_that_exists(lora: Path, right: Path, tmp_path: Path) -> None:
    broken = scripts.half_prefix(lora, tmp_path / "broken")
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputExists, match="--force"):
        weighbridge.repair(broken, tmp_path / "out", original=lora)
    weighbridge.repair(broken, tmp_path / "out", original=lora, force=True)
    assert same(tmp_path / "out", right)


def test_a_base_that_it_is_not_for_is_no_repair(lora: Path, tmp_path: Path) -> None:
    """Its headers say so before anything is written."""
    wide = tiny_base("llama", hidden_size=128)
    broken = scripts.scale_for_alpha(lora, tmp_path / "broken")
    with pytest.raises(NotRepairable, match="maps 128 -> 64, but the base's"):
        weighbridge.repair(broken, tmp_path / "out", original=lora, base=wide)
    assert [p.name for p in tmp_path.iterdir()] == ["broken"]

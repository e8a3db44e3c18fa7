"""Any dense LoRA, broken in any combination of ways: repaired to what was trained, or refused."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import field, frozen
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.properties.test_conversion import Lora, Tensors, converted, draw_lora, save
from weighbridge.adapters.algebra_prover import AlgebraProver
from weighbridge.adapters.local_files import LocalFiles
from weighbridge.adapters.numpy_converter import NumpyConverter
from weighbridge.application.ports import ProofRequest
from weighbridge.application.repair import Repair, Repaired
from weighbridge.application.repair_plan import RepairRequest
from weighbridge.domain.errors import NotRepairable
from weighbridge.domain.repairing.recovery import Move

_MODULES = [f"model.layers.{i}.{n}" for i in (0, 3) for n in
            ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")]  # fmt: skip


@frozen
class Broken:
    """A PEFT adapter in the making: tensors, settings, the weights' file name."""

    tensors: Tensors
    config: dict[str, Any]
    random: np.random.Generator
    #: What was reordered already; twice would be another disorder than any script makes.
    reordered: list[Any] = field(factory=list)

    def some(self) -> list[str]:
        """A random part of the tensors, at least one."""
        return [n for n in self.tensors if self.random.random() < 0.6] or [min(self.tensors)]

    def rename(self, change: Callable[[str], str]) -> None:
        for name in self.some():
            self.tensors[change(name)] = self.tensors.pop(name)

    def reorder(self, change: Callable[[Any], Any]) -> None:
        for name in self.some():
            dtype, words = self.tensors[name]
            if not any(words is done for done in self.reordered):
                self.reordered.append(change(words))
                self.tensors[name] = (dtype, self.reordered[-1])


Defect = Callable[[Broken], None]


def not_transposed(broken: Broken) -> None:
    broken.reorder(lambda words: np.ascontiguousarray(words.T))


def as_a_view(broken: Broken) -> None:
    """The bytes of MLX's order under the shape of the transpose."""
    broken.reorder(lambda words: np.ascontiguousarray(words.T).reshape(words.shape))


def no_prefix(broken: Broken) -> None:
    broken.rename(lambda name: name.removeprefix("base_model.model."))


def one_model_short(broken: Broken) -> None:
    broken.rename(lambda name: name.replace("model.model.model.", "model.model.", 1))


def doubled_prefix(broken: Broken) -> None:
    broken.rename(lambda name: f"base_model.model.{name}")


def mlx_leaf(broken: Broken) -> None:
    broken.rename(
        lambda name: name.replace("lora_A.weight", "lora_a").replace("lora_B.weight", "lora_b")
    )


def adapter_name(broken: Broken) -> None:
    broken.rename(lambda name: name.replace(".weight", ".default.weight"))


def alpha_is_scale(broken: Broken) -> None:
    alpha, rank = broken.config.get("lora_alpha") or 80, broken.config.get("r") or 4
    broken.config["lora_alpha"] = alpha / rank


def alpha_is_rank(broken: Broken) -> None:
    broken.config["lora_alpha"] = broken.config.get("r", 8)


def alpha_missing(broken: Broken) -> None:
    broken.config["lora_alpha"] = None


def rank_missing(broken: Broken) -> None:
    broken.config.pop("r", None)


def targets_by_heart(broken: Broken) -> None:
    broken.config["target_modules"] = ["q_proj", "k_proj"]


def targets_missing(broken: Broken) -> None:
    broken.config["target_modules"] = None


def type_in_lower_case(broken: Broken) -> None:
    broken.config["peft_type"] = "lora"


def settings_of_the_training(broken: Broken) -> None:
    broken.config.update(data="/Users/ada/data", iters=100, note="by a script")


def path_as_base(broken: Broken) -> None:
    broken.config["base_model_name_or_path"] = "/Users/ada/base"


#: What shapes and options are enough to correct.
VISIBLE: tuple[Defect, ...] = (
    not_transposed, no_prefix, one_model_short, doubled_prefix, mlx_leaf, adapter_name,
    alpha_is_scale, alpha_is_rank, alpha_missing, rank_missing, targets_by_heart, targets_missing,
    type_in_lower_case, settings_of_the_training, path_as_base,
)  # fmt: skip


def lost(broken: Broken) -> None:
    """Not all of them: an adapter without any tensor of the LoRA is nobody's conversion."""
    factors = [name for name in broken.tensors if "lora_" in name]
    for name in broken.some():
        if name in factors[1:]:
            del broken.tensors[name]


def added(broken: Broken) -> None:
    name = broken.some()[0]
    broken.tensors["base_model.model.model.norm.weight"] = broken.tensors[name]


def wrong_rank(broken: Broken) -> None:
    broken.config["r"] = 16


VALUES: tuple[Defect, ...] = (as_a_view, lost, added, wrong_rank)
FILES = ("adapter_model.safetensors", "adapters.safetensors", "pytorch_model.safetensors")
LORAS = st.builds(
    draw_lora,
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.lists(st.sampled_from(_MODULES), min_size=1, max_size=4, unique=True),
    st.sampled_from(["F32", "F16", "BF16"]),
    st.sampled_from([0.5, 1.0, 10.0, 20.0, 29 / 7]),
    square=st.booleans(),
)


def repaired(
    lora: Lora, defects: tuple[Defect, ...], file: str, seed: int, place: Path, **options: Any
) -> Repaired:
    """Break, repair with the options, and prove the outcome against what was trained."""
    tensors, config = converted(lora)
    broken = Broken(dict(tensors), dict(config), np.random.default_rng(seed))
    for defect in defects:
        defect(broken)
    for name in ("run", "broken"):
        (place / name).mkdir()
    save(place / "run" / "adapters.safetensors", lora.tensors)
    trained = {"model": "acme/base", "lora_parameters": lora.parameters}
    (place / "run" / "adapter_config.json").write_text(json.dumps(trained))
    save(place / "broken" / file, broken.tensors)
    (place / "broken" / "adapter_config.json").write_text(json.dumps(broken.config))
    service = Repair(LocalFiles(), NumpyConverter(), (AlgebraProver(),))
    out = str(place / "out")
    done = service(RepairRequest(str(place / "broken"), out, base_model="acme/base", **options))
    made = done.output or str(place / "broken")
    step = AlgebraProver().prove(ProofRequest(str(place / "run"), made, None, lora.scale))
    assert step.passed, (step.problems, done.plan.defects)
    return done


CHOSEN = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@CHOSEN
@given(
    lora=LORAS,
    defects=st.lists(st.sampled_from((*VISIBLE, *VALUES)), max_size=6, unique=True),
    file=st.sampled_from(FILES),
    seed=st.integers(0, 2**32),
)
def test_with_the_original_anything_is_repaired(
    lora: Lora, defects: list[Defect], file: str, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        done = repaired(lora, tuple(defects), file, seed, place, original=str(place / "run"))
    assert done.proof is not None and done.proof.passed
    assert not done.plan.needed or done.output is not None


@CHOSEN
@given(
    lora=LORAS,
    defects=st.lists(st.sampled_from(VISIBLE), max_size=6, unique=True),
    file=st.sampled_from(FILES),
    seed=st.integers(0, 2**32),
)
def test_alone_it_is_repaired_rightly_or_refused(
    lora: Lora, defects: list[Defect], file: str, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        try:
            repaired(lora, tuple(defects), file, seed, Path(name), scale=lora.scale)
        except NotRepairable as error:
            refusal = error
        else:
            return
        assert not Path(name, "out").exists()
    assert "give --original" in str(refusal)


@pytest.mark.parametrize("defect", [*VISIBLE, *VALUES], ids=lambda d: d.__name__)
def test_each_defect_is_seen(defect: Defect, tmp_path: Path) -> None:
    lora = draw_lora(3, 3, _MODULES, "F32", 20.0)
    done = repaired(lora, (defect,), FILES[0], 5, tmp_path, original=str(tmp_path / "run"))
    assert done.plan.needed and done.output is not None


def test_a_view_of_a_square_is_seen_by_its_bytes(tmp_path: Path) -> None:
    """Where rank and size are equal no shape tells anything."""
    lora = draw_lora(3, 4, _MODULES[:2], "F32", 20.0, square=True)
    done = repaired(lora, (as_a_view,), FILES[0], 5, tmp_path, original=str(tmp_path / "run"))
    assert {s.move for s in done.plan.steps} == {Move.KEPT, Move.TRANSPOSED}
    assert [(d.code, d.what) for d in done.plan.defects] == [
        ("PE005", "is square, with the bytes of MLX's tensor as it was")
    ]

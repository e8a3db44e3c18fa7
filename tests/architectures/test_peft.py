"""What the newest PEFT makes of a LoRA that is written as the table says: merged, by values.

The LoRA is made here in the plainest way, independently of ``conversion``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import Factory, frozen

from weighbridge.domain.placement import Experts, Part, Plain, RouteForm, Rows, Standing

from .stacks import Array, Base, directory_of, load_base, load_transformers

pytestmark = [
    pytest.mark.slow,
    # PEFT warns of patterns for parameters, which it does not look for among the modules.
    pytest.mark.filterwarnings("ignore"),
]
_RANK, _SCALE = 2, 2
_REWRITTEN = {
    RouteForm.NONE: (),
    RouteForm.MIXTRAL: ("gate", "w1", "w2", "w3"),
    RouteForm.QWEN2_MOE: ("gate", "gate_proj", "up_proj", "down_proj"),
}


@frozen
class Lora:
    """A PEFT LoRA in the making, and the change that each parameter should see from it."""

    tensors: dict[str, Array] = Factory(dict)
    modules: list[str] = Factory(list)
    parameters: list[str] = Factory(list)
    ranks: dict[str, int] = Factory(dict)
    changes: dict[str, Array] = Factory(dict)

    def add(self, name: str, a: Array, b: Array) -> None:
        self.tensors[f"base_model.model.{name}.lora_A.weight"] = a
        self.tensors[f"base_model.model.{name}.lora_B.weight"] = b

    def target(self, base: Base, path: str, parameter: bool) -> None:
        """By parameter where PEFT would take a module for an expert's because of its name."""
        taken = path.rpartition(".")[2] in _REWRITTEN[base.architecture.rewriting]
        if parameter or taken:
            self.parameters.append(f"{path}.weight")
        else:
            self.modules.append(path)

    def write(self, directory: Path, **more: Any) -> Path:
        from safetensors.numpy import save_file

        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": _RANK,
            "lora_alpha": _RANK * _SCALE,
            "target_modules": self.modules,
            "rank_pattern": self.ranks,
            "alpha_pattern": {name: rank * _SCALE for name, rank in self.ranks.items()},
            "inference_mode": True,
            **({"target_parameters": self.parameters} if self.parameters else {}),
        }
        (directory / "adapter_config.json").write_text(json.dumps(config | more))
        contiguous = {name: np.ascontiguousarray(value) for name, value in self.tensors.items()}
        save_file(contiguous, directory / "adapter_model.safetensors", {"format": "pt"})
        return directory


def _factors(generator: np.random.Generator, weight: Array) -> tuple[Array, Array]:
    """A of (..., rank, in) and B of (..., out, rank) for a weight of (..., out, in)."""
    *stack, out, into = weight.shape
    a = generator.normal(0, 0.1, (*stack, _RANK, into)).astype(np.float32)
    b = generator.normal(0, 0.1, (*stack, out, _RANK)).astype(np.float32)
    return a, b


def _adaptable(base: Base) -> Iterator[tuple[str, Array]]:
    for name, tensor in base.mlx.items():
        module = name.removesuffix(".weight")
        if tensor.lora and module not in base.architecture.embeddings:
            yield module, tensor.value


def _block_diagonal(blocks: list[Array]) -> Array:
    rows, columns = (sum(block.shape[axis] for block in blocks) for axis in (0, 1))
    whole = np.zeros((rows, columns), np.float32)
    row = column = 0
    for block in blocks:
        whole[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return whole


def _packed(a: Array, b: Array) -> tuple[Array, Array]:
    """Of (E, r, in) and (E, out, r): PEFT's A has experts slowest, its B fastest."""
    return a.reshape(-1, a.shape[-1]), b.transpose(1, 2, 0).reshape(b.shape[1], -1)


def _written_for_the_newest(base: Base) -> Lora:
    generator = np.random.default_rng(0)
    lora = Lora()
    rows: dict[str, dict[int, tuple[Array, Array]]] = {}
    stacks: dict[str, dict[Part, tuple[Array, Array]]] = {}
    for module, weight in _adaptable(base):
        a, b = _factors(generator, weight)
        match base.architecture.place(module):
            case Plain(path, checkpoint, parameter):
                known = base.architecture.loads_as_checkpoint(module)
                lora.add(checkpoint if known else path, a, b)
                lora.target(base, path, parameter)
                change = _SCALE * b @ a
                lora.changes[f"{path}.weight"] = change.T if base.architecture.conv1d else change
            case Rows(path, _, index):
                rows.setdefault(path, {})[index] = (a, b)
            case Experts(container, _, part):
                stacks.setdefault(container, {})[part] = (a, b)
    for path, parts in rows.items():
        _add_joined(base, lora, path, [parts[index] for index in sorted(parts)])
    for container, by_part in stacks.items():
        _add_stacks(lora, container, by_part)
    return lora


def _add_joined(base: Base, lora: Lora, path: str, parts: list[tuple[Array, Array]]) -> None:
    a = np.concatenate([a for a, _ in parts])
    b = _block_diagonal([b for _, b in parts])
    lora.add(path, a, b)
    lora.target(base, path, parameter=False)
    lora.ranks[path] = len(parts) * _RANK
    lora.changes[f"{path}.weight"] = _SCALE * b @ a


def _add_stacks(lora: Lora, container: str, parts: Mapping[Part, tuple[Array, Array]]) -> None:
    (gate_a, gate_b), (up_a, up_b) = parts[Part.GATE], parts[Part.UP]
    a = np.concatenate([gate_a, up_a], axis=1)
    b = np.stack([_block_diagonal([g, u]) for g, u in zip(gate_b, up_b, strict=True)])
    lora.add(f"{container}.base_layer", *_packed(a, b))
    lora.add(container, *_packed(*parts[Part.DOWN]))
    fused, down = f"{container}.gate_up_proj", f"{container}.down_proj"
    lora.parameters.extend([fused, down])
    lora.ranks[fused] = 2 * _RANK
    lora.changes[fused] = _SCALE * b @ a
    lora.changes[down] = _SCALE * parts[Part.DOWN][1] @ parts[Part.DOWN][0]


def _merged_changes(directory: Path, adapter: Path, base: Base) -> dict[str, Array]:
    """By how much PEFT changes each parameter, of those that it changes at all.

    Fails if the model answers otherwise before and after the merge, as it does where it reads the
    weight of an adapted module without calling the module.
    """
    import peft
    import torch

    config = json.loads((directory / "config.json").read_text())
    model = peft.PeftModel.from_pretrained(load_transformers(directory, config), adapter).eval()
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        apart = model(tokens).logits
        whole = model.merge_and_unload()
        torch.testing.assert_close(whole(tokens).logits, apart, atol=2e-4, rtol=0)
    merged = whole.state_dict()
    changes = {name: merged[name].float().numpy() - old for name, old in base.runtime.items()}
    return {name: change for name, change in changes.items() if np.abs(change).max() > 1e-6}


def _assert_changes(seen: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    tied = {"lm_head.weight"}
    assert set(seen) - tied == set(expected) - tied
    for name, change in seen.items():
        np.testing.assert_allclose(change, expected[name], atol=1e-5, err_msg=name)


def test_a_lora_written_by_the_table_changes_what_it_should(
    base: Base, case: str, tmp_path: Path
) -> None:
    lora = _written_for_the_newest(base)
    if base.architecture.standing is Standing.REFUSED:
        assert not lora.tensors
        return
    adapter = lora.write(tmp_path, fan_in_fan_out=base.architecture.conv1d)
    _assert_changes(_merged_changes(directory_of(case), adapter, base), lora.changes)


LOST = ["gpt_neox", "granitemoe", "llava", "phimoe", "qwen2_vl", "qwen2_5_vl", "minimax_m3_vl"]


@pytest.mark.parametrize("lossy", LOST)
def test_what_is_lost_under_the_checkpoints_name_is_lost(lossy: str, tmp_path: Path) -> None:
    directory = directory_of(lossy)
    loaded = load_base(directory)
    generator = np.random.default_rng(0)
    lora = Lora()
    for module, weight in _adaptable(loaded):
        place = loaded.architecture.place(module)
        if isinstance(place, Plain) and not loaded.architecture.loads_as_checkpoint(module):
            lora.add(place.checkpoint, *_factors(generator, weight))
            lora.target(loaded, place.path, place.parameter)
    assert lora.tensors
    assert not _merged_changes(directory, lora.write(tmp_path), loaded)


def _written_by_expert(base: Base) -> Lora:
    generator = np.random.default_rng(0)
    lora = Lora()
    for module, weight in _adaptable(base):
        place = base.architecture.place(module)
        if not isinstance(place, Experts) or not place.checkpoint:
            continue
        a, b = _factors(generator, weight)
        for expert in range(len(a)):
            lora.add(place.each(expert), a[expert], b[expert])
        lora.modules.append(place.checkpoint.rpartition(".")[2])
        fused = f"{place.container}.{'down' if place.part is Part.DOWN else 'gate_up'}_proj"
        rows = slice(0, None)
        if place.part is not Part.DOWN:
            half = weight.shape[1]
            rows = slice(half * (place.part is Part.UP), half * (1 + (place.part is Part.UP)))
        change = lora.changes.setdefault(fused, np.zeros_like(base.runtime[fused]))
        change[:, rows] = _SCALE * b @ a
    return lora


MIXTURES = [
    "jamba",
    "lfm2_moe",
    "minimax_m2",
    "mixtral",
    "olmoe",
    "phimoe",
    "qwen2_moe",
    "qwen3_moe",
    "qwen3_next",
    "glm4_moe",
]


@pytest.mark.parametrize("mixture", MIXTURES)
def test_a_file_by_expert_is_converted_as_rewriting_says(mixture: str, tmp_path: Path) -> None:
    directory = directory_of(mixture)
    base = load_base(directory)
    lora = _written_by_expert(base)
    lora.modules[:] = sorted(set(lora.modules))
    adapter = lora.write(tmp_path)
    if base.architecture.rewriting is RouteForm.NONE:
        # PEFT either knows none of the targets, or takes other modules of that name.
        try:
            seen = _merged_changes(directory, adapter, base)
        except ValueError:
            return
        assert not set(seen) & set(lora.changes)
    else:
        _assert_changes(_merged_changes(directory, adapter, base), lora.changes)

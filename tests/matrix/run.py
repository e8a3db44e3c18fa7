"""One case of the matrix: made, trained, converted, and run in both stacks."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

import weighbridge
from tests.mlx_artifacts.architectures import APART, make_architecture
from tests.mlx_artifacts.cache import cached
from tests.mlx_artifacts.training import quantise, train_lora
from weighbridge.application.convert import Converted
from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.places import Stored

from .cases import TRAININGS, Case
from .stacks import Agreement, compare

#: How far the two stacks are apart for the same weights, relative to the largest logit.
STACKS_APART = 2e-4
_TOLERANCE = 1e-4
_LEAST_EFFECT = 1e-2


@frozen
class Row:
    """What became of a case. The figures are relative differences, None if nothing was written."""

    model_type: str
    training: str
    profile: str
    verdict: str
    base: float | None = None
    lora: float | None = None
    merged: float | None = None
    note: str = ""

    @classmethod
    def of(cls, case: Case, verdict: str, **more: Any) -> Row:
        """The row of that case."""
        return cls(case.model_type, case.training, case.profile, verdict, **more)

    def as_json(self) -> dict[str, Any]:
        """For a report that travels between processes."""
        return attrs.asdict(self)


def run(case: Case, scratch: Path) -> Row:
    """Carry the case out; ``scratch`` is an empty directory. Raises what is no refusal."""
    base, adapters, torch_base = trained(case)
    name = "acme/base" if torch_base else None
    try:
        with quiet():
            made = weighbridge.convert(
                adapters, scratch / "out", base=base, profile=case.profile, base_model=name
            )
    except NotConvertible as refusal:
        return Row.of(case, "refused", note=_module_free(refusal.reasons[0]))
    with quiet():
        found = compare(base, adapters, scratch / "out", torch_base=torch_base)
    return Row.of(
        case,
        "green" if agrees(found, case.model_type) else "failed",
        base=found.base,
        lora=found.lora,
        merged=found.merged,
        note=_remarks(made),
    )


def agrees(found: Agreement, model_type: str) -> bool:
    """Whether both stacks compute the same, of a LoRA that does something."""
    limit = _TOLERANCE + 3 * found.base
    return (
        found.base <= APART.get(model_type, STACKS_APART)
        and found.lora <= limit
        and found.merged <= limit
        and found.effect > _LEAST_EFFECT
    )


def base_of(model_type: str, fields: Mapping[str, Any] | None = None) -> Path:
    """A tiny checkpoint of that type, from the cache that the tests of the table use as well."""
    maker = functools.partial(make_architecture, model_type=model_type, **(fields or {}))
    told = "".join(f"-{name}-{value}" for name, value in (fields or {}).items())
    return cached(f"architecture-{model_type}{told}", maker)


def trained_on(base: Path, name: str, **options: Any) -> Path:
    """The directory that mlx-lm wrote its LoRA to, from the cache."""
    options = {"iters": 3, "model_name": "acme/base"} | options
    with quiet():
        made = cached(f"matrix-lora-{name}", functools.partial(train_lora, base, **options))
    return made / "adapters"


def trained(case: Case) -> tuple[Path, Path, Path | None]:
    """The base for MLX, the LoRA, and a base for transformers if it is another."""
    training = TRAININGS[case.training]
    base, plain = base_of(case.model_type, training.fields), None
    name = re.sub(r"[^a-z0-9]+", "-", f"{case.model_type} {case.training}".lower())
    options = dict(training.options)
    if training.bits is not None:
        with quiet():
            maker = functools.partial(_quantised, base, bits=training.bits)
            made = cached(f"quantised-{case.model_type}", maker)
        base, plain = made / "mlx", made / "values"
        options["model_name"] = f"mlx-community/base-{training.bits}bit"
    return base, trained_on(base, name, **options), plain


def _quantised(source: Path, directory: Path, bits: int) -> None:
    """``mlx``: the base quantised; ``values``: the same values under the checkpoint's names."""
    from mlx_lm import convert
    from safetensors.torch import load_file, save_file

    quantise(source, directory / "mlx", bits)
    convert(str(directory / "mlx"), str(directory / "plain"), dequantize=True)
    architecture = architecture_for(json.loads((source / "config.json").read_text()))
    values: dict[str, Any] = {}
    for name, value in load_file(directory / "plain" / "model.safetensors").items():
        stored = architecture.restore(name)
        assert isinstance(stored, Stored)
        each = enumerate(value) if "{}" in stored.name else [(0, value)]
        values |= {stored.name.format(number): part.clone() for number, part in each}
    shutil.copytree(source, directory / "values")
    save_file(values, directory / "values" / "model.safetensors", {"format": "pt"})
    shutil.rmtree(directory / "plain")


def _remarks(made: Converted) -> str:
    assert made.plan is not None
    added = made.plan.padding.tensors
    notes = [re.split(r", as |, which |; ", note)[0] for note in made.plan.notes]
    return "; ".join([f"{added} tensors of zeros added"] * bool(added) + notes)


def _module_free(reason: str) -> str:
    """The reason with its module's layer left open."""
    return re.sub(r"\.\d+\.", ".N.", reason)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the vendors print and warn of; a failure says what it was by itself."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield

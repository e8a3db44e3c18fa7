"""The algebra level of a proof: is every weight change, as written, the one that MLX applied?

Knows nothing of how a conversion is made: reads both directories from disk anew, decodes to
float64, and compares what the two LoRAs do to random vectors. Two different changes agree on random
vectors with probability zero, so only the limit for rounding decides what goes unseen.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import frozen
from safetensors import SafetensorError, safe_open

from weighbridge.application.ports import no_progress
from weighbridge.domain import peft_selection as peft
from weighbridge.domain.proof import ProofLevel, ProofStep
from weighbridge.domain.tensors import HeaderInvalid, header_length, parse_header

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress, ProofRequest
    from weighbridge.domain.tensors import TensorSlot, TensorSpec

Reals: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_PROBES = 4
_SEED = 20_240_602
_LISTED = 20
# Elements of a block: 1 MiB as float64, so that the products find it in the second cache.
_BLOCK_ELEMENTS = 1 << 17
_BLOCK_ROWS = 32
# Modules compared at a time: reading, decoding and the products all let other threads run.
_THREADS = 2
# Rounding of the sums reaches 5e-15 (rank 1 to 256, sizes to 14336); one middling element of
# those matrices off by 0.1 % shows as 1e-6.
_LIMIT = 1e-9
_WORDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@frozen
class _Weights:
    """An open-by-name safetensors file: where each tensor is."""

    path: Path
    size: int
    slots: Mapping[str, TensorSlot]

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Specs by name."""
        return {name: slot.spec for name, slot in self.slots.items()}

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor."""
        return self.slots[name].spec.shape

    def blocks(self, name: str) -> Iterator[tuple[slice, slice, Reals]]:
        """The matrix in blocks, as float64, each with its rows and columns.

        Blocks are of whole rows, but for rows too long for that; then of parts of several rows,
        for with a single one the products would wait for memory.
        """
        slot = self.slots[name]
        rows, columns = slot.spec.shape
        word = np.dtype(_WORDS[slot.spec.dtype])
        least = min(rows, _BLOCK_ROWS)
        width = columns if least * columns <= _BLOCK_ELEMENTS else _BLOCK_ELEMENTS // least
        height = max(1, _BLOCK_ELEMENTS // max(1, width))
        raw = np.empty(min(rows * columns, _BLOCK_ELEMENTS), word)
        with self.path.open("rb", buffering=0) as file:
            for row in range(0, rows, height):
                down = slice(row, min(rows, row + height))
                for column in range(0, columns, max(1, width)):
                    across = slice(column, min(columns, column + width))
                    shape = (down.stop - row, across.stop - column)
                    words = raw[: shape[0] * shape[1]]
                    parts = words.reshape(1, -1) if shape[1] == columns else words.reshape(shape)
                    for index, part in enumerate(parts, row):
                        file.seek(slot.start + (index * columns + column) * word.itemsize)
                        if file.readinto(part.data.cast("B")) != part.nbytes:
                            raise OSError(f"{self.path.name}: ends within {name}")
                    yield down, across, _decoded(words, slot.spec.dtype).reshape(shape)

    def product(self, name: str, vectors: Reals) -> Reals:
        """The matrix times ``vectors``."""
        result = np.zeros((self.shape(name)[0], vectors.shape[1]))
        for down, across, block in self.blocks(name):
            result[down] += block @ vectors[across]
        return result

    def transposed_product(self, name: str, vectors: Reals) -> Reals:
        """The matrix's transpose times ``vectors``."""
        result = np.zeros((self.shape(name)[1], vectors.shape[1]))
        for down, across, block in self.blocks(name):
            result[across] += block.T @ vectors[down]
        return result


def _decoded(raw: np.ndarray[Any, np.dtype[Any]], dtype: str) -> Reals:
    if dtype == "BF16":
        raw = (raw.astype("<u4") << 16).view("<f4")
    return raw.astype(np.float64)


class _Unreadable(Exception):
    """A file that cannot be examined; the text is the problem."""


@frozen
class AlgebraProver:
    """Proves that both directories describe the same change of every weight."""

    level = ProofLevel.ALGEBRA

    def obstacle(self, request: ProofRequest) -> str | None:
        """Why the files cannot be compared here; None if they can."""
        for role, path in (("source", request.source), ("converted", request.converted)):
            if not Path(path).is_dir():
                return f"the {role} directory {path} does not exist"
        return None

    def prove(self, request: ProofRequest, progress: Progress = no_progress) -> ProofStep:
        """Compare everything, and report the largest difference. Raises nothing of its own."""
        if reason := self.obstacle(request):
            return ProofStep(self.level, passed=False, problems=(reason,))
        began = time.perf_counter()
        try:
            source = _opened(_source_path(Path(request.source)))
            converted = _opened(Path(request.converted) / "adapter_model.safetensors")
            config = _config(Path(request.converted) / "adapter_config.json")
            comparison = _Comparison(source, converted, request.scale, peft.peft_scale(config))
            modules, problems = peft.counterparts(source.specs, converted.specs, config["r"])
            problems += peft.config_problems(modules, config)
            values = comparison.values(modules)
        except (_Unreadable, peft.NotPeft, OSError, MemoryError) as error:
            return ProofStep(self.level, passed=False, problems=(str(error),))
        problems += [
            f"{module}: differs by {value:.3g}, relative to the largest"
            for module, value in zip(modules, values, strict=True)
            if value > _LIMIT
        ]
        figures = (
            ("modules", len(modules)),
            ("tensors", len(converted.slots)),
            ("largest_relative_difference", max(values, default=0.0)),
            ("probes", _PROBES),
            ("bytes", source.size + converted.size),
            ("seconds", round(time.perf_counter() - began, 3)),
        )
        return ProofStep(self.level, not problems, figures, _shortened(problems))


def _shortened(problems: list[str]) -> tuple[str, ...]:
    rest = len(problems) - _LISTED
    return (*problems[:_LISTED], *([f"and {rest} more problems"] if rest > 0 else []))


def _source_path(root: Path) -> Path:
    """The LoRA's weights: at the root or, as some layouts have it, in ``adapters``."""
    direct = root / "adapters.safetensors"
    return direct if direct.is_file() else root / "adapters" / direct.name


def _opened(path: Path) -> _Weights:
    """The file's layout, on which safetensors itself must agree. Raises _Unreadable."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(16)
            file.seek(8)
            header = parse_header(file.read(header_length(prefix, size)), size)
        with safe_open(path, framework="numpy") as reference:
            slices = {name: reference.get_slice(name) for name in reference.keys()}  # noqa: SIM118
            theirs = {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except (OSError, ValueError, HeaderInvalid, SafetensorError) as error:
        raise _Unreadable(f"{path.name}: {error}") from error
    ours = {name: (spec.dtype, spec.shape) for name, spec in header.specs.items()}
    if ours != theirs:
        name = min(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
        raise _Unreadable(f"{path.name}: {name}: safetensors reads {theirs.get(name)} there")
    odd = (n for n, (dtype, shape) in ours.items() if dtype not in _WORDS or len(shape) != 2)
    if name := min(odd, default=""):
        raise _Unreadable(f"{path.name}: {name}: {ours[name]} is no LoRA matrix")
    return _Weights(path, size, {slot.spec.name: slot for slot in header.slots})


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _Unreadable(f"{path.name}: {error}") from error
    if not isinstance(config, dict):
        raise _Unreadable(f"{path.name}: is not an object")
    return config


@frozen
class _Comparison:
    """Both files, and what MLX and PEFT multiply by."""

    source: _Weights
    converted: _Weights
    mlx_scale: float
    peft_scale: float

    def values(self, modules: list[str]) -> list[float]:
        """The relative difference of each module; infinite if something is not finite."""
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            found = list(pool.map(self._module_difference, modules, range(len(modules))))
        # A NaN would lose every comparison.
        return [math.inf if math.isnan(difference) else difference for difference in found]

    def _module_difference(self, module: str, index: int) -> float:
        """What the two LoRAs do to probes that are the module's own."""
        a, b = f"{module}.lora_a", f"{module}.lora_b"
        stem = f"{peft.KEY_PREFIX}{module}.lora_"
        generator = np.random.default_rng((_SEED, index))
        probe = generator.standard_normal((self.source.shape(a)[0], _PROBES))
        # The probe may be as large as the outcome, and goes before that is made.
        mlx = self.source.transposed_product(a, probe)
        inner = self.converted.product(f"{stem}A.weight", probe)
        del probe
        expected = self.source.transposed_product(b, mlx)
        expected *= self.mlx_scale
        actual = self.converted.product(f"{stem}B.weight", inner)
        actual *= self.peft_scale
        return _difference(expected, actual)


def _difference(expected: Reals, actual: Reals) -> float:
    """The largest difference relative to the largest value; NaN if anything is not finite.

    Leaves the differences in ``actual``.
    """
    size, gap = _largest(expected), _largest(np.subtract(expected, actual, out=actual))
    return gap / size if size else gap and math.inf


def _largest(values: Reals) -> float:
    """The largest magnitude, without a copy; NaN if there is one."""
    least, most = values.min(initial=0.0), values.max(initial=0.0)
    return float(np.maximum(-least, most))

"""The algebra level of a proof: is every weight change, as written, the one that MLX applied?

Knows nothing of how a conversion is made: reads both directories from disk anew, decodes to
float64, and compares what the two LoRAs do to random vectors. A difference anywhere in a module
shows with certainty but for a set of probes of measure zero, at a cost linear in the file.
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

from weighbridge.domain.peft_selection import selection_problems
from weighbridge.domain.proof import ProofLevel, ProofStep
from weighbridge.domain.tensors import HeaderInvalid, TensorSlot, header_length, parse_header

if TYPE_CHECKING:
    from weighbridge.application.ports import ProofRequest

Reals: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_PREFIX = "base_model.model."
_PROBES = 4
_SEED = 20_240_602
_LISTED = 20
# Elements of a block: 1 MiB as float64, so that the products find it in the second cache.
_BLOCK_ELEMENTS = 1 << 17
# Modules compared at a time: reading, decoding and the products all let other threads run.
_THREADS = 2
# Rounding of the sums reaches some 1e-15 (rank 1 to 256, bf16 to f32, sizes to 16384); one element
# of ten million off by 0.1 % shows as 1e-7.
_LIMIT = 1e-9
_WORDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@frozen
class _Weights:
    """An open-by-name safetensors file: where each tensor is."""

    path: Path
    slots: Mapping[str, TensorSlot]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor."""
        return self.slots[name].spec.shape

    def blocks(self, name: str) -> Iterator[tuple[slice, slice, Reals]]:
        """The matrix in blocks, as float64, each with its rows and columns, in file order.

        Blocks are of whole rows, but for rows that are larger than a block.
        """
        slot = self.slots[name]
        rows, columns = slot.spec.shape
        word = np.dtype(_WORDS[slot.spec.dtype])
        height, width = max(1, _BLOCK_ELEMENTS // max(1, columns)), _BLOCK_ELEMENTS
        raw = np.empty(min(rows * columns, _BLOCK_ELEMENTS), word)
        with self.path.open("rb", buffering=0) as file:
            file.seek(slot.start)
            for row in range(0, rows, height):
                down = slice(row, min(rows, row + height))
                for column in range(0, columns, width):
                    across = slice(column, min(columns, column + width))
                    shape = (down.stop - row, across.stop - column)
                    words = raw[: shape[0] * shape[1]]
                    if file.readinto(words.data.cast("B")) != words.nbytes:
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

    def prove(self, request: ProofRequest) -> ProofStep:
        """Compare everything, and report the largest difference. Raises nothing of its own."""
        if reason := self.obstacle(request):
            return ProofStep(self.level, passed=False, problems=(reason,))
        began = time.perf_counter()
        try:
            source = _opened(_source_path(Path(request.source)))
            converted = _opened(Path(request.converted) / "adapter_model.safetensors")
            config = _config(Path(request.converted) / "adapter_config.json")
            comparison = _Comparison(source, converted, config, request.scale)
            modules, problems = comparison.names()
            problems += comparison.config_problems(modules)
            worst, differing = comparison.values(modules)
            problems += differing
        except (_Unreadable, OSError, MemoryError) as error:
            return ProofStep(self.level, passed=False, problems=(str(error),))
        files = (source.path, converted.path)
        figures = (
            ("modules", len(modules)),
            ("tensors", len(converted.slots)),
            ("largest_relative_difference", worst),
            ("probes", _PROBES),
            ("bytes", sum(path.stat().st_size for path in files)),
            ("seconds", round(time.perf_counter() - began, 3)),
        )
        return ProofStep(self.level, not problems, figures, _shortened(problems))


def _shortened(problems: list[str]) -> tuple[str, ...]:
    rest = len(problems) - _LISTED
    return (*problems[:_LISTED], *([f"and {rest} more problems"] if rest > 0 else []))


def _source_path(root: Path) -> Path:
    """The LoRA's weights: at the root or, as some layouts have it, in ``adapters``."""
    nested = root / "adapters" / "adapters.safetensors"
    direct = root / "adapters.safetensors"
    return nested if nested.is_file() and not direct.is_file() else direct


def _opened(path: Path) -> _Weights:
    """The file's layout, on which safetensors itself must agree. Raises _Unreadable."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(16)
            file.seek(8)
            header = parse_header(file.read(header_length(prefix, size)), size)
        with safe_open(path, framework="numpy") as reference:
            listed = set(reference.keys())
            slices = {name: reference.get_slice(name) for name in listed}
            theirs = {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except (OSError, ValueError, HeaderInvalid, SafetensorError) as error:
        raise _Unreadable(f"{path.name}: {error}") from error
    ours = {name: (spec.dtype, spec.shape) for name, spec in header.specs.items()}
    if ours != theirs:
        name = min(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
        raise _Unreadable(f"{path.name}: {name}: safetensors reads {theirs.get(name)} there")
    for name, (dtype, shape) in sorted(ours.items()):
        if dtype not in _WORDS or len(shape) != 2:
            raise _Unreadable(f"{path.name}: {name}: {dtype} {list(shape)} is no LoRA matrix")
    return _Weights(path, {slot.spec.name: slot for slot in header.slots})


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _Unreadable(f"{path.name}: {error}") from error
    if not isinstance(config, dict):
        raise _Unreadable(f"{path.name}: is not an object")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1:
        raise _Unreadable(f"{path.name}: r {rank!r} is no rank")
    # An integer may be too large for a float, and a bool is an int.
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) < 1e300:
        raise _Unreadable(f"{path.name}: lora_alpha {alpha!r} is no number")
    return config


@frozen
class _Comparison:
    """Both files and the written config; ``scale`` is what MLX multiplied by."""

    source: _Weights
    converted: _Weights
    config: Mapping[str, Any]
    scale: float

    def names(self) -> tuple[list[str], list[str]]:
        """The modules that both files hold in full and in fitting shapes, and every problem."""
        modules = {n.rpartition(".")[0] for n in self.source.slots}
        wanted = {f"{m}.lora_{x}" for m in modules for x in "ab"}
        problems = [f"{n}: missing in the source" for n in sorted(wanted - set(self.source.slots))]
        problems += [f"{n}: is no LoRA tensor" for n in sorted(set(self.source.slots) - wanted)]
        expected = {f"{_PREFIX}{m}.lora_{x}.weight" for m in modules for x in "AB"}
        written = set(self.converted.slots)
        problems += [f"{n}: missing in the converted file" for n in sorted(expected - written)]
        problems += [f"{n}: has no counterpart in MLX" for n in sorted(written - expected)]
        sound = []
        for module in sorted(modules):
            pairs = [
                (f"{module}.lora_{x}", f"{_PREFIX}{module}.lora_{x.upper()}.weight") for x in "ab"
            ]
            if all(s in self.source.slots and c in written for s, c in pairs):
                wrong = list(self._shape_problems(module, pairs))
                problems += wrong
                sound += [] if wrong else [module]
        return sound, problems

    def _shape_problems(self, module: str, pairs: list[tuple[str, str]]) -> Iterator[str]:
        for ours, theirs in pairs:
            shape, found = self.source.shape(ours), self.converted.shape(theirs)
            if found != shape[::-1]:
                yield f"{module}: {theirs} is {list(found)}, not the transpose of {list(shape)}"
        rank, inner = self.converted.shape(pairs[0][1])[0], self.converted.shape(pairs[1][1])[1]
        if not rank == inner == self.config["r"]:
            yield f"{module}: ranks {rank} and {inner}, but the config's r is {self.config['r']}"

    def config_problems(self, modules: list[str]) -> list[str]:
        """What in the written config would make PEFT compute, or select, something else."""
        config = self.config
        problems = [] if config.get("peft_type") == "LORA" else ["adapter_config: no LORA"]
        for key in ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern"):
            if config.get(key):
                problems.append(f"adapter_config: {key} changes what PEFT computes")
        return problems + selection_problems(modules, config)

    def values(self, modules: list[str]) -> tuple[float, list[str]]:
        """The largest relative difference of any module, and the modules that are over it."""
        root = math.sqrt(self.config["r"]) if self.config.get("use_rslora") else self.config["r"]
        factor = float(self.config["lora_alpha"]) / root

        def compare(index: int) -> float:
            return self._module_difference(modules[index], index, factor)

        worst, problems = 0.0, []
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            for module, difference in zip(
                modules, pool.map(compare, range(len(modules))), strict=True
            ):
                if not difference <= _LIMIT:
                    problems.append(
                        f"{module}: differs by {difference:.3g}, relative to the largest"
                    )
                # inf rather than NaN, which would lose every comparison.
                worst = max(worst, math.inf if math.isnan(difference) else difference)
        return worst, problems

    def _module_difference(self, module: str, index: int, factor: float) -> float:
        """What the two LoRAs do to probes that are the module's own."""
        a, b = f"{module}.lora_a", f"{module}.lora_b"
        stem = f"{_PREFIX}{module}.lora_"
        generator = np.random.default_rng((_SEED, index))
        probe = generator.standard_normal((self.source.shape(a)[0], _PROBES))
        # The probe may be as large as the outcome, and goes before that is made.
        mlx = self.source.transposed_product(a, probe)
        peft = self.converted.product(f"{stem}A.weight", probe)
        del probe
        expected = self.source.transposed_product(b, mlx)
        expected *= self.scale
        actual = self.converted.product(f"{stem}B.weight", peft)
        actual *= factor
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

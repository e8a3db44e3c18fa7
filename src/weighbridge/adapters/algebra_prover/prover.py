"""Is every weight change, as written, the one that MLX applied?

Knows nothing of how a conversion is made: reads both directories from disk anew, asks what each
says of every weight, and accounts for every tensor that was written.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from weighbridge.adapters.algebra_prover.comparison import PROBES, Comparison, Difference
from weighbridge.adapters.algebra_prover.weights import Unreadable, Weights, opened
from weighbridge.application.ports import no_progress
from weighbridge.domain import changes
from weighbridge.domain.changes import Change, Factors, WrittenPair
from weighbridge.domain.detection import pair_targets
from weighbridge.domain.mlx.names import origin
from weighbridge.domain.peft import selection as peft
from weighbridge.domain.placement import Plain
from weighbridge.domain.proof import ProofLevel, ProofStep

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress, ProofRequest
    from weighbridge.domain.tensor_plan import Grid

_LISTED = 20
# Weights compared at a time: reading, decoding and the products all let other threads run.
_THREADS = 2
# Rounding of the sums reaches 5e-15 (rank 1 to 256, sizes to 14336); one middling element of
# those matrices off by 0.1 % shows as 1e-6.
_LIMIT = 1e-9


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
            with ExitStack() as files:
                source = files.enter_context(
                    opened(_source_path(Path(request.source), request.weights))
                )
                path = Path(request.converted) / "adapter_model.safetensors"
                converted = files.enter_context(opened(path))
                config = _config(Path(request.converted) / "adapter_config.json")
                case = _Case(Comparison(source, converted, request.scale), config, request)
                values, problems = case.judge()
        except (Unreadable, peft.NotPeft, OSError, MemoryError) as error:
            return ProofStep(self.level, passed=False, problems=(str(error),))
        figures = (
            ("modules", len(values)),
            ("tensors", len(converted.slots)),
            ("largest_relative_difference", max(values, default=0.0)),
            ("probes", PROBES),
            ("bytes", source.size + converted.size),
            ("seconds", round(time.perf_counter() - began, 3)),
        )
        return ProofStep(self.level, not problems, figures, _shortened(problems))


def _shortened(problems: list[str]) -> tuple[str, ...]:
    rest = len(problems) - _LISTED
    return (*problems[:_LISTED], *([f"and {rest} more problems"] if rest > 0 else []))


def _source_path(root: Path, name: str) -> Path:
    """The LoRA's weights: at the root or, as some layouts have it, in ``adapters``."""
    direct = root / name
    return direct if direct.is_file() else root / "adapters" / direct.name


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path.name}: {error}") from error
    if not isinstance(config, dict):
        raise Unreadable(f"{path.name}: is not an object")
    return config


@frozen
class _Case:
    """One pair of files, and the config that PEFT would read."""

    comparison: Comparison
    config: Mapping[str, Any]
    request: ProofRequest

    @property
    def source(self) -> Weights:
        """MLX's file."""
        return self.comparison.source

    def judge(self) -> tuple[list[float], list[str]]:
        """The difference of each change that could be compared, and every problem."""
        targets, others = pair_targets(self.source.specs.values())
        problems = [f"{spec.name}: is no part of a LoRA pair" for spec in others]
        wanted, unplaced = changes.changes_of(targets, self.request.known.architecture)
        specs, copies = self.comparison.converted.specs, self.request.copies
        own = {name: spec for name, spec in specs.items() if name not in copies}
        pairs, strange = changes.written_pairs(own, self.config)
        problems += [*unplaced, *strange]
        named = pairs | {p.parameter: p for p in pairs.values() if p.parameter}
        placed = [(c, changes.find_factors(c, named)) for c in wanted]
        problems += [f"{c.name}: {f}" for c, f in placed if isinstance(f, str)]
        sound = [(c, f) for c, f in placed if isinstance(f, Factors)]
        found = self._differences(sound)
        problems += [
            self._difference(*pair, each.value)
            for pair, each in zip(sound, found, strict=True)
            if each.value > _LIMIT and not each.same
        ]
        problems += self._magnitudes(sound) + self._leftovers(pairs, sound)
        paths = {f.pair.stem: c.place.path for c, f in sound if isinstance(c.place, Plain)}
        held = [stem for stem, pair in pairs.items() if pair.parameter is None]
        plain = [paths.get(stem) or self._path(stem) for stem in held]
        dora = any(pair.magnitude for pair in pairs.values())
        existing = self._existing(held, plain)
        values = [each.value for each in found]
        return values, problems + peft.config_problems(plain, self.config, existing, dora=dora)

    def _path(self, stem: str) -> str:
        """What transformers 5 calls the module of a pair that was added."""
        architecture = self.request.known.architecture
        if not architecture.renames and not architecture.outside:
            return stem
        found = origin(stem, architecture)
        return found.place.path if found and isinstance(found.place, Plain) else stem

    def _existing(self, held: list[str], plain: list[str]) -> frozenset[str] | None:
        """The base's other modules and ``plain``, the names today of those that are held."""
        known = self.request.known
        if known.tensors or not known.architecture.uniform:
            return (known.modules_like(held) - frozenset(held)) | frozenset(plain)
        return None

    def _differences(self, sound: list[tuple[Change, Factors]]) -> list[Difference]:
        changed, factors = [c for c, _ in sound], [f for _, f in sound]
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            return list(pool.map(self.comparison.difference, changed, factors, range(len(sound))))

    def _difference(self, change: Change, factors: Factors, value: float) -> str:
        if value == math.inf and (name := self.comparison.not_finite(change, factors)):
            hint = "the source holds none, check the scale"
            if name in self.source.slots:
                hint = "an earlier checkpoint may be whole"
            return f"{name}: holds NaN or infinity; {hint}"
        return f"{change.name}: differs by {value:.3g}, relative to the largest"

    def _magnitudes(self, sound: list[tuple[Change, Factors]]) -> list[str]:
        problems = []
        for change, factors in sound:
            ours, theirs = change.target.magnitude, factors.pair.magnitude
            if (ours is None) != (theirs is None):
                problems.append(f"{change.name}: a DoRA magnitude is on one side only")
            elif ours and theirs and not self.comparison.same_magnitude(ours.name, theirs.name):
                problems.append(f"{change.name}: the DoRA magnitudes differ, or are not finite")
        return problems

    def _leftovers(
        self, pairs: Mapping[str, WrittenPair], sound: list[tuple[Change, Factors]]
    ) -> list[str]:
        """Pairs that no change accounts for must change nothing; ranks must be the config's."""
        used: dict[str, list[Grid]] = {}
        for _, factors in sound:
            used.setdefault(factors.pair.stem, []).append(factors.b)
        problems = []
        for stem, pair in pairs.items():
            if stem in used:
                if not self.comparison.is_zero_beside(used[stem], pair.b):
                    problems.append(f"{pair.b.name}: changes rows that MLX does not")
            elif pair.magnitude or not self.comparison.is_nothing(pair.a.name, pair.b.name):
                problems.append(f"{pair.a.name}: has no counterpart in MLX, and is not zero")
            rank = peft.pair_rank(pair.parameter or stem, self.config)
            if pair.a.shape[0] % rank or pair.b.shape[1] != pair.a.shape[0] or (
                pair.parameter is None and pair.a.shape[0] != rank
            ):  # fmt: skip
                found = f"{pair.a.shape[0]} and {pair.b.shape[1]}"
                problems.append(f"{stem}: ranks {found}, but the config's is {rank}")
        return problems

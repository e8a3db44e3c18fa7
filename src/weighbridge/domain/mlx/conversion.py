"""PEFT to MLX, as a plan: what mlx-lm's ``load_adapters`` reads, exact or refused.

MLX has one rank and one scale for all modules; what differs is padded with zeros, or multiplied
into ``lora_b`` in float32.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from attrs import evolve, frozen

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.changes import WrittenPair, written_pairs
from weighbridge.domain.conversion import CONVERTIBLE_DTYPES, misfit
from weighbridge.domain.errors import NotConvertible
from weighbridge.domain.mlx.names import Origin, origin, row_origins, stack_origin
from weighbridge.domain.models import PeftModel
from weighbridge.domain.peft.copies import resized
from weighbridge.domain.peft.scale import scale_of
from weighbridge.domain.peft.selection import (
    CHANGED_BASE,
    NotPeft,
    base_change,
    pair_rank,
    peft_selects,
)
from weighbridge.domain.placed import LAYER
from weighbridge.domain.placement import Part, Plain
from weighbridge.domain.tensor_plan import (
    ConversionPlan,
    Grid,
    Matrix,
    Piece,
    PlannedTensor,
    stacked,
)
from weighbridge.domain.tensors import TensorSpec

_HEADS = ("lm_head", "embed_out")
_MERGE = "PEFT's merge_and_unload makes a whole model of it"
_FOREIGN = ("bias", "modules_to_save", "trainable_token_indices", "lora_bias", "layer_replication",
            "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config")  # fmt: skip


class Joining(Enum):
    """What the factors of a pair may be that transformers joins of two modules of MLX, an expert's
    gate and up. In the order in which they are tried."""

    HALVES = "the first half of the ranks is gate's, the other up's"
    UP = "all are up's, and gate was not trained"
    GATE = "all are gate's, and up was not trained"
    BOTH = "all are of both"


@frozen
class _Unit:
    """One matrix pair of MLX, or one expert's: A (rank, in) and B (out, rank) as PEFT has them."""

    origin: Origin
    a: Matrix
    b: Matrix
    scale: float
    magnitude: TensorSpec | None = None
    embedding: bool = False


def plan_mlx(
    model: PeftModel,
    base: BaseModel,
    *,
    location: str,
    base_model: str | None = None,
    joining: Joining = Joining.HALVES,
    left_out: int = 0,
) -> ConversionPlan:
    """The exact MLX form of a PEFT LoRA. Raises NotConvertible with every reason at once.

    ``left_out`` is how many weights of the base's own ``model`` has not that its file has.

    What transformers joins (an expert's gate and up) is two modules in MLX. HALVES takes a joined
    pair for block diagonal, the form that Weighbridge and PEFT's own conversion give it. Only the
    values can tell, so the result has to be proved; BOTH is always right.
    """
    reasons = _refusals(model)
    specs = {s.name: s for s in model.tensors}
    try:
        pairs, strange = written_pairs(specs, model.config)
        reasons += [*strange, *resized(model, base)]
        units = [u for p in pairs.values() for u in _units(p, model, base, reasons, joining)]
    except NotPeft as problem:
        raise NotConvertible(location=location, reasons=(*reasons, str(problem))) from problem
    reasons += _misfits(units, base)
    if not pairs:
        reasons.append(f"{model.weights_path}: holds no LoRA tensors")
    if reasons:
        raise NotConvertible(location=location, reasons=tuple(reasons))
    scale = _usual(units)
    rank = max(u.a.rows for u in units)
    # mlx-lm builds every module with the config's rank, and refuses other shapes.
    fitted = [_fitted(u, rank, scale) for u in units]
    config = _config(fitted, rank, scale, base_model or model.base_model)
    notes = [f"{left_out} whole weights are the base's own, and left out"] if left_out else []
    if any(u.scale != scale for u in units):
        notes.append("a scale that differs, or is negative, is multiplied into lora_b")
    if base.tied is None and (heads := _heads(units)):
        notes.append(f"it changes {heads[0]}, which a base that ties its head to the embedding "
                     "has not: mlx-lm refuses it there; --base tells")  # fmt: skip
    return ConversionPlan(tuple(_tensors(fitted)), config, scale, notes=tuple(notes))


def _refusals(model: PeftModel) -> list[str]:
    reasons = []
    if model.config.get("peft_type") != "LORA":
        kind = model.config.get("peft_type")
        reasons.append(f"{model.config_path}: peft_type is {kind!r}, not LORA; {_MERGE}")
    for key in _FOREIGN:
        value = model.config.get(key)
        if value and value != "none":
            said = f"MLX has nothing like {key} {str(value)[:60]}"
            reasons.append(f"{model.config_path}: {said}; {_MERGE}")
    if (setting := base_change(model.config)) is not None:
        reasons.append(f"{model.config_path}: {setting}: {CHANGED_BASE}")
    for spec in model.tensors:
        if spec.dtype not in CONVERTIBLE_DTYPES:
            reasons.append(f"{spec.name}: dtype {spec.dtype} is not F32, F16 or BF16")
    return reasons


def _heads(units: Iterable[_Unit]) -> list[str]:
    return [u.origin.module for u in units if u.origin.module.endswith(_HEADS)]


def _units(
    pair: WrittenPair, model: PeftModel, base: BaseModel, reasons: list[str], joining: Joining
) -> Iterator[_Unit]:
    stack = pair.parameter is not None and not pair.parameter.endswith(".weight")
    rank = pair_rank(pair.parameter or pair.stem, model.config)
    if pair.b.shape[1] != pair.a.shape[0] or (not stack and pair.a.shape[0] != rank):
        reasons.append(
            f"{pair.a.name}: ranks {pair.a.shape[0]} and {pair.b.shape[1]}, but the config's is "
            f"{rank}; weighbridge repair may help"
        )
        return
    if stack:
        yield from _stacked_units(pair, rank, base, reasons, joining)
        return
    if rows := row_origins(pair.stem, base.architecture):
        yield from _row_units(pair, rows, joining)
        return
    found = origin(pair.stem, base.architecture)
    problem = _problem(pair, found, base)
    if found is None or problem is not None:
        reasons.append(f"{pair.stem}: {problem or 'is no module that mlx-lm has'}")
        return
    embedding = found.module in base.architecture.embeddings
    path = found.place.path if isinstance(found.place, Plain) else pair.stem
    if pair.parameter is None and not peft_selects(path, model.config):
        reasons.append(f"{pair.stem}: is not selected by the config, so that PEFT passes its "
                       "tensors over; weighbridge repair writes the selection")  # fmt: skip
    yield _Unit(found, _whole(pair.a), _whole(pair.b), pair.scale, pair.magnitude, embedding)


def _problem(pair: WrittenPair, found: Origin | None, base: BaseModel) -> str | None:
    if found is None:
        kind = base.config.get("model_type", "an unknown base (give --base)")
        return f"has no place in the MLX model of {kind}"
    if found.module.endswith(_HEADS) and base.tied:
        return ("is a head, and this base ties its head to the embedding: MLX has no such module; "
                "give a copy of the base that has it (tie_word_embeddings false, and the embedding "
                "stored as lm_head.weight too)")  # fmt: skip
    if found.module in base.architecture.embeddings:
        if pair.magnitude is not None:
            return "is a DoRA on an embedding, which MLX normalises along the other axis"
        if base.shared_by_head(found.module) is not False:
            return ("is an embedding; on a base that ties its head, or is not at hand, MLX would "
                    "change the head too; give an untied --base")  # fmt: skip
    return None


def _misfits(units: Iterable[_Unit], base: BaseModel) -> Iterator[str]:
    """What is not of that base, once for each module."""
    judged: set[str] = set()
    for unit in units:
        module, place = unit.origin.module, unit.origin.place
        if module in judged:
            continue
        judged.add(module)
        mapped = unit.b.rows, unit.a.columns
        # An embedding's weight is (vocabulary, width).
        problem = misfit(place, module, mapped[::-1] if unit.embedding else mapped, base)
        if problem is not None:
            yield f"{place.path if isinstance(place, Plain) else module}: {problem}"


def _stacked_units(
    pair: WrittenPair, rank: int, base: BaseModel, reasons: list[str], joining: Joining
) -> Iterator[_Unit]:
    """Every expert of a stack; ``gate_up_proj`` is two modules in MLX."""
    container, _, name = str(pair.parameter).rpartition(".")
    parts = (Part.DOWN,) if name == "down_proj" else (Part.GATE, Part.UP)
    experts, width = pair.a.shape[0] // rank, pair.b.shape[1]
    out, wide = pair.b.shape[0] // len(parts), pair.a.shape[1]
    for index, part in enumerate(parts):
        found = stack_origin(container, part, base.architecture)
        if found is None:
            reasons.append(f"{pair.parameter}: has no place in the MLX model; {_MERGE}")
            return
        if not (keep := _kept_ranks(rank, index, len(parts), joining)):
            continue
        for expert in range(experts):
            a = Grid.whole((len(keep), wide), start=(expert * rank + keep[0]) * wide)
            start = index * out * width + keep[0] * experts + expert
            b = Grid(start, out, len(keep), width, experts)
            yield _Unit(evolve(found, expert=expert), _cut(pair.a, a), _cut(pair.b, b), pair.scale)


def _kept_ranks(rank: int, index: int, parts: int, joining: Joining) -> range:
    """The ranks of a joined pair that belong to part ``index``; none if it was not trained."""
    if parts == 1 or joining is Joining.BOTH:
        return range(rank)
    if joining is Joining.HALVES and rank % parts == 0:
        share = rank // parts
        return range(index * share, (index + 1) * share)
    # An odd rank has no halves.
    alone = Part.GATE if joining is Joining.GATE else Part.UP
    return range(rank if (Part.GATE, Part.UP)[index] is alone else 0)


def _row_units(pair: WrittenPair, rows: tuple[Origin, ...], joining: Joining) -> Iterator[_Unit]:
    out, rank, wide = pair.b.shape[0] // len(rows), pair.b.shape[1], pair.a.shape[1]
    for index, found in enumerate(rows):
        if not (keep := _kept_ranks(rank, index, len(rows), joining)):
            continue
        a = Grid.whole((len(keep), wide), start=keep[0] * wide)
        b = Grid(index * out * rank + keep[0], out, len(keep), rank)
        yield _Unit(found, _cut(pair.a, a), _cut(pair.b, b), pair.scale)


def _whole(spec: TensorSpec) -> Matrix:
    return _cut(spec, Grid.whole(spec.shape))


def _cut(spec: TensorSpec, grid: Grid) -> Matrix:
    piece = Piece(spec, grid, Grid.whole((grid.rows, grid.columns)))
    return Matrix(spec.dtype, grid.rows, grid.columns, (piece,))


def _usual(units: Iterable[_Unit]) -> float:
    """The scale of most of them, without its sign, which is ``lora_b``'s to bear: a negative one
    in a config is taken for a slip. 1 if PEFT multiplies all of them by 0."""
    scales = Counter(abs(u.scale) for u in units if u.scale)
    return max(scales, key=lambda s: (scales[s], s), default=1.0)


def _fitted(unit: _Unit, rank: int, scale: float) -> _Unit:
    """Of that rank and scale, as every module of MLX must be."""
    b = unit.b if unit.scale == scale else unit.b.scaled(unit.scale / scale)
    return evolve(unit, a=unit.a.grown(rows=rank), b=b.grown(columns=rank), scale=scale)


def _turned(matrix: Matrix) -> Matrix:
    pieces = tuple(
        Piece(p.source, p.read.transposed, _turned_place(p.write, matrix), p.factor)
        for p in matrix.pieces
    )
    return Matrix(matrix.dtype, matrix.columns, matrix.rows, pieces)


def _turned_place(write: Grid, matrix: Matrix) -> Grid:
    row, column = divmod(write.start, matrix.columns)
    step = write.row_stride // matrix.columns
    return Grid(column * matrix.rows + row, write.columns, write.rows,
                matrix.rows * write.column_stride, step)  # fmt: skip


def _tensors(units: list[_Unit]) -> Iterator[PlannedTensor]:
    modules: dict[str, list[_Unit]] = {}
    for unit in units:
        modules.setdefault(unit.origin.module, []).append(unit)
    for module, parts in sorted(modules.items()):
        first = parts[0]
        if isinstance(first.origin.place, Plain) or first.origin.expert is None:
            yield _turned(first.a).planned(f"{module}.lora_a")
            yield _turned(first.b).planned(f"{module}.lora_b")
            if first.magnitude is not None:
                yield _vector(first.magnitude, f"{module}.m")
        else:
            yield from _stack(module, parts)


def _stack(module: str, parts: list[_Unit]) -> Iterator[PlannedTensor]:
    """(experts, rank, in) and (experts, out, rank); an expert that is not in the file is zero."""
    by_number = {u.origin.expert: u for u in parts}
    experts = max(n for n in by_number if n is not None) + 1
    for leaf, each in (("lora_a", [u.a for u in parts]), ("lora_b", [u.b for u in parts])):
        dtype = each[0].dtype if len({m.dtype for m in each}) == 1 else "F32"
        rows, columns = each[0].rows, each[0].columns
        nothing = Matrix(dtype, rows, columns)
        held = dict(zip(by_number, each, strict=True))
        whole = stacked([held.get(n, nothing) for n in range(experts)], dtype)
        planned = whole.planned(f"{module}.{leaf}")
        target = TensorSpec(planned.target.name, dtype, (experts, rows, columns))
        yield evolve(planned, target=target)


def _vector(source: TensorSpec, name: str) -> PlannedTensor:
    planned = _cut(source, Grid.whole((1, source.shape[0]))).planned(name)
    return evolve(planned, target=TensorSpec(name, source.dtype, source.shape))


def _config(
    units: list[_Unit], rank: int, scale: float, base_model: str | None
) -> Mapping[str, Any]:
    keys = {_key(u.origin.module) for u in units}
    return {
        "fine_tune_type": "dora" if any(u.magnitude for u in units) else "lora",
        "lora_parameters": {
            "dropout": 0.0,
            "keys": sorted(keys),
            "rank": rank,
            "scale": scale_of(scale * rank, rank),
        },
        "model": base_model,
        "num_layers": -1,
    }


def _key(module: str) -> str:
    """What mlx-lm matches: names relative to a layer, and whole paths outside of layers."""
    found = LAYER.fullmatch(module)
    return re.sub(r"^\.", "", found["tail"]) if found else module

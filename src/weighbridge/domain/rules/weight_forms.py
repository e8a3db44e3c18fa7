"""WT021 and on: numbers that stand in another form than is said of them, by what they would be."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from weighbridge.domain.checkpoints.packing import Mode, Packing, packing_of, quantisation_of
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.rules.weight_values import examined
from weighbridge.domain.rules.whole_model import packed_modules, places
from weighbridge.domain.survey import TensorStats
from weighbridge.domain.tensors import TensorSpec

#: Of bfloat16 the upper bits are the exponent that float16 has five of: read as float16, whatever
#: is between 1e-7 and 2 is between these two, and never of one size only.
_LEAST_OF_BF16, _MOST_OF_BF16, _LEAST_RATIO = 0.25, 2.0, 1.1
#: Of scales no more than a quarter of an octave is left between most of a module's.
_LEAST_SCALES, _MOST_RATIO = 2, 1.25
#: Read as bfloat16, float16 is next to nothing, and eight times as many octaves wide.
_MOST_OF_F16, _RATIO_OF_F16 = 1e-9, 2.0**20
#: What a packed weight can amount to, in any model that works.
_LARGEST, _LARGEST_ONE, _SMALLEST, _OF_NOTHING = 128.0, 1e4, 1e-9, 1e-4
_MOST_OF_ONE_SIGN = 3 / 4
#: What an exponent of E8M0 is stored with; the largest number that it multiplies.
_E8M0_BIAS, _LARGEST_CODE = 127, {Mode.MXFP4: 6.0, Mode.MXFP8: 448.0}


def _held_instead(spec: TensorSpec, stats: TensorStats) -> str | None:
    """The dtype whose bits these are, if they can be none of what is said."""
    if len(stats.sizes) != 3 or len(spec.shape) < 2 or spec.name.endswith((".scales", ".biases")):
        return None
    least, middle, most = stats.sizes
    if spec.dtype == "F16":
        within = least >= _LEAST_OF_BF16 and most < _MOST_OF_BF16
        return "BF16" if within and most > least * _LEAST_RATIO else None
    wide = most > least * _RATIO_OF_F16
    return "F16" if spec.dtype == "BF16" and middle < _MOST_OF_F16 and wide else None


def _are_of_bf16(scales: Sequence[tuple[str, str, TensorStats]]) -> bool:
    """True for scales said to be F16 that are as large as weights, and all of one size: of each
    module's octaves an eighth is left. Those that are one number may be meant."""
    sizes = [s.sizes for *_, s in scales if not s.constant and len(s.sizes) == 3]
    return len(sizes) > _LEAST_SCALES and all(
        least >= _LEAST_OF_BF16 and most < _MOST_OF_BF16 and most < least * _MOST_RATIO
        for least, _, most in sizes
    )


def _mislabelled(subject: Subject) -> Iterator[Observation]:
    """The bytes of one 16-bit float were saved under the name of the other: every loader takes them
    for other numbers, and answers with noise."""
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    scales: list[tuple[str, str, TensorStats]] = []
    for path, spec, stats in examined(subject):
        if held := _held_instead(spec, stats):
            found[path, spec.dtype, held].append(spec.name)
        if spec.dtype == "F16" and spec.name.endswith(".scales"):
            scales.append((path, spec.name, stats))
    for path, name, _ in scales if _are_of_bf16(scales) else ():
        found[path, "F16", "BF16"].append(name)
    for (path, said, held), names in found.items():
        facts: dict[str, Fact] = {"said": said, "held": held, "count": len(names)}
        yield Observation(Location(path, names[0]), facts)


def _out_of_reason(subject: Subject) -> Iterator[Observation]:
    """Scales and biases tell what the packed words amount to. These are another module's, of
    another form, or swapped; every loader takes them, and the module's answer is noise."""
    model, survey = subject.model, subject.survey
    if not isinstance(model, FusedModel) or survey is None:
        return
    said, paths = quantisation_of(model.config), places(subject)
    found: dict[str, list[Location]] = defaultdict(list)
    for packed in packed_modules(model):
        packing = packing_of(packed, said)
        words, scales, biases = (
            survey.stats(paths.get(t.name, ""), t.name) if t is not None else None
            for t in (packed.weight, packed.scales, packed.biases)
        )
        if not isinstance(packing, Packing) or not scales:
            continue
        empty = words is not None and words.zero
        if problem := _of_zeros(packing, scales) if empty else _nonsense(packing, scales, biases):
            path = paths.get(packed.scales.name, "")
            found[problem].append(Location(path, packed.scales.name))
    for problem, located in found.items():
        yield Observation(located[0], {"problem": problem, "count": len(located)})


def _of_zeros(packing: Packing, scales: TensorStats) -> str:
    """MLX packs a matrix of zeros so, with scales that are next to nothing."""
    span = _span(packing, scales)
    return "belong to packed words that are all zero" if span > _OF_NOTHING else ""


def _span(packing: Packing, scales: TensorStats) -> float:
    """How far apart a group's weights are, in the middle of all groups, or of E8M0 the largest
    weight; NaN if that is not told."""
    if packing.mode is Mode.AFFINE:
        return scales.sizes[1] * (2**packing.bits - 1) if scales.sizes else math.nan
    code = _LARGEST_CODE.get(packing.mode) if scales.absmax else None
    return 2.0 ** (scales.absmax - _E8M0_BIAS) * code if code else math.nan


def _nonsense(packing: Packing, scales: TensorStats, biases: TensorStats | None) -> str:
    """What is wrong with a module of these; '' if nothing."""
    span, affine = _span(packing, scales), packing.mode is Mode.AFFINE
    if span < _SMALLEST or span > (_LARGEST if affine else _LARGEST_ONE):
        return "make weights of a size that no model has"
    if not affine or biases is None or not biases.finite:
        return ""
    if scales.zero:
        return "are zero, which MLX writes none"
    # Of two bits they may be alike: such weights are -1, 0 and 1 times something.
    if scales.constant and packing.bits > 2:
        return "are one number for all groups"
    # MLX counts from the end of a group that is farther from zero towards the other.
    same = [one is other for one, other in zip(scales.signs, biases.signs, strict=False)]
    if packing.bits > 1 and sum(same) > len(same) * _MOST_OF_ONE_SIGN:
        return "have the signs of the biases, so that the weights of a group have one sign"
    # A bias is the end of its group that is farther from zero: half of the steps at least. AWQ's
    # and GPTQ's zeros may be a bit nearer.
    end = biases.sizes[1] if biases.sizes else biases.absmax
    small = packing.bits > 1 and end < span / 4
    return "are too large for the biases, so that all weights have one sign" if small else ""


_E = Severity.ERROR
RULES = (
    Rule("WT021", "dtype-mislabelled", _E, "is said to be {said}, but holds {held}, as do {count} "
         "tensors in all", "save the weights again from their source", _mislabelled, Need.SURVEY,
         frozenset(Kind)),
    Rule("WT022", "scales-out-of-reason", _E, "{problem}; so it is with {count} modules in all",
         "quantise again with mlx_lm.convert", _out_of_reason, Need.SURVEY,
         frozenset({Kind.FUSED})),
)  # fmt: skip

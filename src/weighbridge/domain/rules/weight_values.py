"""WT003 and on: values that no training leaves, from the survey's one pass."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import groupby, takewhile

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.checkpoints.module_weights import NORM
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.mlx.base import is_mlx_format
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.placement import Layout, Standing, Stored
from weighbridge.domain.survey import TensorStats
from weighbridge.domain.tensors import TensorSpec

#: The smallest normal magnitude of each dtype.
_NORMAL = {"F64": 2.0**-1022, "F32": 2.0**-126, "BF16": 2.0**-126, "F16": 2.0**-14,
           "F8_E5M2": 2.0**-14, "F8_E4M3": 2.0**-6}  # fmt: skip
#: Parts of a LoRA, which other rules judge, and of packed weights.
_FACTOR = re.compile(
    r".*(\.scales|\.biases|lora_[abAB]|lora_embedding_[AB]|\.[ABm]|lora_magnitude_vector)(\..*)?"
)
_FIRST_ZERO = re.compile(r".*(lora_[bB]|lora_embedding_B|\.B)(\..*)?")
_PAIR = (".lora_a", ".lora_b", ".lora_A", ".lora_B")
#: Of experts all, in a stack or one by one; of packed weights the scales tell.
_WRITES_BACK = re.compile(
    r"(?P<layer>.*?\.(?:layers|h|blocks)\.\d+)\.[a-z0-9_.]+\."
    r"(?:o_proj|down_proj|c_proj|out_proj|dense|dense_4h_to_h|fc_out|w2)(?:\.weight|\.scales)?"
)
#: RMS norms of these multiply by 1 + weight, in MLX and in transformers.
_PLUS_ONE = re.compile(r"gemma|recurrent_gemma|nemotron|qwen3_next|qwen3_5|step3p5|glm_moe|olmo"
                       r"|muse|afm|granite|minimax_m3|laguna|exaone")  # fmt: skip
#: What has a row for each token, of which some may be unused.
_OF_TOKENS = re.compile(r"embed|wte|lm_head|word_embeddings")
#: So many zeros one after the other are no chance, nor are so many in a row with others.
_LEAST_TAIL, _WITHIN = 32, 2
_SMALL_NORM, _SMALL_SHIFTED = 0.01, 0.5
_MOST_DENORMAL, _MOST_ZERO, _VANISHING = 1 / 128, 1 / 4, 1e-9


def examined(subject: Subject) -> Iterator[tuple[str, TensorSpec, TensorStats]]:
    """Every tensor of the model that was examined, with its file and its figures."""
    for path, stats in sorted(subject.survey.files.items()) if subject.survey else ():
        file = subject.artifact.tensor_file(path)
        for slot in file.header.slots if file is not None and file.header is not None else ():
            one = stats.get(slot.spec.name)
            if one is not None and one.examined and slot.spec.nbytes:
                yield path, slot.spec, one


def _is_matrix(spec: TensorSpec) -> bool:
    inner = len(spec.shape) > 1 and min(spec.shape) > 1
    others = spec.name.endswith("bias") or NORM.fullmatch(spec.name)  # Cohere's norms are by head
    return inner and not others and not _FACTOR.fullmatch(spec.name)


def _is_plain_norm(spec: TensorSpec, subject: Subject) -> bool:
    """True for what a layer's input is multiplied by, as it is."""
    model = subject.model
    named = str(model.config.get("model_type")) if isinstance(model, FusedModel) else "gemma"
    return NORM.fullmatch(spec.name) is not None and not _PLUS_ONE.match(named)


def _partly_zero(subject: Subject) -> Iterator[Observation]:
    """What a copy or a download did not finish is zero on the disk, and a mask that was meant for
    something else leaves zeros too. Models that were pruned have them on purpose."""
    for path, spec, stats in examined(subject):
        embedding = _OF_TOKENS.search(spec.name)  # has rows that no token uses
        if stats.zeros > _MOST_ZERO and not stats.zero and _is_matrix(spec) and not embedding:
            yield Observation(Location(path, spec.name), {"part": f"{stats.zeros:.0%}"})


def _vanishing(subject: Subject) -> Iterator[Observation]:
    """No training leaves a matrix or a factor this small: bytes of float16 were read as bfloat16,
    or a scale was applied twice."""
    for path, spec, stats in examined(subject):
        small = stats.finite and _NORMAL.get(spec.dtype, 1) <= stats.absmax < _VANISHING
        if small and len(spec.shape) > 1 and not spec.name.endswith((".scales", ".biases")):
            yield Observation(Location(path, spec.name), {"absmax": f"{stats.absmax:.3g}"})


def _zero(subject: Subject) -> Iterator[Observation]:
    """A matrix of zeros lets nothing through. Small ones and biases are often zero in models that
    work; a whole matrix is a sign of weights that were never loaded. A packed one is what its
    scales are, and MLX packs even zeros with scales above it."""
    for path, spec, stats in examined(subject):
        scales = spec.name.endswith(".scales") and stats.absmax == 0
        if scales or (stats.zero and (_is_matrix(spec) or _is_plain_norm(spec, subject))):
            shape = " x ".join(map(str, spec.shape))
            yield Observation(Location(path, spec.name), {"shape": shape})


def _zero_end(subject: Subject) -> Iterator[Observation]:
    """Programs that fetch a file in pieces make room for all of it first, and a disk without power
    keeps its length: what never came is zeros, in a file of the right size."""
    # Training begins with a lora_b of zeros, and leaves no other matrix so; one may be pruned. A
    # PEFT adapter has whole pairs of zeros for the layers that were not trained.
    usual = _FACTOR if subject.kind is Kind.PEFT else _FIRST_ZERO
    for path, of_file in groupby(examined(subject), key=lambda one: one[0]):
        held = [(spec, stats) for _, spec, stats in of_file]
        tail = [spec for spec, _ in takewhile(lambda one: one[1].zero, reversed(held))]
        size = sum(spec.nbytes for spec in tail)
        cut = held[-1 - len(tail)] if len(tail) < len(held) else None
        whole = [spec for spec in tail if min(spec.shape, default=0) > 1]
        if cut is not None and (bytes_of_it := _cut_off(*cut, usual)):
            what = f"and the {len(tail)} tensors behind it end" if tail else "ends"
            facts: dict[str, Fact] = {"what": f"{what} in zeros", "size": size + bytes_of_it}
            yield Observation(Location(path, cut[0].name), facts)
        elif sum(usual.fullmatch(spec.name) is None for spec in whole) > 1:
            what = f"and all behind it, {len(tail)} tensors, are zero"
            yield Observation(Location(path, tail[-1].name), {"what": what, "size": size})


def _cut_off(spec: TensorSpec, stats: TensorStats, usual: re.Pattern[str]) -> int:
    """How many bytes at a matrix's end are zeros that nobody wrote; 0 if they may be meant: some
    rows of an embedding no token uses, of a factor nothing was learnt, and columns are padding."""
    row, size = spec.shape[-1] if len(spec.shape) > 1 else 0, math.prod(spec.shape)
    if row < 2 or stats.tail < _LEAST_TAIL:
        return 0
    meant = stats.tail < row and stats.zeros > 4 * stats.tail / size
    if _OF_TOKENS.search(spec.name) or usual.fullmatch(spec.name):
        meant = stats.tail <= row or stats.tail % row < _WITHIN
    return 0 if meant else stats.tail * spec.nbytes // size


def _constant(subject: Subject) -> Iterator[Observation]:
    """Training leaves no matrix of one number: it was never loaded, or filled in for what was
    missing."""
    for path, spec, stats in examined(subject):
        factor = spec.name.removesuffix(".weight").endswith(_PAIR)
        if stats.constant and stats.finite and (factor or _is_matrix(spec)):
            value = "a packed word" if spec.dtype == "U32" else f"{stats.absmax:.3g}"
            yield Observation(Location(path, spec.name), {"value": value})


def _denormal(subject: Subject) -> Iterator[Observation]:
    """Some cast or scale went wrong. Processors flush such numbers to zero, or are slow with them;
    training leaves none in bfloat16 and float32."""
    for path, spec, stats in examined(subject):
        least = _NORMAL.get(spec.dtype)
        whole = least is not None and stats.finite and 0 < stats.absmax < least
        if whole or stats.denormal > _MOST_DENORMAL:
            part = "all" if whole else f"{stats.denormal:.0%}"
            yield Observation(Location(path, spec.name), {"part": part})


def _duplicate(subject: Subject) -> Iterator[Observation]:
    """A head that is tied to the embedding need not be stored; other matrices that are the same
    come from a copy that went wrong."""
    for group in subject.survey.duplicates if subject.survey else ():
        first, *others = sorted(group)
        for path, name in others:
            yield Observation(Location(path, name), {"other": str(Location(*first))})


def _dead_layer(subject: Subject) -> Iterator[Observation]:
    """All matrices with which a layer writes back are zero: it changes nothing, and every token
    pays for it."""
    layers: dict[str, tuple[str, list[bool]]] = {}
    for path, spec, stats in examined(subject):
        if spec.dtype != "U32" and (found := _WRITES_BACK.fullmatch(spec.name)):
            layers.setdefault(found["layer"], (path, []))[1].append(stats.zero)
    for layer, (path, zero) in sorted(layers.items()):
        if len(zero) > 1 and all(zero):
            yield Observation(Location(path, layer), {"count": len(zero)})


def _norms(subject: Subject) -> Iterator[Observation]:
    """Some architectures multiply by one plus a norm's weight, and mlx-lm stores the sum for some.
    Weights of the other convention make every layer nearly silent; nothing fails."""
    model = subject.model
    assert isinstance(model, FusedModel)
    entry = architecture_for(model.config)
    if entry.standing is not Standing.CONVERTIBLE or not isinstance(
        named := model.config.get("model_type"), str
    ):
        return
    mlx = is_mlx_format(model.config, {spec.name: spec for spec in model.tensors})
    shifted: list[tuple[str, str, float]] = []
    plain: list[tuple[str, str, float]] = []
    for path, spec, stats in examined(subject):
        if len(spec.shape) == 1 and NORM.fullmatch(spec.name) and stats.finite:
            stored = entry.restore(spec.name)
            minus = isinstance(stored, Stored) and stored.layout is Layout.MINUS_ONE
            if mlx or not minus:  # other files are as transformers has them, around zero
                (shifted if minus else plain).append((path, spec.name, stats.absmax))
    for found, least in ((shifted, _SMALL_SHIFTED), (plain, _SMALL_NORM)):
        usual = found is shifted or not _PLUS_ONE.match(named)
        if usual and len(found) > 1 and max(absmax for *_, absmax in found) < least:
            path, name, _ = found[0]
            most = f"{max(absmax for *_, absmax in found):.3g}"
            yield Observation(Location(path, name), {"count": len(found), "most": most})


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_FUSED, _ALL = frozenset({Kind.FUSED}), frozenset(Kind)
_AGAIN = "make the weights again from their source, and compare"
RULES = (
    Rule("WT003", "tensor-all-zero", _W, "is all zero ({shape})", _AGAIN, _zero, Need.SURVEY,
         _ALL),
    Rule("WT020", "zero-end", _E, "{what}, {size} bytes in all",
         "fetch or copy the file again, and compare its digest", _zero_end, Need.SURVEY, _ALL),
    Rule("WT004", "tensor-constant", _W, "holds one number only, {value}", _AGAIN, _constant,
         Need.SURVEY, _ALL),
    Rule("WT006", "denormal-flood", _W, "{part} of its weights are less than the smallest normal "
         "number", _AGAIN, _denormal, Need.SURVEY, _ALL),
    Rule("WT007", "duplicate-content", _I, "is the same as {other}",
         "leave one out if the model ties them", _duplicate, Need.SURVEY, _ALL),
    Rule("WT009", "dead-layer", _W, "writes nothing back: {count} matrices are zero", _AGAIN,
         _dead_layer, Need.SURVEY, _FUSED),
    Rule("WT014", "magnitude-vanishing", _W, "holds nothing above {absmax}", _AGAIN, _vanishing,
         Need.SURVEY, _ALL),
    Rule("WT015", "zeros-in-part", _W, "{part} of its weights are zero",
         "compare with the source; if it was pruned, ignore this rule", _partly_zero, Need.SURVEY,
         _FUSED),
    Rule("WT010", "norm-not-shifted", _W, "and {count} norms in all have no weight above {most}: "
         "one was taken off, or not added",
         "convert the model again with the mlx-lm that will load it", _norms, Need.SURVEY, _FUSED),
)  # fmt: skip

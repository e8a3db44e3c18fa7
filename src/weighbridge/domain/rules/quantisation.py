"""QT003 and on: how the tensors are packed against what config.json says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from weighbridge.domain.checkpoints.packing import packing_of, quantisation_of
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.rules.whole_model import packed_modules, places

_MODES = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
_AFFINE_BITS, _AFFINE_GROUPS = (1, 2, 3, 4, 5, 6, 8), (32, 64, 128)


def _packed_shape(subject: Subject) -> Iterator[Observation]:
    """Bits and group size tell how to unpack the words; with others every weight is another number,
    or the loader fails."""
    model = subject.fused
    without = list(_without_scales(model))
    if not model.quantised and not without:
        return
    said, paths = quantisation_of(model.config), places(subject)
    for name in without:
        place = Location(paths.get(name, ""), name)
        yield Observation(place, {"problem": "is packed, but has no scales"})
    if said is None:
        return  # QT002 speaks of it
    for module in _said_of(said):
        name = f"{module}.weight"
        if name in paths and f"{module}.scales" not in paths and name not in without:
            problem = "is not packed, but the config says how it is"
            yield Observation(Location(paths[name], name), {"problem": problem})
    for packed in packed_modules(model):
        found = packing_of(packed, said)
        if isinstance(found, str):
            place = Location(paths.get(packed.weight.name, ""), packed.module)
            yield Observation(place, {"problem": found})


def _without_scales(model: FusedModel) -> Iterator[str]:
    """Weights of 32-bit words, as MLX packs them and nothing else is stored."""
    packed = [group for group in model.alike if group[0].dtype == "U32"]
    names = {spec.name for spec in model.tensors} if packed else ()
    for spec in chain.from_iterable(packed):
        module = spec.name.removesuffix(".weight")
        if module != spec.name and f"{module}.scales" not in names:
            yield spec.name


def _said_of(said: Mapping[str, Any]) -> Iterator[str]:
    """The modules that have a packing of their own in the config."""
    yield from (module for module, own in said.items() if isinstance(own, Mapping))


def _absent_modules(subject: Subject) -> Iterator[Observation]:
    """mlx-lm does not look at it. The module that was meant is named otherwise, and unpacked as all
    others are, or it was left out of the weights."""
    said, paths = quantisation_of(subject.fused.config), places(subject)
    absent = [m for m in _said_of(said or {}) if f"{m}.weight" not in paths]
    if absent and subject.fused.quantised:
        place = Location("config.json", f"quantization.{absent[0]}")
        yield Observation(place, {"count": len(absent)})


def _two_blocks(subject: Subject) -> Iterator[Observation]:
    """mlx-lm writes the same in both. It reads quantization, transformers and servers read
    quantization_config, and unpack the same words in two ways."""
    config = subject.fused.config
    own, other = config.get("quantization"), config.get("quantization_config")
    if isinstance(own, dict) and isinstance(other, dict) and own != other:
        keys = sorted(k for k in own.keys() | other.keys() if own.get(k) != other.get(k))
        shown = ", ".join(map(str, keys[:4]))[:120]
        yield Observation(Location("config.json", "quantization_config"), {"keys": shown})


def _unsupported(subject: Subject) -> Iterator[Observation]:
    """MLX has no kernel for it, so that no program can run the model."""
    said = quantisation_of(subject.fused.config)
    for where, block in _blocks(said or {}):
        if problem := _problem(block):
            yield Observation(Location("config.json", where), {"problem": problem})


def _blocks(said: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "quantization", said
    # A module's own block stands alone: the mode of all others is not its mode.
    yield from ((f"quantization.{module}", said[module]) for module in _said_of(said))


def _problem(block: Mapping[str, Any]) -> str:
    mode = block.get("mode") or "affine"
    bits, group = block.get("bits"), block.get("group_size")
    if mode == "affine":
        if bits is not None and (isinstance(bits, bool) or bits not in _AFFINE_BITS):
            return f"has bits {str(bits)[:20]}; {', '.join(map(str, _AFFINE_BITS))} can be"
        if group is not None and group not in _AFFINE_GROUPS:
            return f"has group_size {str(group)[:20]}; {', '.join(map(str, _AFFINE_GROUPS))} can be"
        return ""
    if not isinstance(mode, str) or mode not in _MODES:
        return f"has mode {str(mode)[:40]!r}; affine, {', '.join(_MODES)} can be"
    wanted = _MODES[mode]
    if (bits if bits is not None else wanted[0], group or wanted[1]) != wanted:
        return f"has {bits} bits in groups of {group}; {mode} has {wanted[0]} and {wanted[1]}"
    return ""


_E = Severity.ERROR
_FUSED = frozenset({Kind.FUSED})
_COPY = "copy config.json that mlx-lm wrote with the weights"
RULES = (
    Rule("QT003", "packed-shape-wrong", _E, "{problem}", _COPY, _packed_shape, Need.MODEL, _FUSED),
    Rule("QT004", "quantization-blocks-differ", _E, "differs from quantization in {keys}", _COPY,
         _two_blocks, Need.MODEL, _FUSED),
    Rule("QT005", "quantization-unsupported", _E, "{problem}", "quantise again with mlx_lm.convert",
         _unsupported, Need.MODEL, _FUSED),
    Rule("QT006", "quantization-of-no-module", Severity.WARNING, "is of no module of the weights; "
         "there are {count} such in all", _COPY, _absent_modules, Need.MODEL, _FUSED),
)  # fmt: skip

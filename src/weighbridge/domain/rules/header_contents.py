"""ST025 and on: headers that are sound, but of what no release should hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

from weighbridge.domain.findings import Location, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind
from weighbridge.domain.tensors import Header

_MOST_TENSORS = 100_000
_LONGEST_VALUE, _LONGEST_METADATA = 64_000, 1_000_000
_MOST_SHOWN = 8
_LONGEST_NAME = 500
#: What nearly all names are, told at once.
_USUAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,250}")
_USUAL_LINES = re.compile(rf"{_USUAL.pattern}(?:\n{_USUAL.pattern})*")
#: What MLX has no type for (mx.load: "unsupported dtype").
_NOT_IN_MLX = frozenset({"F64", "F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3FNUZ",
                         "F8_E5M2FNUZ"})  # fmt: skip


def _headers(subject: Subject) -> Iterator[tuple[str, Header]]:
    for file in subject.artifact.tensor_files:
        if file.header is not None:
            yield file.path.text, file.header


def _too_many(subject: Subject) -> Iterator[Observation]:
    """Loaders take seconds for the header alone and make an object of each tensor; no model has
    as many."""
    for path, header in _headers(subject):
        if len(header.slots) > _MOST_TENSORS:
            facts = {"count": len(header.slots), "most": _MOST_TENSORS}
            yield Observation(Location(path), facts)


def _all_usual(names: Collection[str]) -> bool:
    lines = "\n".join(names)
    told = _USUAL_LINES.fullmatch(lines) and lines.count("\n") == len(names) - 1
    return bool(told) and ".." not in lines


def _suspicious(name: str) -> str:
    if _USUAL.fullmatch(name) and ".." not in name:
        return ""
    if not name:
        return "is empty"
    if len(name) > _LONGEST_NAME:
        return f"has {len(name)} characters"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") for c in name):
        return "has invisible characters, which deceive whoever reads a report"
    if ".." in name or name.startswith(("/", "~")) or "\\" in name:
        return "is like a path, and programs that make files of names write where it leads"
    return ""


def _names(subject: Subject) -> Iterator[Observation]:
    """No model has such a name; it is made for the programs that print it or make a path of it."""
    for path, header in _headers(subject):
        if _all_usual(header.specs):
            continue
        named = ((slot.spec.name, _suspicious(slot.spec.name)) for slot in header.slots)
        found = [(name, what) for name, what in named if what]
        for name, what in found[:_MOST_SHOWN]:
            yield Observation(Location(path, name[:_LONGEST_NAME]), {"what": what})
        if len(found) > _MOST_SHOWN:
            yield Observation(Location(path), {"what": f"and {len(found) - _MOST_SHOWN} more"})


def _foreign_dtype(subject: Subject) -> Iterator[Observation]:
    """MLX refuses the whole file because of one such tensor."""
    for path, header in _headers(subject):
        found = [slot.spec for slot in header.slots if slot.spec.dtype in _NOT_IN_MLX]
        for spec in found[:_MOST_SHOWN]:
            yield Observation(Location(path, spec.name), {"dtype": spec.dtype})


def _metadata(subject: Subject) -> Iterator[Observation]:
    """A header is for a few words; so much hides other contents, which no loader shows."""
    for path, header in _headers(subject):
        sizes = {key: len(value) for key, value in (header.metadata or {}).items()}
        whole = sum(sizes.values()) + sum(map(len, sizes))
        longest = max(sizes, key=lambda key: sizes[key], default="")
        if whole > _LONGEST_METADATA or sizes.get(longest, 0) > _LONGEST_VALUE:
            facts = {"size": sizes[longest], "whole": whole}
            yield Observation(Location(path, longest[:_LONGEST_NAME]), facts)


_E, _W = Severity.ERROR, Severity.WARNING
_MLX = frozenset({Kind.FUSED, Kind.LORA})
_SAVE = "save the weights again with mx.save_safetensors"
RULES = (
    Rule("ST025", "too-many-tensors", _W, "holds {count} tensors; {most} is more than any model "
         "has", "save only the model's own tensors", _too_many),
    Rule("ST030", "tensor-name-suspicious", _W, "{what}", "rename the tensor, or leave it out",
         _names),
    Rule("ST031", "dtype-not-in-mlx", _E, "is {dtype}, which MLX does not have",
         "convert the tensor to float32, float16 or bfloat16", _foreign_dtype, kinds=_MLX),
    Rule("ST033", "metadata-oversize", _W, "has {size} characters, all metadata {whole}", _SAVE,
         _metadata),
)  # fmt: skip

"""IX008 and on: the index of shards against the files, and names that lead elsewhere."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from weighbridge.domain.detection import INDEX, SINGLE
from weighbridge.domain.findings import Fact, Location, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind

_NUMBERED = re.compile(r"(?P<stem>.*?)-?(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
_DRIVE = re.compile(r"[A-Za-z]:")


def weight_map(subject: Subject) -> Mapping[str, str]:
    """Shard by tensor, of what is written as it must be."""
    document = subject.artifact.document(INDEX)
    return document.weight_map if document else {}


def shards(subject: Subject) -> tuple[str, ...]:
    """The files that the index names, sorted."""
    document = subject.artifact.document(INDEX)
    return document.shards if document else ()


def escapes(shard: str) -> bool:
    """True if that name, in any spelling that some loader or system undoes, is no plain file name.

    Looks through percent signs, and letters that Unicode folds to a dot or a slash.
    """
    for name in {shard, unquote(unquote(shard)), unicodedata.normalize("NFKC", shard)}:
        if "/" in name or "\\" in name or ".." in name or name in ("", ".", "~"):
            return True
        if _DRIVE.match(name) or name.startswith("~") or not name.isprintable():
            return True
    return False


def _total_size(subject: Subject) -> Iterator[Observation]:
    """Programs plan memory and downloads by it; another number is a sign of shards that are not of
    this index."""
    document = subject.artifact.document(INDEX)
    metadata = document.object.get("metadata") if document else None
    said = metadata.get("total_size") if isinstance(metadata, dict) else None
    named = shards(subject)
    files = [subject.artifact.tensor_file(shard) for shard in named]
    if said is None or not files or any(f is None or f.header is None for f in files):
        return
    # In a sound file nothing is between the tensors or behind them.
    before = sum(f.header.data_start for f in files if f and f.header)
    actual = sum(subject.artifact.size_of(shard) or 0 for shard in named) - before
    if said != actual:
        yield Observation(Location(INDEX, "metadata.total_size"),
                          {"said": str(said)[:40], "actual": actual})  # fmt: skip


def _other_name(subject: Subject) -> Iterator[Observation]:
    """mlx-lm does not read the index: it loads model*.safetensors, and misses what is in others."""
    held = [shard for shard in shards(subject) if shard in subject.artifact.paths]
    others = [s for s in held if not (s.startswith("model") and s.endswith(".safetensors"))]
    if others:
        yield Observation(Location(others[0]), {"count": len(others)})


def _both(subject: Subject) -> Iterator[Observation]:
    """transformers loads the single file and does not look at the index; mlx-lm loads both and
    keeps whichever comes last."""
    named = shards(subject)
    if named and SINGLE not in named and SINGLE in subject.artifact.paths:
        yield Observation(Location(SINGLE), {"count": len(named)})


def _shard_count(subject: Subject) -> Iterator[Observation]:
    """A shard's name says how many there are; another number means that the shards are of several
    runs, or not all here."""
    numbers: dict[tuple[str, str], set[str]] = {}
    for shard in shards(subject):
        if found := _NUMBERED.fullmatch(shard):
            numbers.setdefault((found["stem"], found["count"]), set()).add(found["number"])
    for (stem, count), held in sorted(numbers.items()):
        if len(held) != int(count):
            facts: dict[str, Fact] = {"count": int(count), "held": len(held), "stem": stem[:80]}
            yield Observation(Location(INDEX), facts)


def _collision(subject: Subject) -> Iterator[Observation]:
    """On macOS and Windows the two are one file, and half of the tensors are gone."""
    seen: dict[str, str] = {}
    for shard in shards(subject):
        folded = unicodedata.normalize("NFC", shard).casefold()
        other = seen.setdefault(folded, shard)
        if other != shard:
            yield Observation(Location(INDEX), {"shard": shard, "other": other})


_FUSED = frozenset({Kind.FUSED})
_REFUSE = "fuse again into an empty directory"
_E, _W = Severity.ERROR, Severity.WARNING
RULES = (
    Rule("IX008", "total-size-wrong", _W, "is {said}; the shards hold {actual}", _REFUSE,
         _total_size, kinds=_FUSED),
    Rule("IX009", "index-and-single-file", _W, "is beside an index of {count} other file(s)",
         _REFUSE, _both, kinds=_FUSED),
    Rule("IX010", "shard-count", _W, "names {held} shard(s) {stem}, which say they are {count}",
         _REFUSE, _shard_count, kinds=_FUSED),
    Rule("IX011", "shard-name-collision", _E, "names {shard} and {other}, which some systems take "
         "for one", "rename one of the two, in the index as well", _collision, kinds=_FUSED),
    Rule("IX012", "shard-name-unusual", _W, "is no model*.safetensors, which is all that mlx-lm "
         "loads; there are {count} such shards", "rename it, in the index as well", _other_name,
         kinds=_FUSED),
)  # fmt: skip

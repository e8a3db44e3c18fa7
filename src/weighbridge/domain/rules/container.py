"""ST: the safetensors container; NZ: the npz archive; IX: the index of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set

from weighbridge.domain.detection import INDEX, SINGLE
from weighbridge.domain.findings import Location, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind
from weighbridge.domain.rules.index import escapes, shards, weight_map as _weight_map


def _defects(code: str, why: str) -> Callable[[Subject], Iterator[Observation]]:
    def check(subject: Subject) -> Iterator[Observation]:
        for file in subject.artifact.tensor_files:
            for defect in file.defects:
                if defect.code == code:
                    yield Observation(
                        Location(file.path.text, defect.tensor), {"detail": defect.detail}
                    )

    check.__doc__ = why
    return check


def _rule(code: str, name: str, template: str, remedy: str, why: str) -> Rule:
    return Rule(code, name, Severity.ERROR, template, remedy, _defects(code, why))


_SAVE = "save the weights again with mx.save_safetensors and copy them whole"
_EDIT = "save again with the trainer; do not edit headers"


def _index_invalid(subject: Subject) -> Iterator[Observation]:
    """Loaders find shards by weight_map; without a sound one they load nothing or by chance."""
    document = subject.artifact.document(INDEX)
    if document is not None and document.problem is None and not _weight_map(subject):
        yield Observation(Location(INDEX))


def _shard_missing(subject: Subject) -> Iterator[Observation]:
    """The model is not complete."""
    for shard in shards(subject):
        if shard not in subject.artifact.paths and not escapes(shard):
            yield Observation(Location(INDEX), {"shard": shard})


def _shard_escapes(subject: Subject) -> Iterator[Observation]:
    """transformers follows such a path and opens a file outside of the model."""
    for shard in shards(subject):
        if escapes(shard):
            yield Observation(Location(INDEX), {"shard": shard})


def _wrong_shard(subject: Subject) -> Iterator[Observation]:
    """transformers looks a tensor up where the index says; mlx-lm ignores the index. The two load
    different models."""
    held = {
        file.path.text: file.header.specs.keys()
        for file in subject.artifact.tensor_files
        if file.header is not None
    }
    wrong = ((t, s) for t, s in _weight_map(subject).items() if s in held and t not in held[s])
    for tensor, shard in sorted(wrong):
        yield Observation(Location(INDEX, tensor), {"shard": shard})


def _stored(subject: Subject) -> list[tuple[str, Set[str]]]:
    """The names of the tensors in every file that the index names."""
    named = frozenset(shards(subject))
    return sorted(
        (file.path.text, file.header.specs.keys())
        for file in subject.artifact.tensor_files
        if file.header is not None and file.path.text in named
    )


def _unmapped(subject: Subject) -> Iterator[Observation]:
    """transformers never loads a tensor that the index does not name."""
    mapped = _weight_map(subject).keys()
    found: dict[str, str] = {}
    for path, names in _stored(subject):
        for tensor in names if not names <= mapped else ():
            if tensor not in mapped:
                found.setdefault(tensor, path)
    for tensor, path in sorted(found.items()):
        yield Observation(Location(path, tensor))


def _twice(subject: Subject) -> Iterator[Observation]:
    """Which of the two counts depends on the loader."""
    first: dict[str, str] = {}
    found: dict[str, tuple[str, str]] = {}
    stored = _stored(subject)
    if len(set().union(*(names for _, names in stored))) == sum(len(names) for _, names in stored):
        return
    for path, names in stored:
        for tensor in names:
            if (other := first.setdefault(tensor, path)) != path:
                found.setdefault(tensor, (path, other))
    for tensor, (path, other) in sorted(found.items()):
        yield Observation(Location(path, tensor), {"other": other})


def _not_in_index(subject: Subject) -> Iterator[Observation]:
    """mlx-lm loads every model*.safetensors, transformers only what the index names, or without one
    model.safetensors: a left-over shard makes two different models of one directory."""
    named, paths = set(shards(subject)), subject.artifact.paths
    if not named and (INDEX in paths or SINGLE not in paths):
        return  # of an index that cannot be read another rule speaks
    why = "is not named by the index" if named else f"is beside {SINGLE}, and there is no index"
    for path in sorted(paths - (named or {SINGLE})):
        if "/" not in path and path.startswith("model") and path.endswith(".safetensors"):
            yield Observation(Location(path), {"why": why})


_FUSED = frozenset({Kind.FUSED})
_REFUSE = "fuse again into an empty directory"


def _index_rule(
    code: str, name: str, template: str, check: Callable[[Subject], Iterator[Observation]]
) -> Rule:
    return Rule(code, name, Severity.ERROR, template, _REFUSE, check, kinds=_FUSED)


RULES = (
    _rule("ST001", "file-too-small", "{detail}", _SAVE, "The file is cut off or empty."),
    _rule("ST002", "header-length-invalid", "{detail}", _SAVE,
          "The length points outside of the file, or at a header that exhausts memory."),
    _rule("ST003", "lfs-pointer", "{detail}", "run git lfs pull",
          "A clone without git-lfs leaves a text of three lines in place of the weights."),
    _rule("ST004", "not-safetensors", "{detail}", _SAVE, "Another file bears the name."),
    _rule("ST010", "header-encoding", "{detail}", _EDIT, "The format demands UTF-8 and '{'."),
    _rule("ST011", "header-invalid-json", "{detail}", _EDIT, "Loaders refuse or misread it."),
    _rule("ST012", "header-bad-padding", "{detail}", _EDIT,
          "MLX takes NUL padding, the reference reader refuses it."),
    _rule("ST013", "header-duplicate-key", "{detail}", _EDIT,
          "Loaders silently keep one of the two tensors."),
    _rule("ST014", "metadata-not-strings", "{detail}", _EDIT,
          "The reference reader refuses it; null is what MLX writes and is fine."),
    _rule("ST015", "tensor-entry-fields", "{detail}", _EDIT, "The reference format has no other."),
    _rule("ST016", "dtype-unknown", "{detail}", _SAVE, "No loader can read the tensor."),
    _rule("ST017", "shape-invalid", "{detail}", _SAVE,
          "MLX takes fractions and wraps large sizes silently."),
    _rule("ST018", "offsets-invalid", "{detail}", _SAVE, "MLX takes fractions."),
    _rule("ST019", "size-mismatch", "{detail}", _SAVE,
          "Older MLX reads out of bounds; others refuse."),
    _rule("ST020", "no-tensors", "{detail}", "train with keys that match modules of the model",
          "A run whose keys matched no module saves an empty file, and every loader takes it."),
    _rule("ST021", "tensor-overlap", "{detail}", _SAVE, "MLX reads it, transformers refuses it."),
    _rule("ST022", "tensor-hole", "{detail}", _SAVE, "Bytes that belong to no tensor hide things."),
    _rule("ST023", "truncated", "{detail}", "copy the file again, whole", "Data is missing."),
    _rule("ST024", "trailing-bytes", "{detail}", _SAVE,
          "The file is something else as well, such as a zip archive."),
    _rule("ST034", "tensor-name-endless", "{detail}", "rename the tensor",
          "Whatever reads the layer's number from the name fails, or takes very long."),
    _rule("NZ001", "npz-unreadable", "{detail}",
          "save it again with mx.savez, or as adapters.safetensors",
          "mlx-lm wrote LoRA as npz archives until 0.5; one that is compressed, cut off or holds "
          "other things than arrays is read by nobody, or in part."),
    _index_rule("IX001", "index-invalid", "has no weight_map of strings", _index_invalid),
    _index_rule("IX002", "shard-missing", "names {shard}, which is not here", _shard_missing),
    _index_rule("IX003", "shard-path-escapes", "names {shard!r}, which is no file of this "
                "directory", _shard_escapes),
    _index_rule("IX004", "tensor-not-in-named-shard", "is not in {shard}", _wrong_shard),
    _index_rule("IX005", "tensor-not-mapped", "is not in the index", _unmapped),
    _index_rule("IX006", "tensor-in-two-shards", "is in {other} as well", _twice),
    _index_rule("IX007", "shard-not-in-index", "{why}", _not_in_index),
)  # fmt: skip

"""FS: the directory itself. What is there, what must not be, what will not be shipped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.domain.artifact import Oddity
from weighbridge.domain.detection import CHECKPOINT
from weighbridge.domain.findings import Location, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Model

_PLACEHOLDER = re.compile(
    rb"(?i)\s*(#|//|<!--)?\s*(this is )?(an? |the )?"
    rb"(mock|dummy|placeholder|fake|todo|tbd|lorem ipsum)\b[^\n]{0,200}\s*"
)
#: What version control leaves in the place of a file that it keeps elsewhere.
_POINTER = re.compile(
    rb"version https://(git-lfs|hawser)\.github\.com/spec/|/annex/objects/|# xet version "
)
_PLACEHOLDER_NAME = re.compile(r"(?i)\.?(mock|dummy|placeholder|fake)([._ -].*)?")
_JUNK = re.compile(
    r"(^|/)(\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini|__pycache__/.*|\.ipynb_checkpoints/.*"
    r"|[^/]*\.sw[op]|[^/]*~|\.#[^/]*|\.idea/.*|\.vscode/.*|__MACOSX/.*"
    r"|\.cache/huggingface/.*)$"
)
_OF_A_STEP = re.compile(
    r"(?i)(^|/)(checkpoint|ckpt|global_step|step|iter|epoch)[-_]?\d+(/|[^/]*\.(safetensors|npz)$)"
)
_MIN_WEIGHTS = 200


def is_junk(path: str) -> bool:
    """True for what a desktop, an editor or a download leaves."""
    return _JUNK.search(path) is not None


def is_checkpoint(path: str) -> bool:
    """True for weights, or their directory, of a step of training."""
    return bool(CHECKPOINT.fullmatch(path.rpartition("/")[2]) or _OF_A_STEP.search(path))


def weights_of(model: Model) -> tuple[str, ...]:
    """The files of the model's own weights."""
    return model.weights_paths if isinstance(model, FusedModel) else (model.weights_path,)


def _structure(subject: Subject) -> Iterator[Observation]:
    """A directory that is no clearly known kind of model cannot be judged or published; nothing is
    guessed by precedence."""
    error = subject.structure_error
    for problem in error.problems if error else ():
        yield Observation(Location(), {"problem": problem})


def _escaping_symlink(subject: Subject) -> Iterator[Observation]:
    """A link that leaves the directory would ship a file that nobody chose to publish; the Hub's
    own client follows it."""
    for entry in subject.artifact.scan.irregular:
        if entry.oddity is Oddity.SYMLINK and entry.escapes:
            yield Observation(Location(entry.name), {"target": entry.detail})


def _inner_symlink(subject: Subject) -> Iterator[Observation]:
    """Links are reported and never followed, so what they point to does not ship under this
    name."""
    for entry in subject.artifact.scan.irregular:
        if entry.oddity is Oddity.SYMLINK and not entry.escapes:
            yield Observation(Location(entry.name), {"target": entry.detail})


def _special(subject: Subject) -> Iterator[Observation]:
    """A pipe, socket or device hangs or misleads whatever opens it."""
    for entry in subject.artifact.scan.irregular:
        if entry.oddity is Oddity.SPECIAL:
            yield Observation(Location(entry.name), {"what": entry.detail or "special file"})


def _unreadable(subject: Subject) -> Iterator[Observation]:
    """What cannot be read cannot be judged."""
    for entry in subject.artifact.scan.irregular:
        if entry.oddity is Oddity.UNREADABLE:
            yield Observation(Location(entry.name), {"why": entry.detail})


def _placeholder(subject: Subject) -> Iterator[Observation]:
    """Empty and mock files are left over from scaffolding; loaders fail on them or ignore them."""
    for entry in subject.artifact.scan.files:
        name = entry.path.name
        if is_junk(entry.path.text):
            continue
        if entry.size == 0 and not name.startswith(".") and name != "__init__.py":
            yield Observation(Location(entry.path.text), {"what": "is empty"})
        elif _PLACEHOLDER_NAME.fullmatch(name):
            yield Observation(Location(entry.path.text), {"what": "is named as a placeholder"})
    for path, data in subject.artifact.small_texts:
        if _POINTER.match(data):
            yield Observation(
                Location(path.text), {"what": "is a pointer of git-lfs, git-annex or Xet"}
            )
        elif data and _PLACEHOLDER.fullmatch(data):
            yield Observation(Location(path.text), {"what": "holds placeholder text"})


def _checkpoints(subject: Subject) -> Iterator[Observation]:
    """Numbered checkpoints are training state: they double the download and confuse loaders that
    read every safetensors file. They are never shipped."""
    for path in sorted(subject.artifact.paths):
        if is_checkpoint(path):
            yield Observation(Location(path))


def _junk(subject: Subject) -> Iterator[Observation]:
    """Files that a desktop, an editor or a download left; they are not shipped."""
    for path in sorted(subject.artifact.paths):
        if is_junk(path):
            yield Observation(Location(path))


def _too_small(subject: Subject) -> Iterator[Observation]:
    """Weights of less than a header and one small pair cannot be a model."""
    broken = (file.path.text for file in subject.artifact.tensor_files if file.header is None)
    paths = weights_of(subject.model) if subject.model else tuple(broken)
    size = sum(subject.artifact.size_of(path) or 0 for path in paths)
    if paths and size < _MIN_WEIGHTS:
        yield Observation(Location(paths[0]), {"size": size, "least": _MIN_WEIGHTS})


_E, _W = Severity.ERROR, Severity.WARNING
RULES = (
    Rule("FS001", "no-known-structure", _E, "{problem}",
         "give the directory that training or fusing wrote, complete", _structure),
    Rule("FS002", "symlink", _W, "is a symlink to {target!r}, which is not followed",
         "replace the link by the file", _inner_symlink),
    Rule("FS003", "symlink-escapes", _E, "is a symlink that leaves the directory: {target!r}",
         "replace the link by the file if it is meant to be published, else delete it",
         _escaping_symlink),
    Rule("FS004", "special-file", _E, "is a {what}", "delete it", _special),
    Rule("FS005", "unreadable", _E, "cannot be read: {why}", "fix its permissions", _unreadable),
    Rule("FS008", "junk-file", _W, "is left over from a desktop, an editor or a download",
         "delete it; it will not be shipped", _junk),
    Rule("FS009", "placeholder-file", _E, "{what}", "write the real file or delete it",
         _placeholder),
    Rule("FS010", "stray-checkpoint", _W, "is a training checkpoint and will not be shipped",
         "delete it, or keep it out of the release directory", _checkpoints),
    Rule("FS018", "size-too-small", _E, "has {size} bytes; no model has less than {least}",
         "copy the weights that training wrote", _too_small),
)  # fmt: skip

"""FS, of the whole tree: what has no place in a release, what collides, what is too much.

What each kind of release holds follows from what ships (``domain/shipping.py``) and what mlx-lm and
transformers write.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from weighbridge.domain.artifact import FileEntry, IrregularEntry, Oddity
from weighbridge.domain.contents import Family, in_repository
from weighbridge.domain.coverage import unseen_files
from weighbridge.domain.detection import ADAPTER_CONFIG, NPZ_WEIGHTS, SHARD
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind
from weighbridge.domain.provenance import SIGNATURE, STATEMENT
from weighbridge.domain.rules.executable import is_named_as_code
from weighbridge.domain.rules.layout import is_checkpoint, is_junk, weights_of
from weighbridge.domain.rules.secrets import is_secret_file, leaks_of
from weighbridge.domain.shipping import CARD, is_document, is_legal, is_named_template

_MAX_FILE = 200 * 10**9
_MAX_FILES, _MAX_IN_FOLDER = 100_000, 10_000
_OPTIMIZER = re.compile(
    r"(^|/)((\d+[._-]|adam[._-])?(optimi[sz]ers?|optim|scheduler|scaler|rng_state|random_states?"
    r"|train(ing|er)?_(state|args|config)|(ds|deepspeed|accelerate|axolotl|fsdp)_config"
    r"|zero_pp_rank|bf16_zero_pp_rank|opt_state)"
    r"([._-][^/]*)?|[^/]*[._-](optimi[sz]er|optim|opt)([._-]states?)?\.(safetensors|npz|pt|bin)"
    r"|(optimi[sz]er|global_step\d+)/.*)$",
    re.IGNORECASE,
)
_DATA = re.compile(
    r"(.*\.(jsonl|ndjson|parquet|arrow|csv|tsv|feather|tfrecords?)(\.gz|\.zst|\.bz2|\.xz)?"
    r"|(.*/)?(data|dataset|datasets)/.+)",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r"\.gitattributes|\.gitignore|[^/]+\.(png|jpe?g|gif|svg|webp)|modules\.json"
    r"|.*_config\.json|config_.*\.json|params\.json|tokenizer\.json\.index|CITATION(\.\w+)?",
    re.IGNORECASE,
)
_RESERVED = re.compile(
    r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[1-9\u00b9\u00b2\u00b3]|lpt[1-9\u00b9\u00b2\u00b3])(\.[^/]*)?"
)


def _files(subject: Subject) -> Iterator[FileEntry]:
    return (e for e in subject.artifact.scan.files if not in_repository(e.path.text))


def _beside_model(subject: Subject) -> Iterator[FileEntry]:
    return (e for e in _files(subject) if subject.beside_model(e.path.text))


def _plain(entry: IrregularEntry) -> str:
    """The name as it is on the disk, as far as it can be had back from how it is shown."""
    if not entry.name.isascii():
        return entry.name
    try:
        return entry.name.encode().decode("unicode_escape")
    except UnicodeDecodeError:
        return entry.name


def _collision(subject: Subject) -> Iterator[Observation]:
    """On macOS and Windows one of the two replaces the other in a clone."""
    seen: dict[str, str] = {}
    named = {path: path for path in subject.artifact.paths if not in_repository(path)}
    for odd in subject.artifact.scan.irregular:
        if odd.oddity is Oddity.NAME:
            named[_plain(odd)] = odd.name
    for path in sorted(named):
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            above = "/".join(parts[:end])
            folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", above).casefold())
            if seen.setdefault(folded, above) != above:
                yield Observation(Location(named[path]), {"other": seen[folded]})
                break


def _unexpected(subject: Subject) -> Iterator[Observation]:
    """A release holds the model and what belongs to it; anything else is there by oversight, and
    is downloaded by everybody."""
    kind = subject.kind.value if subject.kind else "unknown"
    for entry in _beside_model(subject):
        if not _has_place(subject, entry.path.text):
            yield Observation(Location(entry.path.text), {"kind": kind})


def _has_place(subject: Subject, path: str) -> bool:
    """Belongs to a release, or is named by a rule of its own."""
    name = path.rpartition("/")[2]
    judged = (is_junk, is_checkpoint, is_secret_file, is_named_as_code, is_data, is_optimizer)
    return (
        name in (CARD, ADAPTER_CONFIG, NPZ_WEIGHTS, STATEMENT.text, SIGNATURE.text)
        or is_legal(name)
        or is_document(name)
        or is_named_template(path)
        or name.endswith(".safetensors")
        or SHARD.fullmatch(name) is not None
        or _BESIDE.fullmatch(name) is not None
        or path in subject.artifact.contents.forms
        or any(of_a_rule(path) for of_a_rule in judged)
    )


def _other_weights(subject: Subject) -> Iterator[Observation]:
    """Everybody downloads them, some loaders read every safetensors file, and none of it was judged
    as a model."""
    artifact, kind = subject.artifact, subject.kind
    if subject.model is None or kind is None:
        return
    held = {f.path.text for f in artifact.tensor_files}
    held |= {p for p, form in artifact.contents.forms.items() if form.family is Family.TENSORS}
    for path in sorted(held - set(weights_of(subject.model))):
        # A whole model's loaders go by these names, so IX007 and IX009 speak of them.
        by_name = kind is Kind.FUSED and re.fullmatch(r"model[^/]*\.safetensors", path)
        if not (by_name or is_checkpoint(path) or is_optimizer(path)):
            yield Observation(Location(path), {"kind": kind.value})


def is_optimizer(path: str) -> bool:
    """True for the state of an optimizer or a trainer."""
    return _OPTIMIZER.search(path) is not None


def _optimizer(subject: Subject) -> Iterator[Observation]:
    """State of the optimizer or the trainer is of use to nobody but the run itself; it is larger
    than the model, and often a pickle."""
    for entry in _files(subject):
        if is_optimizer(entry.path.text):
            yield Observation(Location(entry.path.text))


def is_data(path: str) -> bool:
    """True for what training data is kept in."""
    return _DATA.fullmatch(path) is not None


def _data(subject: Subject) -> Iterator[Observation]:
    """Training data is seldom meant to be public, and cannot be called back."""
    for entry in _beside_model(subject):
        if is_data(entry.path.text):
            yield Observation(Location(entry.path.text))


def _over_limits(subject: Subject) -> Iterator[Observation]:
    """The Hub refuses files over 200 GB after most of the upload, and repositories of more than
    100,000 files or 10,000 in one folder."""
    for entry in subject.artifact.scan.files:
        if entry.size > _MAX_FILE:
            what = f"{entry.size} bytes"
            yield Observation(Location(entry.path.text), {"what": what, "most": _MAX_FILE})
    files = list(_files(subject))
    if len(files) > _MAX_FILES:
        yield Observation(Location(), {"what": f"{len(files)} files", "most": _MAX_FILES})
    for folder, count in sorted(Counter(e.path.parent for e in files).items()):
        if count > _MAX_IN_FOLDER:
            what = f"{count} files in one folder"
            yield Observation(Location(folder), {"what": what, "most": _MAX_IN_FOLDER})


def _repository(subject: Subject) -> Iterator[Observation]:
    """The history holds what was deleted since, and its config may hold a token; a repository in
    a repository is not uploaded as files."""
    found = set()
    for entry in subject.artifact.scan.files:
        parts = entry.path.text.split("/")
        if ".git" in parts:
            found.add("/".join(parts[: parts.index(".git") + 1]))
    for path in sorted(found):
        yield Observation(Location(path))


def _hard_link(subject: Subject) -> Iterator[Observation]:
    """The file has another name somewhere, and whoever writes to that changes this one, also
    between check and upload."""
    for entry in _files(subject):
        if entry.links > 1:
            yield Observation(Location(entry.path.text), {"count": entry.links})


def _bad_name(subject: Subject) -> Iterator[Observation]:
    """Names with control characters, or that other systems refuse, break clones and terminals."""
    for odd in subject.artifact.scan.irregular:
        if odd.oddity is Oddity.NAME:
            yield Observation(Location(odd.name), {"why": odd.detail})
    for path in sorted(subject.artifact.paths):
        why = _name_problem(path)
        if why is not None and not in_repository(path):
            yield Observation(Location(path), {"why": why})


def _name_problem(path: str) -> str | None:
    if not path.isprintable():
        return "holds characters that are not shown, or turn the direction of the text"
    for part in path.split("/"):
        if _RESERVED.fullmatch(part):
            return "Windows reserves for a device"
        if part.endswith((".", " ")):
            return "ends in a dot or a space, which Windows drops"
    return None


_TEXT = re.compile(r".*\.(md|txt|rst|cff|bib|ya?ml|toml|jinja|gitattributes|gitignore)|[^.]+", re.I)


def _no_text(subject: Subject) -> Iterator[Observation]:
    """It is published for people to read, and holds what nobody can: a licence or a note is a place
    to hide something in."""
    for path in sorted(subject.artifact.contents.binary):
        name = path.rpartition("/")[2]
        if _TEXT.fullmatch(name) and (is_legal(name) or "." in name or name == CARD):
            yield Observation(Location(path))


def _unexamined(subject: Subject) -> Iterator[Observation]:
    """Work on any directory is bounded; what lies beyond the bounds was not judged, and is no
    better for that: the report is incomplete (exit code 5) until a policy ignores this rule
    there."""
    for left in unseen_files(subject):
        yield Observation(Location(left.path or ""), {"why": left.reason})


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
RULES = (
    Rule("FS006", "name-collision", _E, "differs from {other!r} only by case or Unicode form",
         "rename or delete one of the two", _collision),
    Rule("FS007", "unexpected-file", _W, "has no place in a release of kind {kind}",
         "move it out of the directory", _unexpected, Need.MODEL),
    Rule("FS013", "mixed-kinds", _W, "holds weights that are not of the {kind} model judged",
         "keep each model in a directory of its own", _other_weights, Need.MODEL),
    Rule("FS011", "optimizer-state", _W, "is state of training and will not be shipped",
         "keep it out of the release directory", _optimizer),
    Rule("FS012", "training-data", _W, "is in a form or folder of training data; is not shipped",
         "keep data out of the release directory; publish a data set as one", _data),
    Rule("FS014", "size-over-limit", _E, "has {what}; the Hub takes {most} at most",
         "save the model in fewer files, or in smaller shards", _over_limits),
    Rule("FS015", "nested-repository", _W, "is a git repository's own directory; is not shipped",
         "give a copy without it, such as git archive or hf download makes", _repository),
    Rule("FS016", "hard-link", _I, "is one of {count} names of the same file",
         "copy the file", _hard_link),
    Rule("FS017", "file-name-invalid", _E, "has a name that {why}", "rename it", _bad_name),
    Rule("FS019", "not-examined", _W, "{why}",
         "give a directory that holds the model and nothing else, or ignore FS019 for that path",
         _unexamined),
    Rule("FS020", "no-text", _W, "is named as a text, and is none",
         "write the text, or delete the file", _no_text),
    Rule("FS021", "command-in-text", _W, "holds {what}",
         "name the page that tells how, and let readers decide",
         leaks_of("FS021", "Pages that look like those of a known model have people run programs; "
                  "who copies from yours cannot tell the two apart.")),
)  # fmt: skip

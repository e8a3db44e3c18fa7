"""EX: what runs when somebody loads or opens it. The content decides, then the name.

Pickles are refused and not analysed: MLX needs none, and every analysis of them has been got round.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from weighbridge.domain.contents import Family, Mark, in_repository, texts_in
from weighbridge.domain.findings import Location, Observation, Rule, Severity, Subject

#: What a file is taken for by its name, where the content says nothing else.
_NAMES: tuple[tuple[Family, str, re.Pattern[str]], ...] = tuple(
    (family, what, re.compile(rf"(?i).*\.({suffixes})"))
    for family, what, suffixes in (
        (Family.PICKLE, "named as a pickle", "bin|pt|pth|ckpt|pkl|pickle|joblib|dill|pt2|mar"),
        (Family.PYTHON, "Python code", r"py|pyw|pyc|pyo|pyi|pyx"),
        (Family.EXECUTABLE, "named as a program",
         r"so(\.\d+)*|dylib|dll|pyd|exe|com|msi|scr|sh|bash|zsh|command|bat|cmd|ps1|vbs|jar|wasm"
         r"|llamafile"),
        (Family.ARCHIVE, "named as an archive",
         r"zip|tar|tgz|tbz2?|txz|gz|bz2|xz|zst|lz4|7z|rar|cab|whl|egg|npz"),
        (Family.FOREIGN, "a model of another format",
         r"gguf|ggml|onnx|onnx_data|h5|hdf5|keras|tflite|pb|msgpack|mlmodel|ot|caffemodel|nemo"),
    )
)  # fmt: skip


def is_named_as_code(path: str) -> bool:
    """True if the name alone is what a rule of this family looks at."""
    return any(pattern.fullmatch(path) for _, _, pattern in _NAMES)


def _proven(subject: Subject) -> frozenset[str]:
    """Weights whose container was parsed to its last byte."""
    files = subject.artifact.tensor_files
    return frozenset(f.path.text for f in files if f.header is not None)


def _found(subject: Subject) -> Iterator[tuple[str, Family, str]]:
    """Each file of some family, once: the content decides, whatever the name is."""
    proven = _proven(subject)
    for path in sorted(subject.artifact.paths - proven):
        form = subject.artifact.contents.forms.get(path)
        if in_repository(path):
            continue
        if form is not None and form.family is not Family.TENSORS:
            yield path, form.family, form.what
        else:
            yield from ((path, f, w) for f, w, pattern in _NAMES if pattern.fullmatch(path))


def _files_of(family: Family, why: str) -> Callable[[Subject], Iterator[Observation]]:
    def check(subject: Subject) -> Iterator[Observation]:
        for path, found, what in _found(subject):
            if found is family and (family is Family.PICKLE or subject.beside_model(path)):
                yield Observation(Location(path), {"what": what})

    check.__doc__ = why
    return check


def _marks(
    keys: frozenset[str], tells: Callable[[Mark], bool], why: str
) -> Callable[[Subject], Iterator[Observation]]:
    def check(subject: Subject) -> Iterator[Observation]:
        for mark in subject.artifact.contents.marks:
            if mark.key in keys and tells(mark):
                yield Observation(Location(mark.path, mark.pointer), {"value": _shown(mark.value)})

    check.__doc__ = why
    return check


def _shown(value: Any) -> str:
    text = next(texts_in(value), "") if isinstance(value, dict | list) else str(value)
    return text[:100]


def _given(mark: Mark) -> bool:
    return isinstance(mark.value, str | dict | list) and bool(mark.value)


def _model_code(mark: Mark) -> bool:
    return _given(mark) and mark.path.endswith("config.json")


def _from_elsewhere(mark: Mark) -> bool:
    return any("/" in text or "\\" in text for text in texts_in(mark.value))


def _trusts(mark: Mark) -> bool:
    """Loaders ask no more than whether the value is something: the text "false" is."""
    return bool(mark.value)


_IDENTIFIER = re.compile(r"\w+")


def _no_name(mark: Mark) -> bool:
    return _given(mark) and not _IDENTIFIER.fullmatch(str(mark.value))


def _modules(subject: Subject) -> Iterator[Observation]:
    """mlx-lm imports the module that tool_parser_type or chat_template_type names, and
    sentence-transformers the classes that modules.json lists, from the directories it lists."""
    for mark in subject.artifact.contents.marks:
        if mark.key in _MODULE_KEYS and _no_name(mark):
            yield Observation(Location(mark.path, mark.pointer), {"value": _shown(mark.value)})
    for document in subject.artifact.documents:
        listed = document.value if document.path.name == "modules.json" else None
        for at, module in enumerate(listed if isinstance(listed, list) else ()):
            for key, value in _foreign(module if isinstance(module, dict) else {}):
                where = Location(document.path.text, f"[{at}].{key}")
                yield Observation(where, {"value": str(value)[:100]})


def _foreign(module: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What of a module of sentence-transformers is not its own, or not here."""
    kind, path = module.get("type"), module.get("path")
    if kind is not None and not (
        isinstance(kind, str) and re.fullmatch(r"sentence_transformers(\.\w+)+", kind)
    ):
        yield "type", kind
    if isinstance(path, str) and re.search(r"\.\.|^[/~\\]|:", path):
        yield "path", path


_ATTENTION = frozenset(
    {
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "_experts_implementation_internal",
    }
)
_MODULE_KEYS = frozenset({"tool_parser_type", "chat_template_type"})
_E, _W = Severity.ERROR, Severity.WARNING
RULES = (
    Rule("EX001", "pickle-file", _E, "is {what}",
         "save the weights as safetensors and delete it",
         _files_of(Family.PICKLE, "Loading a pickle runs whatever code it holds, and no scanner "
                   "tells the good from the bad; no MLX model needs one.")),
    Rule("EX002", "python-file", _E, "is {what}", "delete it; point to the code in the card",
         _files_of(Family.PYTHON, "Loaders import Python files of a model, and who trusts the "
                   "model then runs them.")),
    Rule("EX003", "auto-map", _E, "names code to load: {value!r}", "delete the key",
         _marks(frozenset({"auto_map", "custom_pipelines"}), _given,
                "By auto_map transformers and vLLM (CVE-2025-66448) import code that the artifact "
                "names, some without being asked; by custom_pipelines transformers does.")),
    Rule("EX004", "model-file-key", _E, "names a file of code to load: {value!r}",
         "delete the key",
         _marks(frozenset({"model_file"}), _model_code,
                "mlx-lm imports the Python file that model_file names (CVE-2026-5843), also from "
                "outside of the directory.")),
    Rule("EX005", "attention-implementation-key", _E, "names code on the Hub: {value!r}",
         "delete the key",
         _marks(_ATTENTION, _from_elsewhere,
                "transformers downloads and runs a kernel of that name (CVE-2026-4372), even if "
                "remote code is not trusted.")),
    Rule("EX006", "trust-remote-code", _E, "is {value}", "delete the key, or write false",
         _marks(frozenset({"trust_remote_code"}), _trusts,
                "Whether code is trusted is for the user to say; loaders have taken it from the "
                "artifact (CVE-2026-5241).")),
    Rule("EX007", "executable-file", _E, "is {what}", "delete it",
         _files_of(Family.EXECUTABLE, "A model needs no program, and somebody will run it.")),
    Rule("EX008", "archive", _E, "is {what}", "unpack it, and have what is inside judged",
         _files_of(Family.ARCHIVE, "What is inside is not seen by any check, here or on the Hub, "
                   "and pickles travel in archives.")),
    Rule("EX009", "foreign-model-format", _W, "is {what}",
         "publish it as a model of its own",
         _files_of(Family.FOREIGN, "It is not what was judged, and loaders choose between the "
                   "formats by themselves.")),
    Rule("EX010", "module-by-name", _E, "names a module to import: {value!r}",
         "delete it, or name one of the loader's own", _modules),
)  # fmt: skip

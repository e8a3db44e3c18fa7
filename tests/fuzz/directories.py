"""Whole directories with one hostile file: every rule ends, and every report can be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.builders import fused_files, lora_files, peft_files, sharded_files
from tests.fakes.memory_files import MemoryFiles
from weighbridge.adapters.jinja_templates import JinjaTemplateReader
from weighbridge.adapters.numpy_survey import NumpySurveyor
from weighbridge.application.validate import Validate, ValidateRequest
from weighbridge.domain.findings import ValidationReport
from weighbridge.domain.leaks import LeakScanner
from weighbridge.entrypoints.render import github, json, junit, markdown, report_text, sarif

_INDEX = "model.safetensors.index.json"
_MODEL = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
          "special_tokens_map.json", "chat_template.json")  # fmt: skip
#: What the first byte of an input chooses: a sound directory, and the file that the rest is.
PLACES = (
    ("lora", lora_files(), "adapter_config.json"),
    ("peft", peft_files(), "adapter_config.json"),
    *(("fused", fused_files(), name) for name in _MODEL),
)
_MOST_SCANNED = 1 << 14
_FORMS: tuple[Callable[[ValidationReport], str], ...] = (
    lambda report: json.dumps(json.report(report)),
    lambda report: json.dumps(sarif.document(report, ())),
    lambda report: junit.xml(report, ()),
    markdown.page,
    github.commands,
    lambda report: report_text.report(report, everything=True),
)


def validated(files: Mapping[str, bytes], *, weights: bool = False) -> ValidationReport:
    """The report, in which no rule crashed and which can be written; with ``weights``, on large
    files as well."""
    memory = MemoryFiles()
    memory.seed("run", files, ())
    validate = Validate(memory, NumpySurveyor(), JinjaTemplateReader())
    report = validate(ValidateRequest("run", weights=weights))
    assert report.crashed == (), report.crashed
    # One form for each input, chosen by its length: all of them take longer than all rules.
    _FORMS[sum(map(len, files.values())) % len(_FORMS)](report).encode()
    return report


def index(data: bytes) -> None:
    """The index of shards."""
    validated(sharded_files() | {_INDEX: data})


def config(data: bytes) -> None:
    """Any other JSON file that decides how a model is read."""
    _, files, name = PLACES[data[0] % len(PLACES) if data else 0]
    validated(files | {name: data[1:]})


def card(data: bytes) -> None:
    """README.md with its front matter."""
    validated(lora_files() | {"README.md": data})


def file(data: bytes) -> None:
    """Any file beside a model."""
    validated(lora_files() | {"notes.txt": data})


def template(data: bytes) -> None:
    """A chat template, in a file of its own."""
    for hazard in JinjaTemplateReader().hazards(data.decode("utf-8", "replace")):
        assert hazard.code.startswith("CT") and hazard.detail


def secrets(data: bytes) -> None:
    """Any text: the same is found if it comes in pieces, and repeating it does not take long."""
    found = _leaks(data)
    assert found <= _leaks(*(data[at : at + 61] for at in range(0, len(data), 61)))
    _leaks(data * (_MOST_SCANNED // max(1, len(data))))


def _leaks(*chunks: bytes) -> set[tuple[str, str]]:
    scanner = LeakScanner("a.txt", closely=True)
    for chunk in chunks:
        scanner.feed(chunk)
    for leak in scanner.found:
        leak.masked.encode()
    return {(leak.code, leak.what) for leak in scanner.found}

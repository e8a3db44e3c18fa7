"""Detection is total: any tree of any bytes is a kind or a typed error, and always a report."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings, strategies as st

from tests.builders import (
    fused_files,
    lora_files,
    peft_files,
    raw_tensors,
    sharded_files,
)
from tests.fakes.memory_files import MemoryFiles
from weighbridge.adapters.jinja_templates import JinjaTemplateReader
from weighbridge.adapters.numpy_survey import NumpySurveyor
from weighbridge.application.inspect import describe
from weighbridge.application.load import Loaded, load
from weighbridge.application.validate import Validate, ValidateRequest
from weighbridge.domain.artifact import IrregularEntry, Oddity
from weighbridge.domain.errors import (
    AmbiguousModelStructure,
    ArtifactUnreadable,
    InvalidModelStructure,
)
from weighbridge.domain.findings import ValidationReport
from weighbridge.domain.models import Kind

_GOOD = lora_files() | lora_files("adapters") | peft_files() | fused_files() | sharded_files()
_NAMES = st.sampled_from(
    [*_GOOD, "0000100_adapters.safetensors", "README.md", "tokenizer.json", ".DS_Store",
     "a/b/model.safetensors", "Config.json", "adapters/extra.json"]
)  # fmt: skip
_KEYS = st.sampled_from(
    ["weight_map", "model", "model_type", "lora_parameters", "rank", "scale", "alpha", "r",
     "lora_alpha", "lora_layers", "peft_type", "quantization", "base_model_name_or_path",
     "hidden_size", "num_attention_heads", "rank_pattern", "use_dora", "model.norm.weight"]
)  # fmt: skip
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**40) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=8,
)
_DOCUMENTS = st.dictionaries(_KEYS, _JSON, max_size=6).map(lambda d: json.dumps(d).encode())
_CONTENT = (
    st.sampled_from(sorted(_GOOD.values()))
    | _DOCUMENTS
    | st.binary(max_size=60)
    | st.binary(max_size=60).map(raw_tensors)
)
_TREES = st.dictionaries(_NAMES, _CONTENT, max_size=9)
_BENT = st.tuples(
    st.sampled_from([lora_files(), peft_files(), fused_files(), sharded_files()]),
    st.dictionaries(_NAMES, _CONTENT, max_size=3),
).map(lambda pair: pair[0] | pair[1])
_ODD = st.lists(
    st.builds(
        IrregularEntry,
        st.text(max_size=8),
        st.sampled_from(Oddity),
        st.text(max_size=8),
        st.booleans(),
    ),
    max_size=2,
    unique_by=lambda e: e.name,
)
_KINDS = st.none() | st.sampled_from(Kind)


def _seeded(tree: dict[str, bytes], odd: list[IrregularEntry]) -> MemoryFiles:
    files = MemoryFiles()
    files.seed("run", tree, odd)
    return files


_Refused = InvalidModelStructure | AmbiguousModelStructure | ArtifactUnreadable


def _loaded(files: MemoryFiles, wanted: Kind | None) -> Loaded | _Refused:
    try:
        return load(files, "run", wanted)
    except (InvalidModelStructure, AmbiguousModelStructure, ArtifactUnreadable) as error:
        return error


@settings(max_examples=200, deadline=None)
@given(_TREES | _BENT, _ODD, _KINDS)
def test_a_kind_or_a_typed_error(
    tree: dict[str, bytes], odd: list[IrregularEntry], wanted: Kind | None
) -> None:
    loaded = _loaded(_seeded(tree, odd), wanted)
    if isinstance(loaded, Loaded):
        assert wanted in (None, loaded.detected.kind)
        assert describe(loaded).kind is loaded.detected.kind
    else:
        assert loaded.problems and "run" in str(loaded)


@settings(max_examples=200, deadline=None)
@given(_TREES | _BENT, _ODD, _KINDS)
def test_validation_always_gives_a_report(
    tree: dict[str, bytes], odd: list[IrregularEntry], wanted: Kind | None
) -> None:
    judge = Validate(_seeded(tree, odd), NumpySurveyor(), JinjaTemplateReader())
    report = judge(ValidateRequest("run", wanted))
    assert isinstance(report, ValidationReport)
    assert report.crashed == ()
    if report.kind is None:
        assert "FS001" in {f.code for f in report.findings}

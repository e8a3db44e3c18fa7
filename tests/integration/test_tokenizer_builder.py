"""tokenizer.json as the package tokenizers takes it, which transformers has build it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import TOKENIZER, encode, fused_files, write
from weighbridge.adapters.tokenizer_builder import PackageTokenizerBuilder
from weighbridge.application.ports import TokenizerBuilder
from weighbridge.application.validate import ValidateRequest
from weighbridge.domain.findings import ValidationReport, Verdict
from weighbridge.domain.rules.tokenizer import is_of_transformers
from weighbridge.domain.tokenizer import TokenizerBuild
from weighbridge.entrypoints.container import build
from weighbridge.entrypoints.settings import Settings

ADDED = {"id": 3, "content": "</s>", "special": True}


class Absent:
    """What there is without the package."""

    def build(self, raw: bytes) -> TokenizerBuild:
        return TokenizerBuild(unasked="needs the extra 'tokenizer'", optional=True)


def judged(
    root: Path, tokenizer: Any, builder: TokenizerBuilder | None = None, *, weights: bool = True
) -> ValidationReport:
    container = build(Settings())
    if builder is not None:
        container.tokenizers.override(builder)
    files = fused_files() | {"tokenizer.json": encode(tokenizer), "README.md": b"# A model\n"}
    return container.validate()(ValidateRequest(str(write(root, files)), weights=weights))


def problems(report: ValidationReport) -> list[str]:
    return [f.message for f in report.findings if f.code == "TK002"]


def test_what_the_package_builds_is_sound(tmp_path: Path) -> None:
    report = judged(tmp_path, TOKENIZER)
    assert problems(report) == [] and report.complete


@pytest.mark.parametrize(
    "broken",
    [
        {"added_tokens": [ADDED]},
        {"pre_tokenizer": {"type": "Nonsense"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated",
                           "invert": False}},
        {"model": {"type": "WordPiece", "vocab": {"a": 0}}},
        {"version": "9.9"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_it_cannot_build_is_an_error(tmp_path: Path, broken: dict[str, Any]) -> None:
    (said,) = problems(judged(tmp_path, TOKENIZER | broken))
    assert said.startswith("tokenizers cannot build it: ")


def test_without_the_package_it_is_said_that_nobody_asked(tmp_path: Path) -> None:
    report = judged(tmp_path, TOKENIZER | {"version": "9.9"}, Absent())
    assert problems(report) == []
    assert [(u.what, u.chosen) for u in report.unexamined] == [("building the tokenizer", True)]
    assert report.complete


def test_what_takes_too_long_could_not_be_checked(tmp_path: Path) -> None:
    report = judged(tmp_path, TOKENIZER, PackageTokenizerBuilder(timeout=0.001))
    assert problems(report) == [] and report.verdict is Verdict.INCOMPLETE


def test_headers_alone_build_nothing(tmp_path: Path) -> None:
    report = judged(tmp_path, TOKENIZER | {"version": "9.9"}, weights=False)
    assert problems(report) == []
    assert ("building the tokenizer", True) in [(u.what, u.chosen) for u in report.unexamined]


def test_every_class_of_transformers_is_known() -> None:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    named = {name for name in TOKENIZER_MAPPING_NAMES.values() if isinstance(name, str)}
    assert len(named) > 90 and {n for n in named if not is_of_transformers(n)} == set()


def test_a_merge_of_no_tokens_is_found_without_the_package(tmp_path: Path) -> None:
    broken = TOKENIZER | {"model": TOKENIZER["model"] | {"merges": ["a c"]}}
    assert problems(judged(tmp_path / "a", broken, Absent())) == problems(
        judged(tmp_path / "b", broken)
    ) == ["merges tokens that do not exist: 'a c'"]  # fmt: skip

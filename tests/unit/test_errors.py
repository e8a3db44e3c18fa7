"""Errors survive pickling with every field, and each has an exit code."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
from attrs import fields

from weighbridge.domain import errors
from weighbridge.domain.artifact import Archive, ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import WeighbridgeError
from weighbridge.domain.findings import Finding, Location, Severity, ValidationReport
from weighbridge.domain.models import Kind
from weighbridge.domain.proof import Proof, ProofLevel, ProofStep, Unattempted
from weighbridge.entrypoints.exit_codes import exit_code

FINDING = Finding(
    "FS001", "x", Severity.ERROR, Location("a", "b"), "bad", "why", "fix it", {"n": 1}
)
REPORT = ValidationReport("run", Kind.LORA, (FINDING,), 1)
PROOF = Proof(
    (ProofStep(ProofLevel.ALGEBRA, False, (("max", 1.0),), ("differs",)),),
    (Unattempted(ProofLevel.LOGITS, "no base"),),
)
ENTRY = ManifestEntry(ArtifactPath("a/b"), 1, (Digest("sha256", "0" * 64),))
VALUES: dict[str, Any] = {
    "location": "run", "problems": ("p", "q"), "found": ("f",), "kinds": ("lora", "fused"),
    "reasons": ("r",), "path": "a/b", "expected": "x", "actual": "y", "report": REPORT,
    "proof": PROOF, "required": ProofLevel.LOGITS, "problem": "words", "extra": "peft",
    "operation": "write", "reason": "because", "destination": "hf://a/b", "retry_after": 2.5,
    "applied": True, "differences": ("d",), "planned": True, "tag": "v1", "revision": "r1",
    "files": Manifest([ENTRY]), "archives": (Archive(ENTRY, "tar"),),
}  # fmt: skip
FAMILY = [
    cls for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, WeighbridgeError)
]  # fmt: skip


def made(cls: type[WeighbridgeError]) -> WeighbridgeError:
    return cls(**{f.name: VALUES[f.name] for f in fields(cls)})


@pytest.mark.parametrize("cls", FAMILY)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_with_every_field(cls: type[WeighbridgeError], protocol: int) -> None:
    error = made(cls)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls and str(again) == str(error)
    for field in fields(cls):
        assert getattr(again, field.name) == getattr(error, field.name)


@pytest.mark.parametrize("cls", FAMILY)
def test_defaults_pickle_too(cls: type[WeighbridgeError]) -> None:
    required = {f.name: VALUES[f.name] for f in fields(cls) if f.default is not None}
    assert str(pickle.loads(pickle.dumps(cls(**required)))) == str(cls(**required))


@pytest.mark.parametrize("cls", FAMILY)
def test_the_text_is_made_of_the_fields(cls: type[WeighbridgeError]) -> None:
    text = str(made(cls))
    assert text and text.strip() == text
    for name in ("location", "path", "destination", "problem"):
        if any(f.name == name for f in fields(cls)):
            assert VALUES[name] in text


@pytest.mark.parametrize("cls", FAMILY)
def test_has_a_docstring_and_is_distinct(cls: type[WeighbridgeError]) -> None:
    assert cls.__doc__ and made(cls) != made(cls)


CODES = {
    1: ["PublicationBlocked", "ProofFailed", "NotConvertible", "NotRepairable",
        "ArtifactChanged"],
    2: ["UsageError", "MissingExtra", "OutputExists", "NotAnOutput"],
    3: ["ArtifactError", "StructureError", "InvalidModelStructure", "AmbiguousModelStructure",
        "ArtifactUnreadable"],
    4: ["WeighbridgeError", "StorageError", "PathConflict", "PathMissing", "StorageFull",
        "StorageDenied",
        "RegistryError", "AuthenticationFailed", "PermissionDenied", "DestinationMissing",
        "VisibilityMismatch", "RevisionConflict", "RateLimited", "RegistryRejected",
        "RegistryUnreachable", "ServerSilent", "ContentMismatch", "ReadBackMismatch", "TagTaken",
        "Unsupported", "TooLarge", "ModelPacked"],
}  # fmt: skip


def test_exit_codes_of_the_whole_family() -> None:
    wanted = {name: code for code, names in CODES.items() for name in names}
    assert {cls.__name__: exit_code(made(cls)) for cls in FAMILY} == wanted


def test_structure_errors_are_value_errors() -> None:
    for cls in (errors.InvalidModelStructure, errors.AmbiguousModelStructure):
        assert isinstance(made(cls), ValueError)
        assert str(made(cls)).startswith("Invalid model structure at run")


def test_a_long_list_of_files_is_cut() -> None:
    found = tuple(f"f{n}" for n in range(20))
    error = errors.InvalidModelStructure(location="run", problems=(), found=found)
    assert str(error).endswith("f11 and 8 more")


def test_a_plan_of_other_files_stays_so_and_a_file_that_changes_may_rest_next_time() -> None:
    changed = errors.ArtifactChanged(path="x", expected="1 bytes", actual="2 bytes")
    assert exit_code(changed) == 4
    changed.planned = True
    assert exit_code(changed) == 1

"""The statement of a release: what it says, what it never says, and what it is checked against."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, strategies as st
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement as InTotoStatement

from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.proof import Proof, ProofLevel, ProofStep
from weighbridge.domain.provenance import (
    Facts,
    NoStatement,
    parse_statement,
    release_differences,
    render_statement,
    training_of,
)


def entry(name: str, digit: str = "a") -> ManifestEntry:
    return ManifestEntry(ArtifactPath(name), 1, (Digest("sha256", digit * 64),))


FILES = (entry("b.safetensors", "b"), entry("a.json"))
PROOF = Proof((ProofStep(ProofLevel.ALGEBRA, True, (("seconds", 1.25), ("worst", 1.23456e-9))),))
FACTS = Facts("lora", (entry("adapters/x"),), "1.2.3", "acme/base", "c" * 40, proof=PROOF)


def document() -> dict[str, Any]:
    return dict(json.loads(render_statement(FILES, FACTS)))


def test_it_is_an_in_toto_statement() -> None:
    said = document()
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert [s["name"] for s in said["subject"]] == ["a.json", "b.safetensors"]
    made = said["predicate"]["buildDefinition"]
    assert made["resolvedDependencies"] == [
        {
            "name": "base",
            "uri": f"pkg:huggingface/acme/base@{'c' * 40}",
            "digest": {"gitCommit": "c" * 40},
        },
        {"name": "source/adapters/x", "digest": {"sha256": "a" * 64}},
    ]


def test_the_formats_own_definitions_accept_it() -> None:
    """Parsing refuses fields that they do not know, and values of another type."""
    raw = render_statement(FILES, FACTS)
    statement = json_format.Parse(raw, statement_pb2.Statement())
    InTotoStatement.copy_from_pb(statement).validate()
    made = json_format.ParseDict(document()["predicate"], provenance_pb2.Provenance())
    assert {d.name for d in made.build_definition.resolved_dependencies} == {
        "base", "source/adapters/x",
    }  # fmt: skip
    assert made.run_details.builder.version == {"weighbridge": "1.2.3"}
    assert [b.name for b in made.run_details.byproducts] == ["report", "proof"]
    # As SLSA demands of every provenance.
    assert made.build_definition.build_type and made.run_details.builder.id
    assert made.build_definition.external_parameters


def test_the_same_release_has_the_same_statement() -> None:
    proof = Proof(
        (
            ProofStep(
                ProofLevel.ALGEBRA,
                True,
                (("seconds", 9.0), ("seconds_mlx", 1.0), ("worst", 1.2349e-9)),
            ),
        )
    )
    other = Facts("lora", FACTS.sources, "1.2.3", "acme/base", "c" * 40, proof=proof)
    assert render_statement(FILES[::-1], other) == render_statement(FILES, FACTS)


def test_what_it_says_is_read_back() -> None:
    facts = parse_statement(render_statement(FILES, FACTS)).facts()
    assert facts["kind"] == "lora" and facts["baseModel"] == "acme/base"
    assert facts["proof"] == {"algebra": {"worst": 1.23e-9}}


@pytest.mark.parametrize(
    ("files", "problems"),
    [
        ([*FILES, entry("weighbridge.json"), entry("model.sig"), entry(".gitattributes")], []),
        (FILES[:1], ["a.json: is missing"]),
        ([FILES[0], entry("a.json", "9")], ["a.json: is sha256:999"]),
        ([*FILES, entry("more")], ["more: is not in the statement"]),
        ([FILES[0], ManifestEntry(ArtifactPath("a.json"), 1, ())], ["a.json: is missing"]),
    ],
)
def test_differences(files: list[ManifestEntry], problems: list[str]) -> None:
    found = release_differences(
        parse_statement(render_statement(FILES, FACTS)), Manifest(iter(files))
    )
    assert len(found) == len(problems)
    assert all(f.startswith(p) for f, p in zip(found, problems, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "x"},
        {"predicate": {}},
        {"predicate": {"buildDefinition": {"buildType": "urn:other"}}},
        {"subject": []},
        {"subject": {}},
        {"subject": ["a"]},
        {"subject": [{"name": "../a", "digest": {"sha256": "a" * 64}}]},
        {"subject": [{"name": "a", "digest": {"sha256": "A" * 64}}]},
        {"subject": [{"name": "a", "digest": {"sha1": "a" * 40}}]},
        {"subject": [{"name": "a", "digest": {"sha256": "a" * 64}}] * 2},
    ],
    ids=str,
)
def test_what_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(NoStatement):
        parse_statement(json.dumps(document() | change).encode())


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_any_bytes_are_refused_by_name(raw: bytes | str) -> None:
    with pytest.raises(NoStatement):
        parse_statement(raw.encode() if isinstance(raw, str) else raw)


def test_training_parameters_name_no_machine() -> None:
    config = {
        "iters": 600,
        "learning_rate": 1e-5,
        "lora_parameters": {"rank": 8, "keys": ["self_attn.q_proj"]},
        "optimizer": "adam",
        "lr_schedule": "/Users/ada/schedule.py",
        "optimizer_config": {"adam": {}, "path": "/home/ada"},
        "data": "/Users/ada/data",
        "adapter_path": "adapters",
        "resume_adapter_file": "x",
        "model": "/Users/ada/base",
        "seed": 0,
        "wandb": "acme",
    }
    assert training_of(config) == {
        "iters": 600,
        "learning_rate": 1e-5,
        "lora_parameters": {"rank": 8, "keys": ["self_attn.q_proj"]},
        "optimizer": "adam",
        "seed": 0,
    }

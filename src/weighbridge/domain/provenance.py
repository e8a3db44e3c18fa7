"""What a release says of itself: an in-toto statement in ``weighbridge.json``, beside the files.

Its subjects are the files of the release, its predicate is SLSA's provenance: what they were made
from, how, and what was proved. The same release has the same statement: no times, no machine, no
paths of one. Sources: https://github.com/in-toto/attestation/tree/main/spec/v1,
https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.proof import Figure, Proof
from weighbridge.domain.publication import SERVER_OWNED
from weighbridge.domain.strict_json import StrictJsonError, parse_object

STATEMENT = ArtifactPath("weighbridge.json")
#: Where the OpenSSF Model Signing tools look for a signature.
SIGNATURE = ArtifactPath("model.sig")
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:weighbridge:publication:1"
_BUILDER = "urn:weighbridge"
#: No release has a larger one; what is larger is not read.
MOST_BYTES = 4 << 20

# What mlx-lm's trainer writes of a run into adapter_config.json, and is no place on a machine.
_TRAINING = re.compile(
    "batch_size|fine_tune_type|grad_accumulation_steps|grad_checkpoint|iters|learning_rate"
    "|lora_layers|lora_parameters|lr_schedule|mask_prompt|max_seq_length|num_layers|optimizer"
    "|optimizer_config|rank|alpha|dropout|scale|seed|steps_per_eval|train_type|val_batches"
)
_WORD = re.compile(r"[\w.+-]{1,64}")
# Figures that are another each time: "seconds", "seconds_mlx".
_TIME = "seconds"


@frozen
class Facts:
    """What is known of a publication. ``sources`` are files of the directory that was published,
    ``base_revision`` a commit on the Hub; None is not written."""

    kind: str
    sources: tuple[ManifestEntry, ...]
    tool: str
    base_model: str | None = None
    base_revision: str | None = None
    training: Mapping[str, Any] = field(factory=dict)
    conversion: Mapping[str, Any] = field(factory=dict)
    proof: Proof | None = None
    report: Mapping[str, Any] = field(factory=dict)


def training_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the training run, without what may name a machine or its user."""
    return {k: v for k, v in sorted(config.items()) if _TRAINING.fullmatch(k) and _harmless(v)}


def _harmless(value: Any) -> bool:
    """True for numbers and words, in lists and objects of such; no text of more than a word."""
    match value:
        case bool() | int() | float() | None:
            return True
        case str():
            return _WORD.fullmatch(value) is not None
        case list():
            return len(value) <= 256 and all(map(_harmless, value))
        case dict():
            return all(_harmless(k) and _harmless(v) for k, v in value.items())
    return False


def render_statement(files: Iterable[ManifestEntry], facts: Facts) -> bytes:
    """The statement of a release of these files, whose sha256 must be known."""
    subjects = sorted(files, key=lambda e: e.path)
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [_descriptor(e.path.text, e) for e in subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _present(kind=facts.kind, baseModel=facts.base_model),
                "internalParameters": _present(
                    training=dict(facts.training), conversion=dict(facts.conversion)
                ),
                "resolvedDependencies": [*_base(facts), *map(_source, facts.sources)],
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {"weighbridge": facts.tool}},
                "byproducts": _byproducts(facts),
            },
        },
    }
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, {}, [])}


def _descriptor(name: str, entry: ManifestEntry) -> dict[str, Any]:
    known = entry.digest("sha256")
    assert known is not None  # all that is sent was hashed
    return {"name": name, "digest": {"sha256": known.value}}


def _source(entry: ManifestEntry) -> dict[str, Any]:
    return _descriptor(f"source/{entry.path}", entry)


def _base(facts: Facts) -> list[dict[str, Any]]:
    if facts.base_model is None:
        return []
    # As https://github.com/package-url/purl-spec has it for the Hub.
    version = f"@{facts.base_revision}" if facts.base_revision else ""
    digest = {"gitCommit": facts.base_revision} if facts.base_revision else None
    return [
        _present(name="base", uri=f"pkg:huggingface/{facts.base_model}{version}", digest=digest)
    ]


def _byproducts(facts: Facts) -> list[dict[str, Any]]:
    found = [{"name": "report", "annotations": dict(facts.report)}]
    if facts.proof is not None:
        levels = {step.level.label: _figures(step.figures) for step in facts.proof.steps}
        found.append({"name": "proof", "annotations": levels})
    return found


def _figures(figures: Iterable[tuple[str, Figure]]) -> dict[str, Figure]:
    """Three digits: further ones change with the number of threads."""
    return {
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in figures
        if not name.startswith(_TIME)
    }


@frozen
class Statement:
    """A statement that was read: ``subjects`` are the files with their sha256."""

    subjects: Mapping[ArtifactPath, str]
    predicate: Mapping[str, Any]

    def facts(self) -> dict[str, Any]:
        """Parameters, dependencies and byproducts, as far as they are there."""
        made = _object(self.predicate.get("buildDefinition"))
        run = _object(self.predicate.get("runDetails"))
        return {
            **_object(made.get("externalParameters")),
            **_object(made.get("internalParameters")),
            "dependencies": made.get("resolvedDependencies", []),
            "builder": run.get("builder", {}),
            **{b["name"]: b.get("annotations", {}) for b in _named(run.get("byproducts"))},
        }


class NoStatement(ValueError):
    """Bytes that are no statement of ours; the text is the reason."""


def parse_statement(raw: bytes) -> Statement:
    """Raises NoStatement for whatever :func:`render_statement` does not write."""
    try:
        document = parse_object(raw)
    except StrictJsonError as error:
        raise NoStatement(str(error)) from error
    kinds = (document.get("_type"), document.get("predicateType"))
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise NoStatement(f"is of type {kinds[0]!r} and {kinds[1]!r}")
    predicate = _object(document.get("predicate"))
    if _object(predicate.get("buildDefinition")).get("buildType") != BUILD_TYPE:
        raise NoStatement(f"its buildType is not {BUILD_TYPE}")
    return Statement(dict(_subjects(document.get("subject"))), predicate)


def _subjects(listed: Any) -> Iterable[tuple[ArtifactPath, str]]:
    if not isinstance(listed, list) or not listed:
        raise NoStatement("lists no subject")
    seen = set()
    for entry in listed:
        name, digest = _object(entry).get("name"), _object(_object(entry).get("digest"))
        value = digest.get("sha256")
        if not isinstance(name, str) or ArtifactPath.problem_with(name) or name in seen:
            raise NoStatement(f"the subject {name!r} is no path, or there twice")
        if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
            raise NoStatement(f"the subject {name!r} has no sha256")
        seen.add(name)
        yield ArtifactPath(name), value


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _named(values: Any) -> list[Mapping[str, Any]]:
    listed = values if isinstance(values, list) else []
    return [v for v in map(_object, listed) if isinstance(v.get("name"), str)]


def release_differences(statement: Statement, files: Manifest) -> tuple[str, ...]:
    """What of a release is not as its statement says; empty if all is.

    ``files`` must know the sha256 of every file that the statement names.
    """
    there = {e.path: e for e in files.entries if not _beside(e.path)}
    problems = []
    for path, stated in sorted(statement.subjects.items()):
        entry = there.pop(path, None)
        found = entry.digest("sha256") if entry else None
        if found != Digest("sha256", stated):
            problems.append(f"{path}: {'is missing' if found is None else f'is {found}'}, "
                            f"stated is sha256:{stated}")  # fmt: skip
    problems += [f"{path}: is not in the statement" for path in sorted(there)]
    return tuple(problems)


def is_left_by_download(path: str) -> bool:
    """True for what git, and the Hub's client, lay into a directory that they download to."""
    return f"{path}/".startswith((".git/", ".cache/huggingface/"))


def _beside(path: ArtifactPath) -> bool:
    return path in (STATEMENT, SIGNATURE) or path.text in SERVER_OWNED

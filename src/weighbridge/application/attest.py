"""The statement of a release, and its signature: both are files of the release itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from attrs import frozen

from weighbridge.domain.artifact import ArtifactPath, Manifest
from weighbridge.domain.findings import Severity
from weighbridge.domain.models import FusedModel, PeftModel
from weighbridge.domain.provenance import (
    SIGNATURE,
    STATEMENT,
    Facts,
    render_statement,
    training_of,
)
from weighbridge.domain.shipping import own_paths
from weighbridge.domain.signature import MOST_BYTES, render_bundle, render_payload

if TYPE_CHECKING:
    from weighbridge.application.convert import Wanted
    from weighbridge.application.load import Loaded
    from weighbridge.application.ports import Identities, Registry, Signatures, Stage
    from weighbridge.domain.artifact import ManifestEntry
    from weighbridge.domain.findings import ValidationReport
    from weighbridge.domain.models import Model
    from weighbridge.domain.proof import Proof
    from weighbridge.domain.publication import Destination
    from weighbridge.domain.tensor_plan import ConversionPlan

# A snapshot of the Hugging Face cache, or a Hub location at a commit.
#: A base in the Hugging Face cache, or on the Hub: whose commit it is, and which.
_AT_COMMIT = re.compile(
    r"(?:^|/)models--(?P<cached>[^/]+)/snapshots/(?P<revision>[0-9a-f]{40})/?$"
    r"|^hf://(?P<hub>[^@]+)@(?P<commit>[0-9a-f]{40})$"
)
_COMMIT = re.compile("[0-9a-f]{40}")

_ON_THE_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@frozen
class Made:
    """How a release came to be: its source, what was converted, and what was found and proved."""

    loaded: Loaded
    wanted: Wanted
    report: ValidationReport
    plan: ConversionPlan | None
    proof: Proof | None


@frozen
class Attest:
    """Writes statement and signature. ``tool`` is Weighbridge's version."""

    tool: str
    signatures: Signatures | None = None
    identities: Identities | None = None

    def require(self, key: str | None, *, keyless: bool) -> None:
        """Raises, before any work, what ``sign`` would for want of a key or a package."""
        if key is not None and self.signatures is not None:
            self.signatures.require(key)
        if keyless and self.identities is not None:
            self.identities.require()

    def __call__(self, files: Iterable[ManifestEntry], made: Made, stage: Stage) -> ManifestEntry:
        """The statement of a release of ``files``, written into ``stage``."""
        listed = tuple(files)
        names = frozenset(e.path.text for e in listed)
        statement = render_statement(listed, facts_of(made, self.tool, names))
        return stage.write(STATEMENT, [statement], digest=True)

    def sign(
        self,
        files: Iterable[ManifestEntry],
        stage: Stage,
        *,
        name: str,
        key: str | None,
        earlier: Callable[[], bytes | None],
    ) -> ManifestEntry:
        """The signature of a release of ``files``, the statement among them, called ``name``.

        ``key`` is the file of the private key to sign with; without one, whoever runs this signs,
        and ``earlier`` reads the signature that is published now. Raises MissingExtra, UsageError
        for a key that is none, and as ``Identities.sign``.
        """
        payload = render_payload(name, files)
        if key is not None:
            assert self.signatures is not None
            bundle = render_bundle(self.signatures.sign(payload, key))
        else:
            assert self.identities is not None
            bundle = self.identities.sign(payload, earlier())
        return stage.write(SIGNATURE, [bundle], digest=True)


def signature_at(registry: Registry, destination: Destination) -> bytes | None:
    """The signature that is published there now; None if there is none."""
    head = registry.head(destination)
    entry = head.manifest.find(SIGNATURE) if head else None
    if head is None or entry is None or entry.size > MOST_BYTES:
        return None
    with registry.open(destination, head.revision, SIGNATURE) as stream:
        return stream.read(MOST_BYTES)


def facts_of(made: Made, tool: str, names: frozenset[str]) -> Facts:
    """What the statement says of a release with files of these names."""
    model = made.loaded.model
    base = made.wanted.base_model or model.base_model
    if made.plan is not None:
        base = str(made.plan.config["base_model_name_or_path"])
    if base is not None and not _ON_THE_HUB.fullmatch(base):
        base = None  # a path says nothing to others, and something about its owner
    sources = _sources(model, made.report.manifest)
    return Facts(
        kind=made.loaded.detected.kind.value,
        sources=sources,
        tool=tool,
        base_model=base,
        base_revision=_base_revision(made, base),
        training={} if isinstance(model, FusedModel) else training_of(model.config),
        conversion=_conversion(made),
        proof=made.proof,
        report=_summary(made.report, names | {e.path.text for e in sources} | {""}),
    )


def _base_revision(made: Made, name: str | None) -> str | None:
    """The commit of the base that was at hand, else the one that a PEFT adapter's config names.

    What a LoRA was trained and is proved on may be MLX's quantised copy: a commit of that is none
    of the original, which ``name`` is."""
    found = _AT_COMMIT.search(made.wanted.base or "")
    if found is not None and name in (found["hub"], (found["cached"] or "").replace("--", "/", 1)):
        return found["revision"] or found["commit"]
    model = made.loaded.model
    if not isinstance(model, PeftModel) or made.wanted.base_model not in (None, model.base_model):
        return None
    stated = model.config.get("revision")
    return stated if isinstance(stated, str) and _COMMIT.fullmatch(stated) else None


def _sources(model: Model, judged: Manifest) -> tuple[ManifestEntry, ...]:
    """The model's own files, as they were judged."""
    found = (judged.find(ArtifactPath(path)) for path in own_paths(model))
    return tuple(e for e in found if e is not None and e.digest("sha256") is not None)


def _conversion(made: Made) -> dict[str, Any]:
    if made.plan is None:
        return {}
    return {
        "to": "peft",
        "profile": made.wanted.profile.value,
        "scale": made.plan.scale,
        "rank": made.plan.config["r"],
        "lora_alpha": made.plan.config["lora_alpha"],
    }


def _summary(report: ValidationReport, names: frozenset[str]) -> dict[str, Any]:
    """Counts and codes of what was found in files that ship or were converted; no place, no text of
    a file. What else lies in the directory is no part of the release."""
    found = [f for f in report.findings if f.location.path in names]
    waived = [w.finding for w in report.waived if w.finding.location.path in names]
    return {
        "rules": report.rules_run,
        "findings": {s.value: sum(f.severity is s for f in found) for s in Severity},
        "codes": sorted({f.code for f in found}),
        "waived": sorted({f.code for f in waived}),
        # Publication itself leaves that one out, for it writes a card where there is none.
        "ignored": sorted({*report.ignored} - {"CD001"}),
    }

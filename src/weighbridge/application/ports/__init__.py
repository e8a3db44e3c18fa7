"""The ports: what the use cases demand of the outside. The docstrings are the contract.

Every implementation, fakes included, runs the contract suites in ``tests/contracts``.
"""

from __future__ import annotations

from weighbridge.application.ports.documents import TemplateReader, TokenizerBuilder
from weighbridge.application.ports.files import FileSystem, Reader, Stage
from weighbridge.application.ports.gguf import GgufRequest, GgufType, GgufWriter
from weighbridge.application.ports.progress import Buffer, Progress, no_progress
from weighbridge.application.ports.proofs import ProofRequest, Prover
from weighbridge.application.ports.registries import Blob, Registry
from weighbridge.application.ports.signing import Identities, Signatures
from weighbridge.application.ports.weights import (
    ChangeMeter,
    Comparer,
    Converter,
    Distance,
    Sources,
    Surveyor,
    TensorSource,
    WeightMaker,
    WeightProver,
)

__all__ = [
    "Blob",
    "Buffer",
    "ChangeMeter",
    "Comparer",
    "Converter",
    "Distance",
    "FileSystem",
    "GgufRequest",
    "GgufType",
    "GgufWriter",
    "Identities",
    "Progress",
    "ProofRequest",
    "Prover",
    "Reader",
    "Registry",
    "Signatures",
    "Sources",
    "Stage",
    "Surveyor",
    "TemplateReader",
    "TensorSource",
    "TokenizerBuilder",
    "WeightMaker",
    "WeightProver",
    "no_progress",
]

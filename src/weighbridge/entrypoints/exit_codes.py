"""The one place that decides exit codes. docs/exit-codes.md lists them."""

from __future__ import annotations

from weighbridge.domain.errors import (
    ArtifactChanged,
    NotAnOutput,
    NotConvertible,
    OutputExists,
    ProofFailed,
    PublicationBlocked,
    UsageError,
    WeighbridgeError,
)

GOOD, BLOCKED, USAGE, UNREADABLE, STORAGE = 0, 1, 2, 3, 4


def exit_code(error: WeighbridgeError) -> int:
    """1 blocked by findings or proof, 2 usage, 3 no readable model, 4 storage or registry."""
    from weighbridge.domain.errors import ArtifactError

    match error:
        case PublicationBlocked() | ProofFailed() | NotConvertible() | ArtifactChanged():
            return BLOCKED
        case UsageError() | OutputExists() | NotAnOutput():
            return USAGE
        case ArtifactError():
            return UNREADABLE
        case _:
            return STORAGE

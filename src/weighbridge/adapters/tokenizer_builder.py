"""What the package tokenizers makes of a tokenizer.json, asked in a process of its own."""

from __future__ import annotations

from attrs import frozen

from weighbridge.adapters.workers import WorkerFailed, missing_extra, run_worker, scratch_directory
from weighbridge.domain.tokenizer import TokenizerBuild

_TIMEOUT_SECONDS = 60.0


@frozen
class PackageTokenizerBuilder:
    """The TokenizerBuilder over the package. ``timeout`` is in seconds."""

    timeout: float = _TIMEOUT_SECONDS

    def build(self, raw: bytes) -> TokenizerBuild:
        """See the port."""
        if missing := missing_extra("tokenizer", ("tokenizers",)):
            return TokenizerBuild(unasked=missing, optional=True)
        with scratch_directory("tokenizer") as scratch:
            path = scratch / "tokenizer.json"
            path.write_bytes(raw)
            try:
                asked = {"tokenizer": str(path)}
                answer = run_worker("tokenizer_worker", asked, timeout=self.timeout)
            except WorkerFailed as failure:
                return TokenizerBuild(unasked=f"tokenizers: {failure}"[:300])
        problem = str(answer.get("problem", ""))
        return TokenizerBuild(built=not problem, problem=problem)

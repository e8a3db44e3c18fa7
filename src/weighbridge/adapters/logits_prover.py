"""The logits level of a proof: does PEFT answer as MLX did, on the same tokens?

Runs MLX with the LoRA as mlx-lm wrote it, and transformers with the converted one, each in a
process of its own and one after the other, both in float32 on the CPU; reduces their four arrays
to a ``LogitParity``, which judges. Adds what a reader needs when it is the *base* models that
differ: that is no fault of the conversion, and its usual cause is a field of config.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from weighbridge.adapters.workers import (
    TIMEOUT_SECONDS,
    Steps,
    WorkerFailed,
    available_memory,
    missing_mlx,
    missing_peft,
    run_worker,
    scratch_directory,
)
from weighbridge.application.ports import no_progress
from weighbridge.domain.parity import LogitParity, base_suspects, lora_problems
from weighbridge.domain.proof import Figure, ProofLevel, ProofStep

if TYPE_CHECKING:
    from weighbridge.application.ports import Progress, ProofRequest
    from weighbridge.domain.base_model import BaseModel

_DIFFERS = "the base model differs between MLX and transformers, whatever the LoRA does: "
_RUNS = ("base", "lora")
_STACKS = ("mlx", "peft")
_STAGES = 3  # of each stack
_ROWS, _COLUMNS, _SEED = 2, 48, 20_240_229
_LARGEST_VOCABULARY = 2**24
_LARGEST_DOCUMENT = 16 * 2**20
_LARGEST_HEADER = 100 * 2**20
_GIB = 2.0**30
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


@frozen
class LogitsProver:
    """Proves that the converted LoRA does in PEFT what the source did in MLX.

    ``timeout`` is in seconds and holds for each of the two stacks; on Linux MLX multiplies at
    some 3 GFLOP/s, which makes 130 s for each 1e9 parameters. ``memory`` tells how many bytes
    may be used (None: unknown). ``prove`` raises StorageError if a temporary directory is taken
    away from it, else nothing of its own: whatever goes wrong in a worker is a failed step.
    """

    level = ProofLevel.LOGITS

    timeout: float = TIMEOUT_SECONDS
    memory: Callable[[], int | None] = available_memory

    def obstacle(self, request: ProofRequest) -> str | None:
        """Why the stacks cannot be run here; None if they can. Imports no vendor."""
        if missing := missing_mlx() or missing_peft():
            return missing
        if request.base is None:
            return "needs the base model's weights, and no base directory was given"
        base = Path(request.base)
        try:
            config = _config(base)
        except _UNREADABLE:
            return "needs the base model's config.json, and it is absent or unreadable"
        if not _vocabulary(config):
            return "the base model's config.json states no vocab_size to draw tokens from"
        return self._weights_obstacle(base, request.known)

    def prove(self, request: ProofRequest, progress: Progress = no_progress) -> ProofStep:
        """Run both stacks and judge."""
        if reason := self.obstacle(request):
            return ProofStep(self.level, passed=False, problems=(reason,))
        steps = Steps(progress, "proving logits", len(_STACKS) * _STAGES)
        try:
            return self._prove(request, Path(str(request.base)).absolute(), steps)
        except WorkerFailed as failure:
            return ProofStep(self.level, passed=False, problems=(str(failure),))
        finally:
            steps.end()

    def _prove(self, request: ProofRequest, base: Path, steps: Steps) -> ProofStep:
        config = _config(base)
        if "quantization" in config:
            problem = "the base is quantised by MLX, which transformers cannot load"
            return ProofStep(self.level, passed=False, problems=(problem,))
        asked = {
            "base": str(base),
            "source": str(Path(request.source).absolute()),
            "converted": str(Path(request.converted).absolute()),
            "scale": request.scale,
            "weights": request.weights,
            "tokens": _tokens(config),
        }
        with scratch_directory("logits") as scratch:
            answers = {}
            for number, stack in enumerate(_STACKS):
                steps.done = number * _STAGES
                folder = scratch / stack
                folder.mkdir()
                answers[stack] = run_worker(
                    f"{stack}_logits_worker",
                    {**asked, "output": str(folder)},
                    timeout=self.timeout,
                    listener=steps,
                )
            parity = _compare(scratch / "mlx", scratch / "peft")
            gap = self._gap(request, asked, scratch, steps)
        if parity is None:
            return ProofStep(self.level, passed=False, problems=(_DIFFERS + "in the vocabulary",))
        problems = tuple(_problems(parity, answers, config))
        return ProofStep(self.level, not problems, _figures(parity, answers) + gap, problems)

    def _gap(
        self, request: ProofRequest, asked: Mapping[str, Any], scratch: Path, steps: Steps
    ) -> tuple[tuple[str, Figure], ...]:
        """How far the LoRA on the full-precision base is from MLX's answers: no part of the proof,
        for that difference is quantisation's."""
        if request.full_base is None:
            return ()
        folder = scratch / "full"
        folder.mkdir()
        there = str(Path(request.full_base).absolute())
        run_worker(
            "peft_logits_worker",
            {**asked, "base": there, "output": str(folder)},
            timeout=self.timeout,
            listener=steps,
        )
        ours, theirs = (np.load(d / "lora.npy", mmap_mode="r") for d in (scratch / "mlx", folder))
        if ours.shape != theirs.shape:
            return (("full_base_difference_relative", math.inf),)
        agreed = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
        gap = float(np.abs(ours - theirs).max() / np.abs(ours).max())
        return (("full_base_difference_relative", gap), ("full_base_argmax_agreement", agreed))

    def _weights_obstacle(self, base: Path, known: BaseModel) -> str | None:
        names = ("model.safetensors", "model.safetensors.index.json")
        if not any((base / name).is_file() for name in names):
            return "needs the base model's weights, and the base directory has no model.safetensors"
        try:
            # What MLX packed takes its full size once it is unpacked.
            size = _unpacked_bytes(known) if known.mlx_format else _float32_bytes(base)
        except _UNREADABLE:
            return "the base model's weights have an unreadable header"
        # Measured for SmolLM2: 0.8 GiB (MLX) and 1.1 GiB (torch) for 0.5 GiB of float32.
        needed, free = 1.5 * size + 0.75 * _GIB, self.memory()
        if free is not None and free < needed:
            return f"needs {needed / _GIB:.1f} GiB of memory, {free / _GIB:.1f} GiB are available"
        return None


def _config(base: Path) -> dict[str, Any]:
    path = base / "config.json"
    if path.stat().st_size > _LARGEST_DOCUMENT:
        raise ValueError("config.json is too large")
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("config.json is no object")
    return config


def _float32_bytes(base: Path) -> int:
    """Bytes that the weights take in float32, from the headers alone."""
    total = 0
    for path in base.glob("model*.safetensors"):
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _LARGEST_HEADER:
                raise ValueError("the header is too large")
            header = json.loads(stream.read(length))
        total += sum(math.prod(header[key]["shape"]) for key in header if key != "__metadata__")
    return 4 * total


def _unpacked_bytes(known: BaseModel) -> int:
    """Bytes that the weights of a quantised base take in float32."""
    return 4 * sum(math.prod(spec.shape) for spec in known.tensors.values())


def _vocabulary(config: Mapping[str, Any]) -> list[int]:
    """The ids to draw from: all, but for those that the config names.

    Padding and image placeholders are more than text to some models. Empty if the config states
    no size that could be one.
    """
    text = config.get("text_config")
    fields = {**config, **(text if isinstance(text, dict) else {})}
    size = fields.get("vocab_size")
    if not isinstance(size, int) or size > _LARGEST_VOCABULARY:
        return []
    named = [value for key, value in fields.items() if "_token_" in key]
    special = {value for value in named if isinstance(value, int)}
    return [i for i in range(size) if i not in special]


def _tokens(config: Mapping[str, Any]) -> list[list[int]]:
    """The same pseudo-random ids in every run."""
    chosen = np.random.default_rng(_SEED).choice(_vocabulary(config), (_ROWS, _COLUMNS))
    rows: list[list[int]] = chosen.tolist()
    return rows


def _compare(first: Path, second: Path) -> LogitParity | None:
    """Reduce base.npy and lora.npy of both stacks; None if their shapes differ.

    One position at a time, in float64: of a large vocabulary the whole would take gigabytes.
    """
    arrays = [np.load(d / f"{n}.npy", mmap_mode="r") for d in (first, second) for n in _RUNS]
    if len({array.shape for array in arrays}) != 1:
        return None
    largest, sums, agreed = np.zeros(4), np.zeros(4), 0
    places = list(np.ndindex(*arrays[0].shape[:-1]))
    for place in places:
        base, lora, other_base, other_lora = (array[place].astype(np.float64) for array in arrays)
        effect, noise = lora - base, other_base - base
        error = (other_lora - other_base) - effect
        extremes = [np.abs(each).max() for each in (base, noise, other_lora - lora, effect)]
        # np.maximum lets a NaN through, max() would lose it.
        largest = np.maximum(largest, extremes)
        sums += [noise @ noise, effect @ effect, error @ error, effect @ error]
        agreed += int(lora.argmax() == other_lora.argmax())
    means = (sums / (len(places) * arrays[0].shape[-1])).tolist()
    names = ("largest_logit", "base_difference", "lora_difference", "lora_effect")
    squares = ("base_square", "effect_square", "error_square", "error_projection")
    numbers = dict(zip(names + squares, largest.tolist() + means, strict=True))
    return LogitParity(
        **numbers,
        positions=len(places),
        argmax_agreement=agreed / len(places),
        finite=all(map(math.isfinite, numbers.values())),
    )


def _problems(
    parity: LogitParity, answers: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[str]:
    if not parity.finite:
        yield "a logit is not finite"
    elif not parity.base_agrees:
        difference, largest = parity.base_difference, parity.largest_logit
        yield (f"{_DIFFERS}by {difference:.2e} in logits up to {largest:.2e}; if that is known, "
               "--prove-up-to binding leaves this level out")  # fmt: skip
        unfound = answers["peft"]["missing"] + answers["peft"]["mismatched"]
        yield from base_suspects(config, unfound)
    elif not answers["mlx"]["largest_lora_b"]:
        yield "the LoRA has no measurable effect: every lora_b is zero, it was never trained"
    else:
        yield from lora_problems(parity)


def _figures(parity: LogitParity, answers: Mapping[str, Any]) -> tuple[tuple[str, Figure], ...]:
    mlx, peft = answers["mlx"], answers["peft"]
    return (
        *parity.figures,
        ("largest_lora_b", mlx["largest_lora_b"]),
        ("mlx_config", "stated anew" if mlx["stated_anew"] else "as written"),
        ("seconds_mlx", round(mlx["seconds"], 3)),
        ("seconds_peft", round(peft["seconds"], 3)),
        *sorted({**mlx["versions"], **peft["versions"]}.items()),
    )

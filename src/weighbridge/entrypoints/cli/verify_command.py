"""``weighbridge verify``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.arguments import (
    PATH,
    as_option,
    base_option,
    checkpoint_option,
    require_option,
    run_argument,
    scale_option,
    up_to_option,
)
from weighbridge.entrypoints.cli.output import common_options, emit, progress


@click.command("verify")
@run_argument
@click.argument("out", type=PATH)
@base_option
@click.option("--full-base", type=PATH,
              help="Full-precision original of a quantised base; the gap is reported.")  # fmt: skip
@scale_option
@require_option
@up_to_option
@as_option
@checkpoint_option
@common_options
def command(
    run: str,
    out: str,
    base: str | None,
    full_base: str | None,
    scale: float | None,
    require: str | None,
    up_to: str | None,
    kind: str | None,
    checkpoint: int | None,
) -> int:
    """Prove that the PEFT adapter in OUT is the MLX LoRA in RUN.

    Algebra always; binding with the base's config.json; logits with its weights. If OUT is a fused
    model, how much of the run is in it, which takes the weights of the base.
    """
    from weighbridge.entrypoints import api, exit_codes
    from weighbridge.entrypoints.render import json, text

    proved = api.verify(
        run,
        out,
        base=base,
        full_base=full_base,
        scale=scale,
        require=require,
        up_to=up_to,
        kind=kind,
        checkpoint=checkpoint,
        progress=progress(),
    )
    emit(lambda: text.proof(proved), lambda: json.proof(proved))
    return exit_codes.GOOD if proved.passed else exit_codes.BLOCKED

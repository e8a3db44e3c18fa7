"""``weighbridge fuse``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.arguments import (
    PATH,
    as_option,
    checkpoint_option,
    run_argument,
    scale_option,
)
from weighbridge.entrypoints.cli.output import common_options, emit, next_step, progress, setting


@click.command("fuse")
@run_argument
@click.option("-o", "--output", required=True, type=PATH, help="Directory to write.")
@click.option(
    "--base",
    type=PATH,
    help="Directory of the base model, not quantised; else looked for in the cache.",
)
@scale_option
@as_option
@checkpoint_option
@click.option("--force", is_flag=True, help="Replace an existing output.")
@common_options
def command(
    run: str,
    output: str,
    base: str | None,
    scale: float | None,
    kind: str | None,
    checkpoint: int | None,
    force: bool,
) -> None:
    """Merge the LoRA, DoRA or full fine-tune in RUN into its base, as a Hugging Face model.

    In float32, shard by shard, without loading the model. A sample of every tensor is read again
    and computed anew before the output appears.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import json, text

    done = api.fuse(
        run, output, base=base, scale=scale, kind=kind, checkpoint=checkpoint, force=force,
        progress=progress(),
    )  # fmt: skip
    emit(lambda: text.fused(done, figures=bool(setting("verbose"))), lambda: json.fused(done))
    next_step("publish", output, "DEST")

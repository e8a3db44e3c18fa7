"""``weighbridge dequantize``."""

from __future__ import annotations

import click

from weighbridge.entrypoints.cli.arguments import PATH, as_option, run_argument
from weighbridge.entrypoints.cli.output import common_options, emit, next_step, progress, setting


@click.command("dequantize")
@run_argument
@click.option("-o", "--output", required=True, type=PATH, help="Directory to write.")
@click.option(
    "--shard-gb",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Most gigabytes of weights in one file.",
)
@as_option
@click.option("--force", is_flag=True, help="Replace an existing output.")
@common_options
def command(run: str, output: str, shard_gb: float, kind: str | None, force: bool) -> None:
    """Make a checkpoint that transformers, vLLM and llama.cpp load of the MLX model in RUN.

    Weights that MLX packed become the floats that it computes with; names and layouts become those
    of the original checkpoint. Of a model that is not quantised only the latter.
    """  # fmt: skip
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import json, text

    done = api.dequantize(
        run, output, shard_bytes=max(1, int(shard_gb * 1e9)), kind=kind, force=force,
        progress=progress(),
    )  # fmt: skip
    emit(
        lambda: text.dequantised(done, figures=bool(setting("verbose"))),
        lambda: json.dequantised(done),
    )
    next_step("publish", output, "DEST")

"""``weighbridge convert``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weighbridge.entrypoints.cli.arguments import (
    PATH,
    as_option,
    base_model_option,
    base_option,
    checkpoint_option,
    profile_option,
    run_argument,
    scale_option,
)
from weighbridge.entrypoints.cli.output import common_options, emit, next_step, progress, setting

if TYPE_CHECKING:
    from weighbridge.application.convert import Converted


@click.command("convert")
@run_argument
@click.option(
    "-o", "--output", required=True, type=PATH, help="Directory, or .gguf file, to write."
)
@base_model_option
@base_option
@scale_option
@as_option
@checkpoint_option
@click.option("--to", type=click.Choice(["peft", "mlx", "gguf"]), default="peft", show_default=True,
              help="What to convert to.")  # fmt: skip
@click.option("--outtype", type=click.Choice(["f32", "f16", "bf16"]), default="f32",
              show_default=True, help="Values of a GGUF.")  # fmt: skip
@profile_option
@click.option("--force", is_flag=True, help="Replace an existing output.")
@common_options
def command(
    run: str,
    output: str,
    base_model: str | None,
    base: str | None,
    scale: float | None,
    kind: str | None,
    checkpoint: int | None,
    to: str,
    outtype: str,
    profile: str,
    force: bool,
) -> None:
    """Convert the LoRA in RUN, exactly, all or nothing.

    From MLX to PEFT; with --to mlx from PEFT to MLX; with --to gguf from either to what llama.cpp
    and Ollama load, a file if the output ends in .gguf. What was written is read again and its
    algebra proved before it appears at the output.
    """
    from weighbridge.entrypoints import api

    done = api.convert(
        run, output, base_model=base_model, base=base, scale=scale, profile=profile, to=to,
        outtype=outtype, kind=kind, checkpoint=checkpoint, force=force, progress=progress(),
    )  # fmt: skip
    emit(lambda: _text(done), lambda: _document(done))
    if to == "peft":
        said = {"scale": scale, "as": kind, "checkpoint": checkpoint}
        next_step("verify", run, output, base=base or "DIR", **said)


def _text(done: Converted) -> str:
    from weighbridge.entrypoints.render import text

    return text.converted(done, figures=bool(setting("verbose")))


def _document(done: Converted) -> dict[str, Any]:
    from weighbridge.entrypoints.render import json

    return json.converted(done)

"""``weighbridge repair``."""

from __future__ import annotations

from typing import Any

import click

from weighbridge.entrypoints.cli.arguments import PATH, base_model_option, base_option, scale_option
from weighbridge.entrypoints.cli.output import common_options, emit, next_step, progress, setting


@click.command("repair")
@click.argument("broken", type=PATH)
@click.option("-o", "--output", type=PATH, help="Directory to write.")
@click.option("--original", type=PATH, metavar="RUN",
              help="The MLX run that it was made from; with it the result is proved.")  # fmt: skip
@base_option
@base_model_option
@scale_option
@click.option("--force", is_flag=True, help="Replace an existing output.")
@click.option("--dry-run", is_flag=True, help="Say what is wrong and what would be done.")
@common_options
def command(broken: str, output: str | None, **options: Any) -> None:
    """Correct the PEFT adapter in BROKEN that a script made wrong; BROKEN itself is not touched.

    Every defect is named. What cannot be corrected with certainty is not: the answer then says
    what is missing. Exit code 1 if it cannot be repaired.
    """
    from weighbridge.entrypoints import api
    from weighbridge.entrypoints.render import json, repair_text

    done = api.repair(broken, output, progress=progress(), **options)
    emit(
        lambda: repair_text.repaired(done, figures=bool(setting("verbose"))),
        lambda: json.repaired(done),
    )
    if done.output is not None:
        next_step("validate", done.output)

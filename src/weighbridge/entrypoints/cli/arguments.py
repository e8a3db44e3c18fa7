"""Arguments and options that several commands have."""

from __future__ import annotations

import os

import click

KINDS = ("lora", "fused", "peft")
PROFILES = ("portable", "peft")
LEVELS = ("algebra", "binding", "logits")


class _Path(click.Path):
    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """A ``~`` at the beginning is the home directory: bash leaves it in ``--base=~/model``."""
        path = super().convert(value, param, ctx)
        return os.path.expanduser(path) if not os.path.lexists(path) else path


# What cannot be read is a failure of storage, and click would call it one of usage.
PATH = _Path(readable=False)

run_argument = click.argument("run", type=PATH)
as_option = click.option(
    "--as", "kind", type=click.Choice(KINDS), help="Which model is meant, if several are complete."
)
checkpoint_option = click.option(
    "--checkpoint", type=click.IntRange(0, 9_999_999), metavar="N",
    help="Take the LoRA's numbered checkpoint for its weights.",
)  # fmt: skip
base_option = click.option(
    "--base", type=PATH, help="Base model, for checks and proof: DIR or hf://org/name."
)
base_model_option = click.option(
    "--base-model", metavar="ORG/NAME", help="Hub id of the base model; overrides the config."
)
scale_option = click.option(
    "--scale", type=float, help="The LoRA scale that MLX applied; overrides the config."
)
profile_option = click.option(
    "--profile", type=click.Choice(PROFILES), default="portable", show_default=True,
    help="The form for every server, or the minimal form for PEFT itself.",
)  # fmt: skip
require_option = click.option(
    "--require-proof", "require", type=click.Choice(LEVELS), help="Insist on this level of proof."
)
up_to_option = click.option(
    "--prove-up-to", "up_to", type=click.Choice(LEVELS), help="Attempt no stronger proof than this."
)

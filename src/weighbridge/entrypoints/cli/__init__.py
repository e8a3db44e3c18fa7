"""The command line: ``main`` is the console script. Commands are imported when they are run."""

from __future__ import annotations

import gc
import signal
import sys
from types import FrameType

import click

from weighbridge.entrypoints.cli.group import LazyGroup
from weighbridge.entrypoints.cli.help import show_version
from weighbridge.entrypoints.cli.output import report_options

_COMMANDS = {
    "inspect": "Say what a directory is.",
    "validate": "Judge a directory: findings with reason and remedy.",
    "convert": "Convert a LoRA, exactly: MLX to PEFT or GGUF, PEFT to MLX.",
    "repair": "Correct a PEFT adapter that a script made wrong.",
    "fuse": "Merge a run into its base model.",
    "dequantize": "Make a checkpoint for transformers of a fused MLX model.",
    "verify": "Prove a conversion, at the strongest level possible.",
    "plan": "Say what publish would change, and save it for later.",
    "publish": "Validate, convert, prove, publish, read back.",
    "verify-release": "Check a release against the statement that it carries.",
    "log": "Show what was published before.",
    "diff": "Compare two published revisions, files and weights.",
    "rollback": "Go back to a former revision.",
    "pull": "Download what is published, verified.",
    "copy": "Copy what is published to another registry.",
    "rules": "List all rules.",
    "explain": "Explain one rule.",
    "completion": "Print a shell's completion script.",
}


@click.group(
    cls=LazyGroup,
    commands_help=_COMMANDS,
    package="weighbridge.entrypoints.cli",
    context_settings={"max_content_width": 100},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version,
              help="Show the version and exit.")  # fmt: skip
@report_options
def cli() -> None:
    """The release gate for models fine-tuned with Apple MLX.

    RUN is a directory that mlx-lm wrote: the run directory or the adapters directory itself.
    """


def _end(number: int, _frame: FrameType | None) -> None:
    """Whoever ends us is heard as who interrupts us: stages are removed, and what came is kept. No
    SystemExit: of a rule, that is a crash."""
    raise KeyboardInterrupt(number)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit; see ``entrypoints.exit_codes``."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, _end)
    # A header of 10,000 tensors is 60,000 objects without a cycle among them: by default a quarter
    # of the time went into looking for one.
    gc.set_threshold(100_000)
    arguments = sys.argv[1:] if argv is None else argv
    from weighbridge.entrypoints.cli.failures import run

    sys.exit(run(cli, arguments))

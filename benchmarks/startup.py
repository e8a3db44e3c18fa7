"""What the first byte of an answer costs: import and --help."""

from __future__ import annotations

from benchmarks.common import BIN, PYTHON, Aim, Contender, Settings, report

_LEAST_RUNS = 11


def run(settings: Settings) -> bool:
    """True if all aims are met."""
    contenders = (
        Contender("python -c pass", (PYTHON, "-c", "pass")),
        Contender("import weighbridge", (PYTHON, "-c", "import weighbridge")),
        Contender("weighbridge --help", (str(BIN / "weighbridge"), "--help")),
        Contender("hf --help", (str(BIN / "hf"), "--help")),
    )
    aims = (
        Aim("weighbridge --help", "python -c pass", 5),
        Aim("weighbridge --help", "hf --help", 1 / 6),
    )
    return report("start-up", contenders, aims, max(settings.runs, _LEAST_RUNS))

"""`python -m benchmarks`: all measurements; the exit code is 1 if an aim is missed."""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import sys
from collections.abc import Mapping

from benchmarks import (
    checkpoints,
    convert,
    headers,
    oci,
    publishing,
    scan,
    shards,
    startup,
    validate,
)
from benchmarks.common import ROOT, Benchmark, Settings

_ALL: Mapping[str, Benchmark] = {
    "startup": startup.run,
    "convert": convert.run,
    "validate": validate.run,
    "headers": headers.run,
    "shards": shards.run,
    "scan": scan.run,
    "checkpoints": checkpoints.run,
    "oci": oci.run,
    "republish": publishing.republish,
    "commit": publishing.commit,
    "reads": publishing.reads,
}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("which", nargs="*", help=f"of {', '.join(_ALL)}; all if none is named")
    parser.add_argument("--size", type=float, default=1.0, metavar="GIB", help="default 1")
    parser.add_argument("--runs", type=int, default=5, help="of each process; default 5")
    parser.add_argument("--directory", help="where to make the data set; default: the temporary")
    given = parser.parse_args()
    if unknown := set(given.which) - set(_ALL):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if given.runs < 1 or not 0 < given.size < 1024:
        parser.error("--runs must be 1 or more, --size above 0 and below 1024")
    settings = Settings(int(given.size * (1 << 30)), given.runs, given.directory)
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
          f"Python {platform.python_version()}")  # fmt: skip
    # As pip leaves an installed package; some environments forbid it to a checkout, which is then
    # compiled at every start.
    compileall.compile_dir(str(ROOT / "src" / "weighbridge"), quiet=1)
    results = [run(settings) for name, run in _ALL.items() if name in (given.which or _ALL)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

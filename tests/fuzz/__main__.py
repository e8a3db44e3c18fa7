"""``python -m tests.fuzz TARGET [--seconds N | --runs N] [--keep DIRECTORY]``.

Ends with 0 if nothing was found. What takes longer or more memory than the bounds is found too.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import random
import re
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

#: For one input, which has at most ``_MOST_BYTES``; a usual one takes milliseconds.
_MOST_SECONDS = 10
_MOST_BYTES = 4096
_MOST_MEMORY = 1 << 30
#: Of the targets, which are imported only when they can be watched.
NAMES = ("header", "header-text", "json", "npz", "npy", "index", "config", "card", "file",
         "template", "secrets")  # fmt: skip


def bound_memory() -> None:
    """No more than ``_MOST_MEMORY`` over what the process has now; only Linux tells that."""
    status = Path("/proc/self/statm")
    if status.exists():
        import resource

        now = int(status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + _MOST_MEMORY,) * 2)


def words(target: Path) -> None:
    """Writes libFuzzer's dictionary: every short text that the domain's code names.

    Keys are looked up by their hash, which no comparison shows to the fuzzer.
    """
    source = Path(__file__).parents[2] / "src" / "weighbridge" / "domain"
    found = {
        node.value
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    usable = sorted(w for w in found if 1 < len(w) < 32 and re.fullmatch(r"[\w./-]+", w, re.ASCII))
    target.write_text("".join(f'"{word}"\n' for word in usable))


def guided(target: str, stop: list[str], keep: Path) -> None:
    """atheris from the kept corpus; new inputs and findings are left in ``keep``. Never returns."""
    import atheris

    with atheris.instrument_imports(include=["weighbridge", "jinja2", "yaml"]):
        # These two are imported at need otherwise, which is too late to be watched.
        import yaml  # noqa: F401

        import weighbridge.adapters.jinja_templates.parsing  # noqa: F401
        from tests.fuzz.targets import CORPUS, TARGETS
    bound_memory()
    options = [f"-timeout={_MOST_SECONDS}", f"-max_len={_MOST_BYTES}", "-rss_limit_mb=2048"]
    options += [f"-artifact_prefix={keep}/found-{target}-", "-seed=1", "-print_final_stats=1"]
    words(keep / "words")
    options.append(f"-dict={keep}/words")
    grown = keep / target
    grown.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], *options, *stop, str(grown), str(CORPUS / target)], TARGETS[target])
    atheris.Fuzz()


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or put in."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, many = chance.randint(0, len(made)), chance.choice((0, 1, 2, 4, 16))
        piece = bytes(made[at : at + many])
        put = chance.choice(
            (b"", piece * 2, chance.randbytes(many), b"\0", b'"', b"{", b"9" * many)
        )
        made[at : at + many] = put
    return bytes(made[:_MOST_BYTES])


def unguided(target: str, seconds: float, runs: int) -> None:
    """The kept corpus, then mutations of it, the same each time."""
    from tests.fuzz.targets import TARGETS, kept

    bound_memory()
    run, inputs, chance = TARGETS[target], kept(target), random.Random(target)
    begun, done = time.monotonic(), 0
    while done < len(inputs) or (done < runs and time.monotonic() < begun + seconds):
        data = inputs[done] if done < len(inputs) else mutated(chance.choice(inputs), chance)
        signal.alarm(_MOST_SECONDS)
        try:
            run(data)
        except BaseException:
            print(f"found with {data!r}", file=sys.stderr)
            raise
        done += 1
    signal.alarm(0)
    print(f"{target}: {done} inputs, nothing found")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, help="so many inputs, however long they take")
    parser.add_argument("--keep", type=Path, help="where new inputs and findings are left")
    chosen = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        seconds = chosen.seconds if chosen.runs is None else float("inf")
        unguided(chosen.target, seconds, chosen.runs or sys.maxsize)
        return
    stop = f"-runs={chosen.runs}" if chosen.runs else f"-max_total_time={chosen.seconds}"
    with TemporaryDirectory() as scratch:
        guided(chosen.target, [stop], chosen.keep or Path(scratch))


if __name__ == "__main__":
    main()

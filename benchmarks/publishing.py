"""Publishing to a local Hub: again, against `hf upload`; anew, against a bare `create_commit`; and
how often each byte of a model is read for it.

The Hub is another process, and forgets what it received (see ``benchmarks.hub``).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import BIN, PYTHON, ROOT, Aim, Contender, Settings, report, run_once
from benchmarks.hub import LocalHub, local_hub

_TRANSFERS = ("lfs", "xet")
_MOST_BYTES = 150_000_000
#: What Python and its packages are read from, whatever is published.
_PROGRAM_BYTES = 16_000_000
#: How often each byte of a model may be read: to be judged and hashed at once, to be sent, and from
#: a directory registry to be read back.
_READS = {("hub", "first"): 2, ("hub", "again"): 1, ("directory", "first"): 3,
          ("directory", "again"): 2}  # fmt: skip


def republish(settings: Settings) -> bool:
    """True if an unchanged model is published again no slower than by ``hf upload``."""
    with _model(settings) as (room, model):
        return all([_republished(room, model, transfer, settings) for transfer in _TRANSFERS])


def commit(settings: Settings) -> bool:
    """True if a new model costs no more than the aim beyond the bare commit."""
    with _model(settings) as (room, model):
        return all([_committed(room, model, transfer, settings) for transfer in _TRANSFERS])


def reads(settings: Settings) -> bool:
    """True if each byte is read no more often than documented."""
    with _model(settings) as (room, model):
        print(f"\nbytes read, as ratio to the model, {_size(settings)}", flush=True)
        return all([_read(room, model, place) for place in (*_TRANSFERS, "directory")])


def _republished(room: Path, model: Path, transfer: str, settings: Settings) -> bool:
    with local_hub(room, transfer) as hub:
        contenders = (
            _contender("hf upload", _hf(model, "acme/theirs"), hub),
            _contender("weighbridge publish", _ours(model, "hf://acme/ours"), hub),
        )
        # The first round, which does not count, publishes it.
        aims = (Aim("weighbridge publish", "hf upload", 1.5),)
        peaks = {"weighbridge publish": _MOST_BYTES}
        title = f"re-publish an unchanged model by {transfer}, {_size(settings)}"
        return report(title, contenders, aims, settings.runs, peaks)


def _committed(room: Path, model: Path, transfer: str, settings: Settings) -> bool:
    script = str(ROOT / "benchmarks" / "handwritten_commit.py")
    with local_hub(room, transfer) as hub:
        commands = {
            "create_commit": (PYTHON, script, str(model), "acme/new"),
            "weighbridge publish": _ours(model, "hf://acme/new"),
        }
        contenders = [_contender(*each, hub, anew="acme/new") for each in commands.items()]
        aims = (Aim("weighbridge publish", "create_commit", 2),)
        # Xet holds what it sends: its own peak is what ours is compared with.
        peaks = {"weighbridge publish": _MOST_BYTES} if transfer == "lfs" else {}
        title = f"publish a new model by {transfer}, {_size(settings)}"
        return report(title, contenders, aims, settings.runs, peaks)


def _read(room: Path, model: Path, place: str) -> bool:
    size = sum(path.stat().st_size for path in model.iterdir())
    kind = "directory" if place == "directory" else "hub"
    met = True
    with local_hub(room, place if kind == "hub" else "lfs") as hub:
        command = _ours(model, "hf://acme/counted")
        if kind == "directory":
            command = (*_ours(model, str(room / "shelf")), "--name", "acme/counted")
        for turn in ("first", "again"):
            run = run_once(_contender(place, command, hub))
            found, most = max(0, run.read - _PROGRAM_BYTES) / size, _READS[kind, turn]
            met &= found < most + 0.05
            print(f"  {'met   ' if found < most + 0.05 else 'MISSED'}  {place}, {turn}: "
                  f"{found:.2f}, aim {most}; sent {run.sent / 1e6:.1f} MB", flush=True)  # fmt: skip
    return met


def _contender(name: str, command: tuple[str, ...], hub: LocalHub, anew: str = "") -> Contender:
    """``anew``: with a Hub that has not seen that repository, and a client that has no cache."""
    return Contender(
        name,
        command,
        Path(hub.environment["HF_HOME"]) if anew else None,
        environment=hub.environment,
        before=(lambda: hub.forget(anew)) if anew else None,
        sent=lambda: hub.counts()["received"],
    )


def _ours(model: Path, place: str) -> tuple[str, ...]:
    return (str(BIN / "weighbridge"), "publish", "-q", "--isolated", str(model), place)


def _hf(model: Path, name: str) -> tuple[str, ...]:
    return (str(BIN / "hf"), "upload", name, str(model), ".", "--private", "--quiet")


def _size(settings: Settings) -> str:
    return f"{settings.size / (1 << 30):.3g} GiB"


@contextmanager
def _model(settings: Settings) -> Iterator[tuple[Path, Path]]:
    """A fused model in shards with its tokenizer, written by a child: see ``common.data_set``."""
    with TemporaryDirectory(prefix="weighbridge-bench-", dir=settings.directory) as made:
        room = Path(made)
        if shutil.disk_usage(room).free < 3 * settings.size:
            raise SystemExit(f"{room}: needs {3 * settings.size / 1e9:.1f} GB free; --directory")
        command = [PYTHON, "-m", "benchmarks.models", str(room), str(settings.size), "fused"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield room, room / "fused"

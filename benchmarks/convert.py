"""Converting a large LoRA, its proof included, against copying the file and a script by hand."""

from __future__ import annotations

from benchmarks.common import BIN, PYTHON, ROOT, Aim, Contender, Settings, data_set, report

_MOST_BYTES = 300_000_000


def run(settings: Settings) -> bool:
    """True if all aims are met."""
    return all([_shape(settings, shape) for shape in ("layers", "single")])


def _shape(settings: Settings, shape: str) -> bool:
    with data_set(settings, shape) as room:
        lora, copy, ours, theirs = (room / name for name in ("lora", "copy", "ours", "theirs"))
        weights = str(lora / "adapters.safetensors")
        script = str(ROOT / "benchmarks" / "handwritten_peft.py")
        convert = (str(BIN / "weighbridge"), "convert", "-q", str(lora), "-o", str(ours))
        contenders = (
            # Without --reflink=never, some file systems would copy nothing at all.
            Contender("cp", ("cp", *_NO_REFLINK, weights, str(copy)), copy),
            # What convert does beyond a copy, in the commands of the system.
            Contender("cp, sync, cmp", ("sh", "-c", _DURABLE, "sh", weights, str(copy)), copy),
            Contender("weighbridge convert", convert, ours),
            Contender("by hand, with torch", (PYTHON, script, str(lora), str(theirs)), theirs),
        )
        title = {"layers": "convert, many modules", "single": "convert, a single huge pair"}[shape]
        aims = (Aim("weighbridge convert", "cp", 2),)
        peaks = {"weighbridge convert": _MOST_BYTES}
        return report(_with_size(title, settings.size), contenders, aims, settings.runs, peaks)


def _with_size(title: str, size: int) -> str:
    return f"{title}, {size / (1 << 30):.3g} GiB"


def _no_reflink() -> tuple[str, ...]:
    import subprocess

    found = subprocess.run(("cp", "--version"), capture_output=True, check=False)
    return ("--reflink=never",) if b"GNU" in found.stdout else ()


_NO_REFLINK = _no_reflink()
_DURABLE = " ".join(("cp", *_NO_REFLINK)) + ' "$1" "$2" && sync "$2" && cmp "$1" "$2"'

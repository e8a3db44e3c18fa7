"""Fetches, with pip, the sources of the programs whose own code judges ours; see ``WITNESSES``.

None of them is installed: they would drag in CUDA, or compile for minutes. What is needed of each
archive is unpacked below ``.build/witnesses``, once. Of a source distribution pip wants to know
the metadata, for which it runs the build backend; a stand-in answers from the file PKG-INFO, so
that nothing of the archive is executed and no build requirement is needed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from attrs import frozen
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2] / ".build" / "witnesses"
_TIMEOUT_SECONDS = 900
_BACKEND = """
import email, pathlib

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    text = pathlib.Path("PKG-INFO").read_text(encoding="utf-8")
    named = email.message_from_string(text)
    made = f"{named['Name'].replace('-', '_')}-{named['Version']}.dist-info"
    target = pathlib.Path(directory, made)
    target.mkdir()
    target.joinpath("METADATA").write_text(text, encoding="utf-8")
    return made
"""
_BACKENDS = ("scikit_build_core/build.py", "setuptools/build_meta.py", "hatchling/build.py")


class FetchFailed(Exception):
    """pip did not bring the archive; the text is for whoever runs the tests."""


@frozen
class Witness:
    """One archive: the requirement, its digest, how to choose it, and what of it is unpacked.

    ``members`` is matched against the path inside the archive, without the archive's own top
    directory for a source distribution. A requirement with no digest has one file per platform.
    """

    requirement: str
    sha256: str | None
    choose: tuple[str, ...]
    members: re.Pattern[str]
    source: bool
    part: str = ""

    @property
    def directory(self) -> Path:
        """Where it is unpacked; two witnesses of one archive are two parts of it."""
        return ROOT / (self.requirement.replace("==", "-") + self.part)


_SOURCE = ("--no-binary", ":all:", "--no-build-isolation")
# Compiled for one platform, but only its Python is read: so the same file everywhere.
_ONE_WHEEL = (
    *("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"),
    *("--abi", "cp311", "--platform", "manylinux_2_34_x86_64"),
)


def _wheel(requirement: str, sha256: str | None = None) -> Witness:
    """All of a wheel, of whose Python all is used."""
    chosen = ("--only-binary", ":all:")
    return Witness(requirement, sha256, chosen, re.compile(r".*"), source=False)


#: llama.cpp's converter, its runtime, and the readers of vLLM and SGLang; then PEFT and
#: transformers of other years with what they ask for.
WITNESSES = {
    "converter": Witness(
        "llama-cpp-python==0.3.36",
        "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
        _SOURCE,
        re.compile(r"vendor/llama\.cpp/(convert_[a-z_]+\.py|conversion/.+\.py|gguf-py/gguf/.+\.py|LICENSE)"),
        source=True,
    ),
    "chat templates": Witness(
        "llama-cpp-python==0.3.36",
        "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
        _SOURCE,
        re.compile(r"vendor/llama\.cpp/models/templates/.+\.jinja|vendor/llama\.cpp/LICENSE"),
        source=True,
        part="-templates",
    ),
    "hostile templates": Witness(
        "modelaudit==0.2.54",
        None,
        _SOURCE,
        re.compile(r".*(jinja|template).*|LICENSE"),
        source=True,
    ),
    "hostile files": Witness(
        "modelaudit==0.2.54",
        None,
        _SOURCE,
        re.compile(r"tests/assets/.+|LICENSE"),
        source=True,
        part="-assets",
    ),
    "llama.cpp": Witness(
        "xllamacpp==2026.10.11549",
        None,
        ("--only-binary", ":all:"),
        re.compile(r"xllamacpp.*"),
        source=False,
    ),
    "vllm": Witness(
        "vllm==0.33.0",
        "f4c33c2503d52bb411146afa9618a4f48bed68912f617e6803ac8d76e4c74112",
        _SOURCE,
        re.compile(r"vllm/lora/(__init__|peft_helper|utils|lora_model|lora_weights)\.py|LICENSE"),
        source=True,
    ),
    "sglang": Witness(
        "sglang==0.5.23",
        "00b3cd5b265ac76c64185fbb6b95424f324ddd9f428d0306b77bc9db9d859937",
        _ONE_WHEEL,
        re.compile(
            r"sglang/srt/(lora/(lora|lora_config|lora_manager|utils)|layers/utils/(__init__|common))\.py"
            r"|.*LICENSE"
        ),
        source=False,
    ),
    "peft 0.10": _wheel(
        "peft==0.10.0", "d5249c97e818d3e31f92553c73c2953acd0ec12649b8b749afff7152cbc86cbb"
    ),
    "peft 0.13": _wheel(
        "peft==0.13.2", "d4e0951ec78eac11c45a051801c569913436888c578d48e5ce86996b715bc6ef"
    ),
    "peft 0.17": _wheel(
        "peft==0.17.1", "3d129d64def3d74779c32a080d2567e5f7b674e77d546e3585138216d903f99e"
    ),
    "accelerate": _wheel(
        "accelerate==1.1.1", "61edd81762131b8d4bede008643fa1e1f3bf59bec710ebda9771443e24feae02"
    ),
    "transformers 4.46": _wheel(
        "transformers==4.46.3", "a12ef6f52841fd190a3e5602145b542d03507222f2c64ebb7ee92e8788093aef"
    ),
    "tokenizers 0.20": _wheel("tokenizers==0.20.3"),
    "hub 0.26": _wheel(
        "huggingface-hub==0.26.5",
        "fb7386090bbe892072e64b85f7c4479fd2d65eea5f2543327c970d5169e83924",
    ),
    "transformers 4.57": _wheel(
        "transformers==4.57.6", "4c9e9de11333ddfe5114bc872c9f370509198acf0b87a832a0ab9458e2bd0550"
    ),
    "tokenizers 0.22": _wheel("tokenizers==0.22.1"),
    "hub 0.36": _wheel(
        "huggingface-hub==0.36.0",
        "7bcc9ad17d5b3f07b57c78e79d527102d08313caa278a641993acddcb894548d",
    ),
}  # fmt: skip


def fetch(name: str) -> Path:
    """The directory of that witness, unpacked now or earlier. Raises FetchFailed."""
    witness = WITNESSES[name]
    ROOT.mkdir(parents=True, exist_ok=True)
    with FileLock(ROOT / f"{name}.lock"):
        if not witness.directory.is_dir():
            with tempfile.TemporaryDirectory(prefix=".fetching-", dir=ROOT) as scratch:
                _unpack(witness, _download(witness, Path(scratch)), Path(scratch, "made"))
                Path(scratch, "made").rename(witness.directory)
    return witness.directory


def _download(witness: Witness, scratch: Path) -> Path:
    stand_in = scratch / "backend"
    for backend in _BACKENDS:
        stand_in.joinpath(backend).parent.mkdir(parents=True)
        stand_in.joinpath(backend).parent.joinpath("__init__.py").touch()
        stand_in.joinpath(backend).write_text(_BACKEND)
    digest = f" --hash=sha256:{witness.sha256}" if witness.sha256 else ""
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{witness.requirement}{digest}\n")
    target = scratch / "archive"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--dest", str(target), "-r", str(wanted)]
    done = subprocess.run(
        [*command, *witness.choose],
        env={**os.environ, "PYTHONPATH": str(stand_in)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    found = list(target.iterdir()) if target.is_dir() else []
    if done.returncode or len(found) != 1:
        raise FetchFailed(
            f"pip download {witness.requirement} failed, and the tests compare with what it "
            f"holds:\n{done.stderr[-2000:]}"
        )
    return found[0]


def _unpack(witness: Witness, archive: Path, target: Path) -> None:
    count = 0
    for path, content in _files(archive, source=witness.source):
        if witness.members.fullmatch(path) and ".." not in PurePosixPath(path).parts:
            target.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
            target.joinpath(path).write_bytes(content())
            count += 1
    if not count:
        raise FetchFailed(f"{archive.name} holds nothing of what {witness.requirement} should")


def _files(archive: Path, *, source: bool) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if source:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile():
                    path = member.name.partition("/")[2]
                    yield path, lambda member=member: tar.extractfile(member).read()
    else:
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    yield info.filename, lambda info=info: wheel.read(info)

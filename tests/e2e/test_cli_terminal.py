"""What a person sees of a publication in a real terminal, and what a pipe does not get."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import FUSED_SPECS, fused_files, tensors, write
from tests.hub_server import Fault, HubServer
from tests.integration.test_releases import private_key
from weighbridge.domain.tensors import TensorSpec

WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")
_WIDE = TensorSpec("model.embed_tokens.weight", "F32", (65536, 16))


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[HubServer]:
    """A Hub that takes a while for every part of a file, and a model of four parts."""
    with HubServer(xet=False, part_size=1 << 20) as hub:
        hub.inject(Fault.slow(0.6, "/part/", times=None))
        weights = tensors([_WIDE, *FUSED_SPECS[1:]])
        write(tmp_path / "run", fused_files(vocab_size=65536) | {"model.safetensors": weights})
        yield hub


def environment(hub: HubServer, folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return kept | {
        "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1,localhost",
    }  # fmt: skip


def shown(transcript: str) -> list[str]:
    """The lines that are left on the screen: a carriage return lets a line be written over."""
    lines = []
    for line in transcript.replace("\r\n", "\n").split("\n"):
        cells: list[str] = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


def in_a_terminal(hub: HubServer, folder: Path, *arguments: str, typed: str = "") -> str:
    """Everything that was written to it; ``typed`` is, when a passphrase is asked for."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    process = subprocess.Popen(
        [WEIGHBRIDGE, *arguments], cwd=folder, env=environment(hub, folder),
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    told = b""
    try:
        while chunk := os.read(ours, 4096):
            told += chunk
            if typed and told.rstrip().endswith(b":"):
                os.write(ours, typed.encode())
                typed = ""
    except OSError:  # How Linux says that the other side is closed.
        pass
    assert process.wait() == 0, told.decode()
    return told.decode()


def test_bytes_rate_and_time_left_in_a_terminal(slow: HubServer, tmp_path: Path) -> None:
    slow.inject(Fault.rate_limit(2, "/preupload/"))
    told = in_a_terminal(slow, tmp_path, "publish", "run", "hf://acme/bot")
    bars = re.findall(
        r"upload: +\d+%\|.*?\| [\d.]+M/4\.00M \[00:\d\d<00:\d\d, [\d.]+[kM]?B/s\]", told
    )
    assert len(bars) > 1, told
    assert "[1/2] waiting for the registry's rate limit" in told
    left = shown(told)
    # The warning stands on a line of its own, and nothing is left of a bar.
    assert "hf://acme/bot: waiting for the registry's rate limit, 2 s" in left
    assert not [line for line in left if "%|" in line]


def test_a_pipe_gets_no_bar(slow: HubServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [WEIGHBRIDGE, "publish", "run", "hf://acme/bot"], cwd=tmp_path,
        env=environment(slow, tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == "" and "\r" not in done.stdout


def test_the_quiet_say_nothing_in_a_terminal_either(slow: HubServer, tmp_path: Path) -> None:
    assert in_a_terminal(slow, tmp_path, "publish", "run", "hf://acme/bot", "-q") == ""


def test_a_passphrase_is_typed_and_not_shown(tmp_path: Path) -> None:
    write(tmp_path / "run", fused_files())
    private_key(tmp_path / "key", passphrase=b"geheim")
    arguments = ("publish", "run", "shelf", "--name", "acme/bot", "--sign-key", "key")
    with HubServer() as hub:
        told = in_a_terminal(hub, tmp_path, *arguments, typed="geheim\n")
    assert "Passphrase of key:" in told and "geheim" not in told
    assert [*tmp_path.glob("shelf/**/model.sig")]

"""A local Hub in a process of its own, so that its work is not measured with the client's.

`python -m benchmarks.hub xet|lfs` answers lines: `counts`, `forget NAME`. It checks the sha256 of
what comes (of LFS; with Xet the client's own CAS is a directory) and does not keep it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import PYTHON, ROOT

PART_BYTES = 16 << 20


@dataclass(frozen=True)
class LocalHub:
    """One that runs. ``environment`` makes every client use it, and its own home."""

    process: subprocess.Popen[str]
    environment: Mapping[str, str]

    def counts(self) -> dict[str, int]:
        """Bytes ``received`` and ``sent`` in bodies, and ``requests``, since it started."""
        found: dict[str, int] = self._ask("counts")
        return found

    def forget(self, name: str) -> None:
        """Remove a repository, with what was uploaded to it."""
        self._ask(f"forget {name}")

    def _ask(self, line: str) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


@contextmanager
def local_hub(room: Path, transfer: str) -> Iterator[LocalHub]:
    """A Hub for the time of the block; ``transfer`` is xet or lfs. ``room`` is for the homes."""
    folder = room / f"hub-{transfer}"
    command = (PYTHON, "-m", "benchmarks.hub", transfer, str(folder))
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        told = json.loads(process.stdout.readline())
        environment = {
            "HF_ENDPOINT": told["url"],
            "HF_TOKEN": told["token"],
            "HF_HOME": str(room / f"home-{transfer}"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "0" if transfer == "xet" else "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        try:
            yield LocalHub(process, environment)
        finally:
            process.stdin.close()
            process.wait()
            shutil.rmtree(folder)


def _serve(transfer: str, folder: Path) -> None:
    from tests.hub_server import HubServer

    folder.mkdir(parents=True)
    xet = transfer == "xet"
    with HubServer(folder, xet=xet, part_size=PART_BYTES, keep_content=False) as hub:
        print(json.dumps({"url": hub.url, "token": hub.token}), flush=True)
        for line in sys.stdin:
            match line.split():
                case ["counts"]:
                    answer: Any = {
                        "received": hub.bytes_received,
                        "sent": hub.bytes_sent,
                        "requests": len(hub.log),
                    }
                case ["forget", name]:
                    hub.delete_repo(name)
                    shutil.rmtree(folder / "cas", ignore_errors=True)
                    answer = None
                case _:
                    raise SystemExit(f"unknown: {line}")
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    _serve(sys.argv[1], Path(sys.argv[2]))

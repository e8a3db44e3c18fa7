"""The real ``huggingface_hub`` in a process of its own.

Decides the environment that must be set before the import (no telemetry, a home of its own,
Xet or not), and how a snippet's result or exception comes back to the test. One process
serves many snippets, because the import takes longer than most of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_WORKER = """
import json, os, sys
import huggingface_hub as hub
from huggingface_hub import HfApi, CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    job = json.loads(line)
    names = {**globals(), **job["values"]}
    names["api"] = HfApi(endpoint=job["endpoint"], token=job["token"])
    try:
        exec(job["code"], names)
        answer = {"result": names.get("result")}
    except BaseException as error:
        response = getattr(error, "response", None)
        kinds = [kind.__name__ for kind in type(error).__mro__]
        status = getattr(response, "status_code", None)
        answer = {"kinds": kinds, "status": status, "message": str(error)}
    print(json.dumps(answer), file=answers, flush=True)
"""


class ClientError(Exception):
    """An exception that the client raised: its classes, HTTP status and message."""

    def __init__(self, kinds: list[str], status: int | None, message: str) -> None:
        super().__init__(f"{kinds[0]} ({status}): {message}")
        self.kinds = kinds
        self.status = status
        self.message = message

    @property
    def kind(self) -> str:
        """The name of the exception's class."""
        return self.kinds[0]


class HubClient:
    """Runs snippets that find ``api`` (an ``HfApi``) and leave their outcome in ``result``."""

    def __init__(self, home: Path, *, xet: bool = False, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        fixed = {
            "HF_HOME": str(home),
            "NO_PROXY": "127.0.0.1,localhost",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "0" if xet else "1",
        }
        self._environment = kept | fixed | environment

    def __enter__(self) -> Self:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _WORKER],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the process end."""
        self._process.communicate()

    def run(self, endpoint: str, token: str | None, code: str, **values: object) -> Any:
        """Run a snippet with these values as its variables and return its ``result``."""
        job = {"endpoint": endpoint, "token": token or False, "code": code, "values": values}
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the client has no pipes")
        print(json.dumps(job), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the client's process died")
        answer = json.loads(line)
        if "kinds" in answer:
            raise ClientError(answer["kinds"], answer["status"], answer["message"])
        return answer["result"]

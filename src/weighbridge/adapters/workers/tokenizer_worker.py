"""Worker of ``tokenizer_builder``: builds a tokenizer.json with the package that loaders use.

Its parser is native code that hostile files are known to bring down, so that time and memory of
this process are bounded.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_MEMORY = 4 << 30
_SECONDS = 60


def _bound() -> None:
    if sys.platform == "win32":
        return
    import resource

    for limit, most in ((resource.RLIMIT_CPU, _SECONDS), (resource.RLIMIT_AS, _MEMORY)):
        try:
            resource.setrlimit(limit, (most, most))
        except (OSError, ValueError):  # macOS has no limit on addresses
            continue


def build(request: dict[str, Any]) -> dict[str, str]:
    """What the package says against the file of the request; '' if it builds."""
    raw = Path(request["tokenizer"]).read_bytes()
    tokenizer = import_module("tokenizers").Tokenizer
    try:
        tokenizer.from_buffer(raw)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        return {"problem": f"{error}"[:300] or type(error).__name__}
    return {"problem": ""}


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    _bound()
    Path(request["answer"]).write_text(json.dumps(build(request)), encoding="utf-8")


if __name__ == "__main__":
    main()

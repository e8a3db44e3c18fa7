"""The loaders of safetensors and transformers: ``python -m tests.defects.loaders LOADER FILE``.

FILE lists directories. Each is loaded in a fork of its own, after the imports, and told of in one
line of JSON: what went wrong or was left open.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from .forked import end_after
from .peers import HANG, SECONDS, TIMERS

LOADERS = ("safetensors", "transformers")


def _safetensors(directory: Path) -> Iterator[str]:
    import safetensors

    for path in sorted(directory.glob("*.safetensors")):
        if path.is_file():
            try:
                safetensors.deserialize(path.read_bytes())
            except safetensors.SafetensorError as error:
                yield f"{path.name}: {error}"


def _transformers(directory: Path) -> Iterator[str]:
    from importlib import import_module

    transformers = import_module("transformers")
    try:
        transformers.AutoTokenizer.from_pretrained(directory)
    except Exception as error:  # whatever it is, a user is stopped by it
        yield f"tokenizer: {type(error).__name__}"
    try:
        load = transformers.AutoModelForCausalLM.from_pretrained
        _, told = load(directory, output_loading_info=True)
    except Exception as error:
        yield f"model: {type(error).__name__}"
    else:
        yield from (f"{what}: {sorted(map(str, names))}" for what, names in told.items() if names)


_LOAD: dict[str, Callable[[Path], Iterator[str]]] = {
    "safetensors": _safetensors,
    "transformers": _transformers,
}


def _forked(load: Callable[[Path], Iterator[str]], directory: Path) -> list[str]:
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _tell(load, directory, send)
    os.close(send)
    with os.fdopen(receive, encoding="utf-8") as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return [HANG if os.WTERMSIG(status) in TIMERS else "killed"]
    return [re.sub(r"\d+", "#", line) for line in json.loads(text)]


def _tell(load: Callable[[Path], Iterator[str]], directory: Path, send: int) -> None:
    """In the child, which a timer ends."""
    end_after(SECONDS)
    try:
        found = list(load(directory))
    except BaseException:
        found = [traceback.format_exc().splitlines()[-1]]
    # Enough to compare with the twin's, and no more than a pipe takes at once.
    os.write(send, json.dumps([line[:500] for line in found[:50]]).encode())
    os._exit(0)


def main(loader: str, listed: str) -> None:
    """Import once, then load each."""
    warnings.simplefilter("ignore")
    os.nice(10)
    if loader == "transformers":
        import torch
        import transformers
        from transformers.models.llama import modeling_llama  # noqa: F401

        torch.set_num_threads(1)
        transformers.logging.set_verbosity_error()
    for directory in Path(listed).read_text().splitlines():
        print(json.dumps(_forked(_LOAD[loader], Path(directory))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

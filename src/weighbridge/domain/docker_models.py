"""What Docker's Model Runner calls the files of a model whose layers have no names.

Its first packages (config v0.1) name none; the runner lays the files out by their media types.
Source: https://github.com/docker/model-runner, pkg/distribution/internal/bundle/unpack.go
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

_GGUF = ("model", ".gguf")
_NAMES = {
    "application/vnd.docker.ai.gguf.v3": _GGUF,
    "application/vnd.docker.ai.model.file.v1+gguf": _GGUF,
    "application/vnd.docker.ai.safetensors": ("model", ".safetensors"),
    "application/vnd.docker.ai.dduf": ("model", ".dduf"),
    "application/vnd.docker.ai.mmproj": ("model", ".mmproj"),
    "application/vnd.docker.ai.chat.template.jinja": ("template", ".jinja"),
    # The runner shows licences, and lays none out.
    "application/vnd.docker.ai.license": ("LICENSE", ""),
}


def file_names(kinds: Sequence[str]) -> Iterator[str | None]:
    """The name of the file in each of a model's unnamed layers, by their media types; None for
    another's. Several of a kind are numbered as shards are."""
    counts, seen = Counter(map(_NAMES.get, kinds)), Counter[object]()
    for kind in kinds:
        name = _NAMES.get(kind)
        seen[name] += 1
        if name is None:
            yield None
        elif counts[name] == 1:
            yield "".join(name)
        else:
            yield f"{name[0]}-{seen[name]:05d}-of-{counts[name]:05d}{name[1]}"

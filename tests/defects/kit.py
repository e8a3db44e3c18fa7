"""The list of defects, and what their makers share: JSON and tensors, read and written as bytes."""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

LORA, FUSED, SHARDED = "adapters.safetensors", "model.safetensors", "model.safetensors.index.json"
PEFT = "adapter_model.safetensors"
CONFIG, ADAPTER, TOKENIZER = "config.json", "adapter_config.json", "tokenizer.json"
#: Of the base, beside a defect's directory.
BASE = "base"
SETTINGS, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"


class Twin(enum.Enum):
    """The good directory that a defect starts from."""

    LORA = "lora"
    FUSED = "fused"
    SHARDED = "sharded"
    QUANTISED = "quantised"
    MIXTURE = "mixture"
    PEFT = "peft"


@frozen
class Defect:
    """One thing wrong. ``codes`` are the rules that have to see it, all of them.

    ``beside_base`` if it shows beside the base only, which then lies in ``BASE`` beside the
    directory and is given to Weighbridge."""

    name: str
    twin: Twin
    codes: tuple[str, ...]
    make: Callable[[Path], None]
    beside_base: bool = False

    @property
    def what(self) -> str:
        return (self.make.__doc__ or "").strip().removesuffix(".")


#: By name, in the order of the page.
DEFECTS: dict[str, Defect] = {}


def defect(
    twin: Twin, *codes: str, beside_base: bool = False
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """List the function as a defect; its name is the defect's, its docstring says what is wrong."""

    def enlist(make: Callable[[Path], None]) -> Callable[[Path], None]:
        if make.__name__ in DEFECTS:
            raise ValueError(f"two defects are called {make.__name__}")
        DEFECTS[make.__name__] = Defect(make.__name__, twin, codes, make, beside_base)
        return make

    return enlist


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")


def set_keys(path: Path, **changes: Any) -> None:
    """Set keys of a JSON object; None takes the key away. The file may be new."""
    table = (read_json(path) if path.is_file() else {}) | changes
    write_json(path, {key: value for key, value in table.items() if value is not None})


@frozen
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def filled(self, element: bytes) -> Tensor:
        """The same with that one element everywhere."""
        return evolve(self, data=element * (len(self.data) // len(element)))

    def first(self, element: bytes) -> Tensor:
        """The same with that first element."""
        return evolve(self, data=element + self.data[len(element) :])


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of a sound safetensors file."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_parts(path: Path, header: bytes | dict[str, Any], data: bytes) -> None:
    """A file of exactly this header, padded to eight bytes if it is given as a table."""
    if isinstance(header, dict):
        header = json.dumps(header).encode()
        header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def read_tensors(path: Path) -> list[Tensor]:
    """In the order of the data."""
    header, data = parts(path)
    header.pop("__metadata__", None)
    listed = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    return [
        Tensor(name, e["dtype"], tuple(e["shape"]), data[slice(*e["data_offsets"])])
        for name, e in listed
    ]


def _metadata(path: Path) -> Any:
    return parts(path)[0].get("__metadata__") if path.is_file() else None


def write_tensors(path: Path, tensors: Iterable[Tensor], metadata: Any = None) -> None:
    """With the metadata that the file had, if not given: some checkers stumble over MLX's null."""
    listed = list(tensors)
    header: dict[str, Any] = {"__metadata__": metadata or _metadata(path)}
    start = 0
    for tensor in listed:
        end = start + len(tensor.data)
        header[tensor.name] = {
            "dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end],
        }  # fmt: skip
        start = end
    write_parts(path, header, b"".join(tensor.data for tensor in listed))


def map_tensors(path: Path, change: Callable[[Tensor], Tensor | None]) -> None:
    """Write each tensor as ``change`` makes it, or leave it out."""
    changed = [change(tensor) for tensor in read_tensors(path)]
    write_tensors(path, [tensor for tensor in changed if tensor is not None])


def edit_tensor(path: Path, part: str, change: Callable[[Tensor], Tensor | None]) -> None:
    """Change the one tensor, the first in the file whose name has that part."""
    name = next(tensor.name for tensor in read_tensors(path) if part in tensor.name)
    map_tensors(path, lambda tensor: change(tensor) if tensor.name == name else tensor)


def add_tensor(path: Path, tensor: Tensor) -> None:
    write_tensors(path, [*read_tensors(path), tensor])


def map_too(directory: Path, *names: str) -> None:
    """Name these tensors in the index, where mlx-lm writes one, so that only they are wrong."""
    index = read_json(directory / SHARDED)
    index["weight_map"] |= dict.fromkeys(names, FUSED)
    index["metadata"].pop("total_size", None)
    write_json(directory / SHARDED, index)


def unmap(directory: Path, *names: str) -> None:
    """Take these tensors out of the index, so that only their absence is wrong."""
    index = read_json(directory / SHARDED)
    for name in names:
        del index["weight_map"][name]
    index["metadata"].pop("total_size", None)
    write_json(directory / SHARDED, index)

"""An index and shards that do not agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .kit import (
    FUSED,
    SHARDED,
    Tensor,
    Twin,
    add_tensor,
    defect,
    edit_tensor,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)


def _shards(d: Path) -> list[Path]:
    return sorted(d.glob("model-*.safetensors"))


def _map(d: Path, **changes: Any) -> None:
    """Set entries of the weight map."""
    index = read_json(d / SHARDED)
    index["weight_map"] |= changes
    write_json(d / SHARDED, index)


def _first(d: Path) -> str:
    return read_tensors(_shards(d)[0])[0].name


@defect(Twin.SHARDED, "IX001")
def sharded_index_list(d: Path) -> None:
    """A weight map that is a list."""
    index = read_json(d / SHARDED)
    write_json(d / SHARDED, index | {"weight_map": sorted(index["weight_map"])})


@defect(Twin.SHARDED, "IX002")
def sharded_missing(d: Path) -> None:
    """A shard that is not there."""
    _shards(d)[1].unlink()


@defect(Twin.SHARDED, "IX003")
def sharded_traversal(d: Path) -> None:
    """A shard of the index outside of the directory."""
    shard = _shards(d)[0]
    (d.parent / "outside.safetensors").write_bytes(shard.read_bytes())
    _map(d, **{t.name: "../outside.safetensors" for t in read_tensors(shard)})


@defect(Twin.SHARDED, "IX004")
def sharded_ghost_tensor(d: Path) -> None:
    """A tensor that the index places and no shard has."""
    _map(d, **{"model.ghost.weight": _shards(d)[0].name})


@defect(Twin.SHARDED, "IX004")
def sharded_wrong_map(d: Path) -> None:
    """A tensor that is in another shard than the index says."""
    _map(d, **{_first(d): _shards(d)[1].name})


@defect(Twin.SHARDED, "IX005")
def sharded_unmapped_tensor(d: Path) -> None:
    """A tensor of a shard that the index does not name."""
    add_tensor(_shards(d)[0], Tensor("model.stray.weight", "BF16", (4,), b"\x80\x3f" * 4))


@defect(Twin.SHARDED, "IX006")
def sharded_dup_tensor_across(d: Path) -> None:
    """A tensor that two shards have, with other values."""
    twice = read_tensors(_shards(d)[0])[0]
    add_tensor(_shards(d)[1], twice.first(b"\x80\x3f"))


@defect(Twin.SHARDED, "IX007")
def sharded_extra_shard(d: Path) -> None:
    """An old shard, which mlx-lm loads and transformers does not."""
    write_tensors(d / "model-old.safetensors", read_tensors(_shards(d)[0]))


@defect(Twin.SHARDED, "IX008")
def sharded_total_size(d: Path) -> None:
    """A total size that is not the shards'."""
    index = read_json(d / SHARDED)
    index["metadata"]["total_size"] += 1024
    write_json(d / SHARDED, index)


@defect(Twin.SHARDED, "IX009")
def sharded_and_single(d: Path) -> None:
    """All weights once more in a file of their own."""
    every = [tensor for shard in _shards(d) for tensor in read_tensors(shard)]
    write_tensors(d / FUSED, every)


@defect(Twin.SHARDED, "IX010")
def sharded_count(d: Path) -> None:
    """Shards whose names say that there are more of them."""
    index = read_json(d / SHARDED)
    for shard in _shards(d):
        shard.rename(d / shard.name.replace("-of-00003", "-of-00004"))
    placed = {n: s.replace("-of-00003", "-of-00004") for n, s in index["weight_map"].items()}
    write_json(d / SHARDED, index | {"weight_map": placed})


@defect(Twin.SHARDED, "IX011")
def sharded_name_collision(d: Path) -> None:
    """Two shards whose names differ by case only."""
    shard = next(one for one in _shards(d) if len(read_tensors(one)) > 1)
    twin = shard.name.replace("model", "MODEL")
    tensors = read_tensors(shard)
    write_tensors(d / twin, tensors[:1])
    write_tensors(shard, tensors[1:])
    _map(d, **{tensors[0].name: twin})


@defect(Twin.SHARDED, "IX012")
def sharded_unusual_name(d: Path) -> None:
    """A shard that the index names, but by a name that mlx-lm does not look for."""
    first, other = _shards(d)[0], "weights.safetensors"
    first.rename(d / other)
    _map(d, **dict.fromkeys((t.name for t in read_tensors(d / other)), other))


@defect(Twin.SHARDED, "CF012")
def sharded_head_missing(d: Path) -> None:
    """An untied model without its head."""
    shard = next(s for s in _shards(d) if any(t.name == "lm_head.weight" for t in read_tensors(s)))
    edit_tensor(shard, "lm_head.weight", lambda tensor: None)
    index = read_json(d / SHARDED)
    del index["weight_map"]["lm_head.weight"]
    index["metadata"].pop("total_size")
    write_json(d / SHARDED, index)

"""``fuse`` and ``dequantize`` on what mlx-lm trains and packs, judged by MLX and by transformers.

A fused model is right if transformers loads it without a word and answers as MLX with the LoRA; a
dequantised one if every weight is, to the bit, what ``mx.dequantize`` gives.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlx_lm")
pytest.importorskip("transformers")

import mlx.core as mx

import weighbridge
from tests.mlx_artifacts import cached, fuse, tiny_base, tiny_lora

pytestmark = pytest.mark.slow

TOKENS = [[3, 5, 7, 11, 13, 17, 19, 23], [29, 31, 37, 41, 43, 47, 53, 59]]
ATTENTION = ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]
Logits = np.ndarray[Any, np.dtype[np.float64]]


def mlx_logits(model: Path, adapters: Path | None = None, *, unpack: bool = False) -> Logits:
    """MLX's answer in float32; with ``unpack`` after its own dequantisation."""
    import mlx_lm
    from mlx.utils import tree_map
    from mlx_lm.utils import dequantize_model

    loaded = mlx_lm.load(str(model), adapter_path=adapters and str(adapters))[0]
    if unpack:
        loaded = dequantize_model(loaded)
        assert not any("scales" in name for name in flat(loaded))
    loaded.update(tree_map(as_float32, loaded.parameters()))
    return np.array(loaded(mx.array(TOKENS)).astype(mx.float32), np.float64)


def as_float32(array: Any) -> Any:
    return array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array


def flat(model: Any) -> dict[str, Any]:
    from mlx.utils import tree_flatten

    return dict(tree_flatten(model.parameters()))


def torch_logits(model: Path) -> Logits:
    """transformers' answer in float32, if it loads every key and no other."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded, told = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, output_loading_info=True
    )
    assert not any(told.values()), told
    with torch.no_grad():
        return np.asarray(loaded(torch.tensor(TOKENS)).logits, np.float64)


def alike(one: Logits, other: Logits, most: float = 1e-5) -> None:
    assert float(np.abs(one - other).max() / np.abs(other).max()) < most


def tensors(model: Path) -> dict[str, Any]:
    """All weights of a directory as MLX arrays."""
    return {
        k: v for path in model.glob("model*.safetensors") for k, v in mx.load(str(path)).items()
    }


def same_bits(one: Any, other: Any) -> bool:
    words = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}[one.dtype.size]
    return one.dtype == other.dtype and mx.array_equal(one.view(words), other.view(words)).item()


def largest_step(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two models, relative to the largest value of its tensor."""
    assert one.keys() == other.keys()
    return max(float(mx.abs(one[k] - other[k]).max() / mx.abs(other[k]).max()) for k in other)


class TestFuse:
    @pytest.mark.parametrize("kind", ["lora", "dora", "full"])
    @pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2"])
    def test_it_answers_as_mlx_with_the_run(self, family: str, kind: str, tmp_path: Path) -> None:
        base = tiny_base(family)
        run = tiny_lora(base, fine_tune_type=kind)
        done = weighbridge.fuse(run, tmp_path / "out", base=base)
        assert done.proof.passed
        found, wanted = torch_logits(tmp_path / "out"), mlx_logits(base, run)
        alike(found, wanted)
        # The run does a thousand times as much as this allows.
        assert np.abs(wanted - mlx_logits(base)).max() > 1e-2 * np.abs(wanted).max()

    @pytest.mark.parametrize("kind", ["lora", "dora"])
    def test_it_is_what_mlx_fuses(self, kind: str, tmp_path: Path) -> None:
        base = tiny_base("llama")
        run = tiny_lora(base, fine_tune_type=kind)
        weighbridge.fuse(run, tmp_path / "out", base=base)
        theirs = tensors(fuse(base, run, tmp_path / "theirs"))
        assert largest_step(tensors(tmp_path / "out"), theirs) < 1e-6

    @pytest.mark.parametrize("kind", ["lora", "dora"])
    def test_a_base_in_shards_of_bfloat16(self, kind: str, tmp_path: Path) -> None:
        base = tiny_base("llama", dtype="bfloat16", max_shard_size="100KB")
        run = tiny_lora(base, fine_tune_type=kind)
        weighbridge.fuse(run, tmp_path / "out", base=base)
        shards = {p.name for p in base.glob("*.safetensors")}
        assert (
            len(shards) > 1 and {p.name for p in (tmp_path / "out").glob("*.safetensors")} == shards
        )
        ours, theirs = tensors(tmp_path / "out"), tensors(fuse(base, run, tmp_path / "theirs"))
        assert all(t.dtype == mx.bfloat16 for t in ours.values())
        # mlx-lm rounds the change before it adds it, and the sum again.
        assert largest_step(ours, theirs) < 2**-6
        exact = tensors(self.in_float32(base, run, tmp_path))
        for name, found in ours.items():
            # Rounded once: half a step in the last of 8 bits.
            allowed = mx.abs(exact[name]) * 2**-8 + 1e-6
            assert (mx.abs(found.astype(mx.float32) - exact[name]) <= allowed).all().item()
        torch_logits(tmp_path / "out")

    def in_float32(self, base: Path, run: Path, room: Path) -> Path:
        """What mlx-lm fuses if the base is float32."""
        wide = room / "wide"
        wide.mkdir()
        for path in base.iterdir():
            if path.suffix == ".safetensors":
                arrays = {k: v.astype(mx.float32) for k, v in mx.load(str(path)).items()}
                mx.save_safetensors(str(wide / path.name), arrays)
            elif path.is_file():
                (wide / path.name).write_bytes(path.read_bytes())
        return fuse(wide, run, room / "fused-wide")

    @pytest.mark.parametrize("kind", ["lora", "dora"])
    @pytest.mark.parametrize(
        ("tied", "keys"),
        [
            (True, ["model.embed_tokens", *ATTENTION]),
            (False, ["model.embed_tokens", *ATTENTION]),
            (False, ["lm_head"]),
        ],
        ids=["tied", "untied", "head"],
    )
    def test_both_ends(self, tied: bool, keys: list[str], kind: str, tmp_path: Path) -> None:
        # The row of a padding token is zero, of which DoRA training makes NaN.
        base = tiny_base("llama", tied=tied, pad_token_id=None)
        run = tiny_lora(base, keys=keys, fine_tune_type=kind)
        done = weighbridge.fuse(run, tmp_path / "out", base=base)
        end = "lm_head.weight" if "lm_head" in keys else "model.embed_tokens.weight"
        assert end in done.plan.changed
        alike(torch_logits(tmp_path / "out"), mlx_logits(base, run))

    def test_a_base_from_the_cache_by_name(self, tmp_path: Path) -> None:
        base = tiny_base("llama")
        run = tiny_lora(base, model_name="acme/tiny")
        folder = tmp_path / "hub" / "models--acme--tiny"
        (folder / "blobs").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")
        snapshot = folder / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        for path in base.iterdir():
            (folder / "blobs" / path.name).write_bytes(path.read_bytes())
            (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
        from weighbridge.entrypoints.settings import Settings

        settings = Settings(hub_cache=str(tmp_path / "hub"))
        weighbridge.fuse(run, tmp_path / "out", settings=settings)
        alike(torch_logits(tmp_path / "out"), mlx_logits(base, run))


def pack(out: Path, base: Path, dtype: str | None = None, **options: Any) -> None:
    """``mlx_lm.convert --quantize``; a predicate by the name of a function below."""
    from mlx_lm import convert

    if (name := options.pop("predicate", None)) is not None:
        options["quant_predicate"] = globals()[name]
    convert(str(base), str(out / "model"), quantize=True, dtype=dtype, **options)


def packed(base: Path, **options: Any) -> Path:
    return cached("packed", functools.partial(pack, base=base, **options)) / "model"


def mixed(path: str, module: Any) -> bool | dict[str, Any]:
    """Something of everything."""
    if "v_proj" in path:
        return {"bits": 8, "group_size": 32, "mode": "affine"}
    if "down_proj" in path:
        return {"bits": 4, "group_size": 32, "mode": "mxfp4"}
    return "o_proj" not in path


AFFINE = [(bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]


def wide_base(dtype: str = "bfloat16") -> Path:
    """Large enough for groups of 128."""
    return tiny_base("llama", dtype=dtype, hidden_size=128, intermediate_size=256, layers=1)


def unpacked(model: Path) -> dict[str, Any]:
    """What MLX makes of the weights of a packed model, module by module."""
    found, config = tensors(model), json.loads((model / "config.json").read_text())
    said = config["quantization"]
    plain = {}
    for name, array in found.items():
        module, _, leaf = name.rpartition(".")
        if f"{module}.scales" not in found or leaf == "bias":
            plain[name] = array
        elif leaf == "weight":
            own = {"mode": "affine", **{k: said[k] for k in ("bits", "group_size")}}
            own |= {"mode": said.get("mode", "affine")} | said.get(module, {})
            biases = found.get(f"{module}.biases")
            plain[name] = mx.dequantize(array, found[f"{module}.scales"], biases, **own)
    return plain


def check(model: Path, out: Path) -> None:
    done = weighbridge.dequantize(model, out)
    assert done.proof.passed and done.plan.packings
    ours, theirs = tensors(out), unpacked(model)
    assert ours.keys() == theirs.keys()
    assert [n for n in ours if not same_bits(ours[n], theirs[n])] == []
    alike(torch_logits(out), mlx_logits(model, unpack=True))


class TestDequantize:
    @pytest.mark.parametrize(("bits", "group"), AFFINE)
    def test_affine(self, bits: int, group: int, tmp_path: Path) -> None:
        check(packed(wide_base(), q_bits=bits, q_group_size=group), tmp_path / "out")

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    @pytest.mark.parametrize("bits", [3, 4])
    def test_other_dtypes(self, bits: int, dtype: str, tmp_path: Path) -> None:
        check(packed(wide_base("float32"), dtype=dtype, q_bits=bits), tmp_path / "out")
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert dtype in (config.get("dtype"), config.get("torch_dtype"))

    @pytest.mark.parametrize("mode", ["mxfp4", "mxfp8", "nvfp4"])
    def test_small_floats(self, mode: str, tmp_path: Path) -> None:
        check(packed(wide_base(), q_mode=mode), tmp_path / "out")

    def test_every_module_its_own_way(self, tmp_path: Path) -> None:
        model = packed(wide_base(), predicate="mixed")
        check(model, tmp_path / "out")
        found = weighbridge.dequantize(model, tmp_path / "again").plan.packings
        assert {p.mode.value for p, _ in found} == {"affine", "mxfp4"} and len(found) == 3

    @pytest.mark.parametrize("recipe", ["mixed_2_6", "mixed_4_6"])
    def test_mlx_lms_recipes(self, recipe: str, tmp_path: Path) -> None:
        """They leave a module's group size out, as null, where nobody says it."""
        model = packed(wide_base(), quant_predicate=recipe)
        assert '"group_size": null' in (model / "config.json").read_text()
        assert weighbridge.validate(model).overall_valid
        check(model, tmp_path / "out")

    @pytest.mark.parametrize("family", ["qwen2", "gemma2"])
    def test_other_families(self, family: str, tmp_path: Path) -> None:
        check(packed(tiny_base(family, dtype="bfloat16")), tmp_path / "out")

    def test_a_lora_fused_into_packed_weights(self, tmp_path: Path) -> None:
        model = packed(wide_base())
        run = tiny_lora(model.parent.parent / wide_base().name)
        check(fuse(model, run, tmp_path / "fused"), tmp_path / "out")

    def test_a_fused_model_that_is_not_packed(self, tmp_path: Path) -> None:
        base = tiny_base("llama", max_shard_size="100KB")
        run = tiny_lora(base)
        fused = fuse(base, run, tmp_path / "fused")
        done = weighbridge.dequantize(fused, tmp_path / "out")
        assert done.plan.packings == () and done.plan.renamed == 0
        alike(torch_logits(tmp_path / "out"), mlx_logits(base, run))

    def test_a_lora_on_packed_weights_fuses_into_the_dequantised(self, tmp_path: Path) -> None:
        """What QLoRA trained is exact on the floats that it saw."""
        model = packed(wide_base("float32"), dtype="float32")
        run = tiny_lora(model, model_name="acme/4bit")
        weighbridge.dequantize(model, tmp_path / "floats")
        weighbridge.fuse(run, tmp_path / "out", base=tmp_path / "floats")
        alike(torch_logits(tmp_path / "out"), mlx_logits(model, run))

"""LoRA and PEFT adapters whose config, names or shapes are wrong."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

from attrs import evolve

from .kit import (
    ADAPTER,
    LORA,
    PEFT,
    Tensor,
    Twin,
    add_tensor,
    defect,
    edit_tensor,
    map_tensors,
    read_json,
    read_tensors,
    set_keys,
    write_tensors,
)

_FACTORS = ("lora_a", "lora_b")
_NORM = Tensor("model.norm.weight", "F32", (64,), b"\0\0\x80\x3f" * 64)


def _set(d: Path, **changes: Any) -> None:
    set_keys(d / ADAPTER, **changes)


def _halve(tensor: Tensor) -> Tensor:
    """The first half of the rows."""
    shape = (tensor.shape[0] // 2, *tensor.shape[1:])
    return evolve(tensor, shape=shape, data=tensor.data[: len(tensor.data) // 2])


@defect(Twin.LORA, "AD010")
def lora_base_local_path(d: Path) -> None:
    """A base that is a directory of the author's machine."""
    _set(d, model="/Users/ada/models/base")


@defect(Twin.LORA, "AD003")
def lora_rank_mismatch(d: Path) -> None:
    """Another rank in the config than the tensors have."""
    _set(d, lora_parameters={"rank": 16, "dropout": 0.0, "scale": 20.0})


@defect(Twin.LORA, "AD005")
def lora_shapes(d: Path) -> None:
    """A lora_b of half the rank of its lora_a."""
    edit_tensor(d / LORA, "lora_b", _halve)


@defect(Twin.LORA, "AD006")
def lora_scale(d: Path) -> None:
    """A scale of a thousand."""
    _set(d, lora_parameters={"rank": 8, "dropout": 0.0, "scale": 1000.0})


@defect(Twin.LORA, "AD019")
def lora_no_scale(d: Path) -> None:
    """No scale: what mlx-lm takes depends on its version."""
    _set(d, lora_parameters=None, rank=8, alpha=16)


@defect(Twin.LORA, "AD009")
def lora_no_base(d: Path) -> None:
    """No base model named."""
    _set(d, model=None)


@defect(Twin.LORA, "AD011")
def lora_quantised_base(d: Path) -> None:
    """A base that MLX quantised, which no other program loads."""
    _set(d, model="mlx-community/Llama-3.2-1B-4bit")


@defect(Twin.LORA, "AD007")
def lora_num_layers(d: Path) -> None:
    """Fewer layers in the config than have a LoRA."""
    _set(d, num_layers=1)


@defect(Twin.LORA, "AD030")
def lora_keys(d: Path) -> None:
    """Keys that choose none of the modules that have a LoRA."""
    _set(d, lora_parameters={"rank": 8, "dropout": 0.0, "scale": 20.0, "keys": ["q_proj"]})


@defect(Twin.LORA, "AD031")
def lora_integers(d: Path) -> None:
    """Factors of integers."""
    map_tensors(d / LORA, lambda t: evolve(t, dtype="I32"))


@defect(Twin.LORA, "AD008")
def lora_said_full(d: Path) -> None:
    """LoRA tensors under fine_tune_type full."""
    _set(d, fine_tune_type="full")


@defect(Twin.LORA, "AD015")
def lora_author_paths(d: Path) -> None:
    """Where the author's data lay."""
    _set(d, data="/Users/ada/letters")


@defect(Twin.LORA, "AD016")
def lora_mixed_ranks(d: Path) -> None:
    """One module of another rank."""
    stem = next(t.name for t in read_tensors(d / LORA)).rpartition(".")[0]

    def columns(tensor: Tensor) -> Tensor:
        rows, rank = tensor.shape
        width = len(tensor.data) // rows
        cut = [tensor.data[n * width : n * width + width // 2] for n in range(rows)]
        return evolve(tensor, shape=(rows, rank // 2), data=b"".join(cut))

    edit_tensor(d / LORA, f"{stem}.lora_a", columns)
    edit_tensor(d / LORA, f"{stem}.lora_b", _halve)


@defect(Twin.LORA, "AD022")
def lora_dora_unmade(d: Path) -> None:
    """DoRA said, and no magnitudes."""
    _set(d, fine_tune_type="dora")


@defect(Twin.LORA, "AD023", "AD024")
def lora_dora_unsaid(d: Path) -> None:
    """A magnitude for one module, and DoRA not said."""
    stem = next(t.name for t in read_tensors(d / LORA) if t.name.endswith("lora_b"))
    size = next(t.shape[1] for t in read_tensors(d / LORA) if t.name == stem)
    name = stem.replace("lora_b", "m")
    add_tensor(d / LORA, Tensor(name, "F32", (size,), b"\0\0\x80\x3f" * size))


@defect(Twin.LORA, "AD025")
def lora_dora_misfit(d: Path) -> None:
    """A magnitude of a size that fits nothing."""
    stem = next(t.name for t in read_tensors(d / LORA) if t.name.endswith("lora_b"))
    add_tensor(d / LORA, Tensor(stem.replace("lora_b", "m"), "F32", (7,), b"\0\0\x80\x3f" * 7))
    _set(d, fine_tune_type="dora")


@defect(Twin.LORA, "AD026")
def lora_full(d: Path) -> None:
    """Whole weights, no LoRA."""
    write_tensors(d / LORA, [_NORM])
    _set(d, fine_tune_type="full")


@defect(Twin.LORA, "AD027")
def lora_stray_tensor(d: Path) -> None:
    """A tensor that is no LoRA."""
    add_tensor(d / LORA, _NORM)


@defect(Twin.LORA, "AD033")
def lora_saved_whole(d: Path) -> None:
    """The base's weights among the factors, as model.save_weights writes them."""
    tensors = read_tensors(d / LORA)
    weights = []
    for a, b in zip(
        *([t for t in tensors if t.name.endswith(end)] for end in _FACTORS), strict=True
    ):
        shape = (b.shape[-1], a.shape[0])
        data = (b"\0\0\x80\x3c" + b"\0\0\x80\xbc") * (shape[0] * shape[1] // 2)
        weights.append(Tensor(a.name.replace("lora_a", "linear.weight"), "F32", shape, data))
    write_tensors(d / LORA, [*tensors, *weights])


@defect(Twin.LORA, "FS010", "AD029")
def lora_interrupted(d: Path) -> None:
    """A run of a thousand steps whose last checkpoint is of the hundredth."""
    shutil.copyfile(d / LORA, d / "0000100_adapters.safetensors")
    _set(d, iters=1000, save_every=100)


@defect(Twin.LORA, "NZ001")
def lora_old_archive_cut(d: Path) -> None:
    """The archive of numpy that mlx-lm wrote once, without its end."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("model.layers.0.self_attn.q_proj.lora_a.npy", bytes(99))
    (d / LORA).unlink()
    (d / "adapters.npz").write_bytes(packed.getvalue()[:-30])


@defect(Twin.LORA, "AD028")
def lora_peft_key(d: Path) -> None:
    """PEFT's key in an MLX config."""
    _set(d, peft_type="LORA")


@defect(Twin.PEFT, "AD012")
def peft_unpinned(d: Path) -> None:
    """A base without its commit, whose name somebody else may take over."""
    _set(d, revision="main")


@defect(Twin.PEFT, "AD013")
def peft_auto_mapping(d: Path) -> None:
    """A library that PEFT imports."""
    _set(d, auto_mapping={"base_model_class": "Own", "parent_library": "evil"})


@defect(Twin.PEFT, "AD014")
def peft_runaway_expression(d: Path) -> None:
    """Target modules whose matching takes for ever."""
    _set(d, target_modules="(a+)+$")


@defect(Twin.PEFT, "PE001")
def peft_type(d: Path) -> None:
    """LORA in small letters."""
    _set(d, peft_type="lora")


def _rename(d: Path, old: str, new: str) -> None:
    map_tensors(d / PEFT, lambda t: evolve(t, name=t.name.replace(old, new)))


@defect(Twin.PEFT, "PE002")
def peft_no_prefix(d: Path) -> None:
    """Names without PEFT's prefix."""
    _rename(d, "base_model.model.model.", "model.")


@defect(Twin.PEFT, "PE003")
def peft_unpaired(d: Path) -> None:
    """A lora_A without its lora_B."""
    edit_tensor(d / PEFT, "lora_B", lambda tensor: None)


@defect(Twin.PEFT, "PE004")
def peft_rank(d: Path) -> None:
    """Another rank in the config than the tensors have."""
    _set(d, r=16)


@defect(Twin.PEFT, "PE005")
def peft_not_transposed(d: Path) -> None:
    """Factors as MLX stores them."""
    map_tensors(d / PEFT, lambda t: evolve(t, shape=t.shape[::-1]))


@defect(Twin.PEFT, "PE006")
def peft_model_missing(d: Path) -> None:
    """Names that are one "model." short."""
    _rename(d, "base_model.model.model.", "base_model.model.")


@defect(Twin.PEFT, "PE007")
def peft_prefix_doubled(d: Path) -> None:
    """The prefix twice."""
    _rename(d, "base_model.model.", "base_model.model.base_model.model.")


@defect(Twin.PEFT, "PE009")
def peft_factor_name(d: Path) -> None:
    """MLX's names for the factors."""
    map_tensors(
        d / PEFT,
        lambda t: evolve(t, name=t.name.replace("lora_A.weight", "lora_a")),
    )


@defect(Twin.PEFT, "PE010")
def peft_adapter_name(d: Path) -> None:
    """The adapter's name in the tensors' names."""
    _rename(d, ".weight", ".default.weight")


@defect(Twin.PEFT, "PE011")
def peft_foreign_tensor(d: Path) -> None:
    """A tensor that is no LoRA."""
    add_tensor(d / PEFT, evolve(_NORM, name="base_model.model.model.norm.weight"))


@defect(Twin.PEFT, "PE013")
def peft_no_targets(d: Path) -> None:
    """No target modules."""
    _set(d, target_modules=None)


@defect(Twin.PEFT, "PE014")
def peft_not_targeted(d: Path) -> None:
    """Tensors of modules that are no target, which PEFT drops."""
    _set(d, target_modules=["q_proj"])


@defect(Twin.PEFT, "PE015")
def peft_target_without(d: Path) -> None:
    """A target that has no tensors."""
    _set(d, target_modules=[f"{n}_proj" for n in "kqvo"] + ["gate_proj", "up_proj", "down_proj",
                                                            "fc1"])  # fmt: skip


@defect(Twin.PEFT, "PE016")
def peft_no_rank(d: Path) -> None:
    """No rank, for which PEFT takes eight."""
    _set(d, r=None)


@defect(Twin.PEFT, "PE017")
def peft_alpha_text(d: Path) -> None:
    """An alpha that is text."""
    _set(d, lora_alpha="160")


@defect(Twin.PEFT, "PE018")
def peft_alpha_float(d: Path) -> None:
    """An alpha of 160.0."""
    _set(d, lora_alpha=160.0)


@defect(Twin.PEFT, "PE019")
def peft_alpha_is_scale(d: Path) -> None:
    """MLX's scale for an alpha, as scripts write it."""
    _set(d, lora_alpha=20.0)


@defect(Twin.PEFT, "PE020", "PE022")
def peft_alpha_contradiction(d: Path) -> None:
    """mlx-lm's own settings beside an alpha that means another scale."""
    _set(d, lora_parameters={"rank": 8, "scale": 10.0}, fine_tune_type="lora")


@defect(Twin.PEFT, "PE021")
def peft_no_task(d: Path) -> None:
    """No task type."""
    _set(d, task_type=None)


@defect(Twin.PEFT, "PE023")
def peft_unknown_setting(d: Path) -> None:
    """A field that no PEFT knows and every PEFT stops at."""
    _set(d, converted_by="a script")


@defect(Twin.PEFT, "PE024")
def peft_recent_setting(d: Path) -> None:
    """A field that older PEFT stops at."""
    _set(d, peft_version="0.21.2")


@defect(Twin.PEFT, "PE025")
def peft_base_changed(d: Path) -> None:
    """An initialisation that changes the base first."""
    _set(d, init_lora_weights="pissa_niter_4")


@defect(Twin.PEFT, "PE026")
def peft_dora_unmade(d: Path) -> None:
    """DoRA said, and no magnitudes."""
    _set(d, use_dora=True)


@defect(Twin.PEFT, "PE027")
def peft_module_not_saved(d: Path) -> None:
    """A module to save that is not saved."""
    _set(d, modules_to_save=["lm_head"])


@defect(Twin.PEFT, "PE029")
def peft_flat_factor(d: Path) -> None:
    """A factor that is one long row."""
    edit_tensor(d / PEFT, "lora_A", lambda t: evolve(t, shape=(t.shape[0] * t.shape[1],)))


@defect(Twin.PEFT, "PE030")
def peft_initialisation(d: Path) -> None:
    """An initialisation that PEFT does not know."""
    set_keys(d / ADAPTER, init_lora_weights="normal")


@defect(Twin.PEFT, "PE014")
def peft_short_expression(d: Path) -> None:
    """A target that is an expression, which has to match the whole path, and does not."""
    set_keys(d / ADAPTER, target_modules="q_proj")


@defect(Twin.LORA, "AD032")
def lora_no_rank(d: Path) -> None:
    """No rank, for which mlx-lm has no default."""
    parameters = read_json(d / ADAPTER)["lora_parameters"]
    del parameters["rank"]
    set_keys(d / ADAPTER, lora_parameters=parameters)

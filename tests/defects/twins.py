"""The good directories, made by mlx-lm, transformers and Weighbridge's own conversion."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from tests.mlx_artifacts.architectures import make_architecture
from tests.mlx_artifacts.bases import make_base
from tests.mlx_artifacts.cache import cached
from tests.mlx_artifacts.training import fuse, quantise, train_lora
from weighbridge.application.convert import ConvertRequest
from weighbridge.entrypoints.container import build

from .kit import ADAPTER, BASE, Defect, Twin, set_keys

_NAME = "acme/base"
_CARD = f"---\nlicense: apache-2.0\nbase_model: {_NAME}\nlibrary_name: mlx\n---\n\n# A model\n"
#: What mlx-lm notes of the author's command line, and people take out before they publish.
_COMMAND_LINE = dict.fromkeys(("data", "adapter_path", "config", "resume_adapter_file"))


def good_twin(twin: Twin) -> Path:
    """The directory, from the cache; not to be written to."""
    return cached(f"twin-{twin.value}", _MAKERS[twin]) / "model"


def spoiled(defect: Defect, scratch: Path) -> Path:
    """A new directory in ``scratch`` with that defect."""
    directory = scratch / "model"
    shutil.copytree(good_twin(defect.twin), directory)
    if defect.beside_base:
        shutil.copytree(base(), scratch / BASE)
    defect.make(directory)
    return directory


def base_of(defect: Defect, directory: Path) -> Path | None:
    """The base that is to be given with a spoiled directory."""
    return directory.parent / BASE if defect.beside_base else None


def base() -> Path:
    """The base of all twins but the sharded one, from the cache; not to be written to."""
    make = functools.partial(make_base, family="llama", dtype="bfloat16", tied=False)
    return cached("base-for-defects", make)


def _run() -> Path:
    train = functools.partial(train_lora, base(), model_name=_NAME)
    return cached("lora-for-defects", train) / "adapters"


def _with_card(directory: Path) -> None:
    (directory / "README.md").write_text(_CARD)


def _lora(out: Path) -> None:
    directory = out / "model"
    shutil.copytree(_run(), directory, ignore=shutil.ignore_patterns("0*"))
    set_keys(directory / ADAPTER, **_COMMAND_LINE)
    _with_card(directory)


def _fused(out: Path) -> None:
    _with_card(fuse(base(), _run(), out / "model"))


def _sharded(out: Path) -> None:
    make_base(out / "model", "llama", dtype="bfloat16", tied=False, max_shard_size="100KB")
    _with_card(out / "model")


def _quantised(out: Path) -> None:
    _with_card(quantise(base(), out / "model"))


def _mixture(out: Path) -> None:
    _with_card(make_architecture(out / "model", "qwen3_moe"))


def _peft(out: Path) -> None:
    build().convert()(ConvertRequest(str(good_twin(Twin.LORA)), str(out / "model")))
    set_keys(out / "model" / ADAPTER, revision="0123456789abcdef0123456789abcdef01234567")
    _with_card(out / "model")


_MAKERS = {
    Twin.LORA: _lora,
    Twin.FUSED: _fused,
    Twin.SHARDED: _sharded,
    Twin.QUANTISED: _quantised,
    Twin.PEFT: _peft,
    Twin.MIXTURE: _mixture,
}

"""Whole weights of the base in a PEFT file: PEFT saves the embedding and the head along with a LoRA
where it takes the vocabulary for resized, or adapts one of them. What is the base's own says
nothing that the base does not say; only its values tell."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.base_model import BaseModel
from weighbridge.domain.models import PeftModel
from weighbridge.domain.peft.names import parse_name
from weighbridge.domain.peft.selection import KEY_PREFIX
from weighbridge.domain.placement import Plain
from weighbridge.domain.tensors import TensorSpec

_WHOLE = ".weight"
_ADAPTED = ".base_layer"


def whole_weights(model: PeftModel, base: BaseModel) -> Iterator[tuple[TensorSpec, TensorSpec]]:
    """Every whole weight of the file that the base has too, and the base's.

    A head that the base has not is its embedding, which PEFT saves under both names.
    """
    if base.mlx_format:
        return
    for spec in model.tensors:
        if not (spec.name.startswith(KEY_PREFIX) and spec.name.endswith(_WHOLE)):
            continue
        if parse_name(spec.name) is not None:
            continue
        module = spec.name.removeprefix(KEY_PREFIX).removesuffix(_WHOLE).removesuffix(_ADAPTED)
        shared = _embeddings(base) if module.endswith("lm_head") and base.tied else ()
        if own := base.find(module, *shared):
            yield spec, own


def resized(model: PeftModel, base: BaseModel) -> Iterator[str]:
    """What is told of a whole weight that has another number of rows than the base's."""
    for spec, own in whole_weights(model, base):
        if spec.shape != own.shape:
            yield (f"{spec.name}: is {list(spec.shape)}, the base's {own.name} {list(own.shape)}: "
                   "the vocabulary was resized, and MLX's LoRA has nothing of that")  # fmt: skip


def _embeddings(base: BaseModel) -> Iterator[str]:
    for module in base.architecture.embeddings:
        place = base.architecture.place(module)
        yield from (place.checkpoint, place.path) if isinstance(place, Plain) else (module,)

"""Every type that transformers makes text with, as its own defaults build it: no finding against
what config.json says of the tensors, nor against its fields.

Published models are mostly the defaults of their type, and larger than anything trained here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import weighbridge
from weighbridge.domain.findings import Severity
from weighbridge.domain.tensors import TensorSpec, encode_header

torch = pytest.importorskip("torch")
from transformers import AutoConfig, PretrainedConfig  # noqa: E402
from transformers.models.auto import modeling_auto as auto  # noqa: E402

_SEEING = auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
_WRITING = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
#: What is said of the defaults with reason.
_SAID = {
    "arcee": {"CF013"},  # the numbers of tokens are those of another tokenizer
    "starcoder2": {"CF013"},
    "llama4_text": {"CF021", "CF026"},  # mlx-lm's has no experts
    "glm5_next": {"JS008"},  # a head_dim of 0
}


@pytest.mark.parametrize("model_type", list(dict.fromkeys([*_WRITING, *_SEEING])))
def test_what_a_type_builds_by_itself_is_good(model_type: str, tmp_path: Path) -> None:
    mapping = auto.MODEL_FOR_CAUSAL_LM_MAPPING
    if model_type in _SEEING:
        mapping = auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    try:
        config = AutoConfig.for_model(model_type)
        specs = _built(config, mapping[type(config)])
        config.save_pretrained(tmp_path)
    except Exception as error:
        pytest.skip(f"transformers cannot build it of its defaults: {error}")
    header = encode_header(specs, {"format": "pt"})
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(header)
        os.truncate(file.fileno(), len(header) + sum(spec.nbytes for spec in specs))
    found = weighbridge.validate(tmp_path, weights=False).findings
    # What MLX reads otherwise (CF030 and on) is true of what transformers writes.
    errors = {
        f.code: f"{f.location.inside} {f.message}"
        for f in found
        if f.severity is Severity.ERROR and f.code[:2] in ("CF", "JS", "ST", "QT")
        and not f.code.startswith("CF03")
    }  # fmt: skip
    assert {c: w for c, w in errors.items() if c not in _SAID.get(model_type, ())} == {}


def _built(config: PretrainedConfig, kind: type) -> list[TensorSpec]:
    """The tensors that are saved: those that are shared once."""
    with torch.device("meta"):
        model = kind(config)
    config.architectures, config.dtype = [kind.__name__], "bfloat16"
    own = {id(tensor): name for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
    state = model.state_dict(keep_vars=True)
    return [
        TensorSpec(name, "BF16", tuple(tensor.shape))
        for name, tensor in state.items()
        if own[id(tensor)] == name and tensor.ndim and tensor.numel()
    ]

"""What the matrix holds: architectures, how each is trained, and which form is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from weighbridge.domain.architectures import ARCHITECTURES
from weighbridge.domain.placement import Standing


@frozen
class Training:
    """Options of ``train_lora``, and fields of the base's config that differ.

    With ``bits``, MLX trains on a quantised base, of which transformers gets the values.
    """

    options: Mapping[str, Any] = field(factory=dict)
    fields: Mapping[str, Any] = field(factory=dict)
    bits: int | None = None


_ATTENTION = [
    *(f"{stem}.{leaf}_proj" for stem in ("self_attn", "mixer") for leaf in "qkvo"),
    # Longcat has two of them in a layer, of fewer ranks than heads are wide.
    *(f"self_attn.{n}.{leaf}" for n in (0, 1)
      for leaf in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj")),
]  # fmt: skip
_MIXTURES = ("mlp", "block_sparse_moe")
#: By the name that the table shows.
TRAININGS: Mapping[str, Training] = MappingProxyType(
    {
        "all linear": Training(),
        "last layer": Training({"num_layers": 1}),
        "DoRA": Training({"fine_tune_type": "dora"}),
        "embeddings, head": Training(
            {"keys": ["self_attn.q_proj", "model.embed_tokens", "lm_head"], "scale": 2.0},
            {"tie_word_embeddings": False},
        ),
        "tied embeddings": Training(
            {"keys": ["self_attn.q_proj", "model.embed_tokens"]}, {"tie_word_embeddings": True}
        ),
        "q, odd scale": Training({"keys": ["self_attn.q_proj"], "scale": 3.7, "rank": 6}),
        "all, odd scale": Training({"scale": 3.7}),
        "attention": Training({"keys": _ATTENTION}),
        "up, odd rank": Training(
            {"keys": [f"{stem}.switch_mlp.up_proj" for stem in _MIXTURES], "rank": 3}
        ),
        "gate": Training({"keys": [f"{stem}.switch_mlp.gate_proj" for stem in _MIXTURES]}),
        "4-bit base": Training(bits=4),
    }
)


@frozen
class Case:
    """One line of the matrix. ``refused`` are words of the reason, where there is no exact form."""

    model_type: str
    training: str = "all linear"
    profile: str = "portable"
    refused: str = ""

    @property
    def name(self) -> str:
        """The parameter's id in pytest."""
        return f"{self.model_type}-{self.training}-{self.profile}".replace(" ", "_")

    @property
    def key(self) -> tuple[str, str, str]:
        """What its line of the page begins with."""
        return self.model_type, self.training, self.profile


#: Refused when every linear module is trained, with words of the reason.
_REFUSED = {
    "falcon_h1": "multipliers of its config folded into the weights",
    "falcon_mamba": "read as a bare weight",
    "gpt_oss": "interleaves the rows of gate and up",
    "jamba": "read as a bare weight",
    "llama4": "PEFT exchanges the two factors",
    "longcat_flash": "read as a bare weight",
    "mamba": "read as a bare weight",
    "mamba2": "PEFT refuses on Mamba models",
    "nemotron_h": "PEFT refuses on Mamba models",
}
#: mlx-lm itself cannot train these: DBRX evaluates an array inside a compiled function, and
#: RecurrentGemma's model lacks what ``freeze`` wants. Bailing's v3 is built as bailing_hybrid.
_UNTRAINABLE = {"bailing_moe_v3", "dbrx", "recurrent_gemma"}
_CONVERTIBLE = {n for n, a in ARCHITECTURES.items() if a.standing is Standing.CONVERTIBLE}

_MORE = (
    *(Case(name, profile="peft") for name in (
        "llama", "mixtral", "qwen2_moe", "qwen3_moe", "granitemoehybrid", "gemma3", "gpt2",
        "deepseek_v3", "qwen3_next", "ernie4_5_moe",
    )),
    *(Case(name, "last layer") for name in (
        "llama", "mixtral", "qwen2_moe", "granitemoe", "gemma3", "lfm2", "phi3", "gpt2",
    )),
    *(Case(name, "DoRA", "peft") for name in ("llama", "qwen3", "gemma2", "olmo2")),
    Case("llama", "DoRA", refused="whose magnitude hardly any server applies"),
    *(Case(name, "embeddings, head") for name in ("llama", "qwen2", "mistral")),
    Case("llama", "embeddings, head", "peft"),
    *(Case(name, "tied embeddings", refused="an embedding that the head shares")
      for name in ("gemma2", "qwen3")),
    *(Case(name, "q, odd scale") for name in ("llama", "qwen3", "cohere")),
    Case("llama", "q, odd scale", "peft"),
    *(Case(name, "all, odd scale") for name in ("granitemoehybrid", "qwen2_moe", "qwen3_moe")),
    *(Case(name, "attention") for name in (
        "gpt_oss", "nemotron_h", "llama4", "jamba", "longcat_flash",
    )),
    Case("gpt_oss", "attention", "peft"),
    *(Case(name, "4-bit base") for name in ("llama", "qwen3", "mixtral", "qwen3_moe")),
)  # fmt: skip


def _cases() -> Iterator[Case]:
    for name in (_CONVERTIBLE | {"bailing_hybrid", "falcon_h1"}) - _UNTRAINABLE:
        yield Case(name, refused=_REFUSED.get(name, ""))
    yield from _MORE


#: Sorted by architecture; within one, all linear modules in the portable form come first.
CASES = tuple(sorted(_cases(), key=lambda case: case.model_type))

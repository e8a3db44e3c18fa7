"""Tiny random base models in the Hugging Face layout, with a real tokenizer beside them.

Two facts decide the shape of this module. transformers 5 writes ``rope_parameters`` and no
top-level ``rope_theta``, and mlx-lm's Llama, Mistral, Qwen2, OLMo2 and Gemma models read only the
latter: so a base saved by transformers means two different functions in the two stacks unless
the key is added. And random initialisation leaves norms at 1 and biases at 0, which would hide a
mistake in either: so every vector is disturbed.
"""

from __future__ import annotations

import functools
import json
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from .cache import cached

# Not the default of any of the families (1e4) nor of mlx-lm's (1e4, Qwen2 1e6), so that a stack
# which falls back to its default is seen to do so.
ROPE_THETA = 500_000.0
VOCABULARY = 320

_HEAD: Any = {"num_attention_heads": 4}
_GQA: Any = {**_HEAD, "num_key_value_heads": 2}

# Only what differs between the families. head_dim is 32 (so heads x head_dim is not hidden_size)
# where the published models have that too.
FAMILIES: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "llama": _GQA,
        "mistral": _GQA,
        "qwen2": _GQA,
        "qwen3": {**_GQA, "head_dim": 32},
        "olmo2": {**_HEAD, "num_key_value_heads": 4},
        "gemma": {**_HEAD, "num_key_value_heads": 1, "head_dim": 32},
        "gemma2": {**_GQA, "head_dim": 32},
    }
)
_ALWAYS_TIED = frozenset({"gemma", "gemma2"})

_CORPUS = (
    "a lorry is weighed before it leaves the yard",
    "weights are checked before they leave the machine",
    "what is published is what was trained",
)
_SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n"
    "{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def make_base(
    directory: Path,
    family: str,
    *,
    tied: bool | None = None,
    seed: int = 0,
    layers: int = 2,
    dtype: Literal["float32", "bfloat16"] = "float32",
    max_shard_size: str = "5GB",
    agreeing_rope: bool = True,
    **overrides: Any,
) -> Path:
    """Write a random model of that family, its config and its tokenizer; return ``directory``.

    ``tied`` None: the family's default. ``max_shard_size="100KB"`` gives shards and an index.
    ``agreeing_rope=False`` leaves config.json as transformers wrote it, and mlx-lm then computes
    another function for all but qwen3, its only model here to read ``rope_parameters``.
    ``overrides`` are fields of the transformers config. Raises ValueError for an untied Gemma,
    which mlx-lm cannot represent, and KeyError for a family not in ``FAMILIES``.
    """
    if tied is False and family in _ALWAYS_TIED:
        raise ValueError(f"mlx-lm ties the embeddings of {family} whatever its config says")
    fields = _config_fields(family, layers) | overrides
    if tied is not None:
        fields["tie_word_embeddings"] = tied
    _save_model(directory, family, fields, seed=seed, dtype=dtype, max_shard_size=max_shard_size)
    save_tokenizer(directory)
    if agreeing_rope:
        agree_on_rope(directory)
    return directory


def tiny_base(family: str, **options: Any) -> Path:
    """``make_base`` from the cache."""
    return cached(f"base-{family}", functools.partial(make_base, family=family, **options))


def agree_on_rope(directory: Path) -> None:
    """Repeat ``rope_parameters.rope_theta`` at the top level of config.json, where mlx-lm looks."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_tokenizer(directory: Path) -> None:
    """Train a byte-level BPE tokenizer of at most ``VOCABULARY`` tokens and save it there."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(_SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    fast = import_module("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    fast.chat_template = _CHAT_TEMPLATE
    fast.save_pretrained(directory)


def _config_fields(family: str, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "max_position_embeddings": 512,
        # The usual 0.02 makes attention scores vanish at this size, and with them every effect
        # of the rotary embedding.
        "initializer_range": 0.1,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    } | FAMILIES[family]


def _save_model(
    directory: Path,
    family: str,
    fields: dict[str, Any],
    *,
    seed: int,
    dtype: str,
    max_shard_size: str,
) -> None:
    import torch

    # By name: its factories are untyped, which mypy would hold against every call.
    transformers = import_module("transformers")
    config = transformers.AutoConfig.for_model(family, **fields)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.to(getattr(torch, dtype)).save_pretrained(directory, max_shard_size=max_shard_size)

"""A config.json that is no JSON, or that says something else than the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve

from .kit import (
    CONFIG,
    FUSED,
    SETTINGS,
    Tensor,
    Twin,
    add_tensor,
    defect,
    edit_tensor,
    map_tensors,
    map_too,
    read_json,
    read_tensors,
    set_keys,
    unmap,
    write_json,
)


def _text(d: Path, old: str, new: str) -> None:
    path = d / CONFIG
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _set(d: Path, **changes: Any) -> None:
    set_keys(d / CONFIG, **changes)


@defect(Twin.FUSED, "JS001")
def fused_config_cut(d: Path) -> None:
    """A config that ends in the middle."""
    (d / CONFIG).write_text((d / CONFIG).read_text()[:-20])


@defect(Twin.FUSED, "JS002")
def fused_config_dupkey(d: Path) -> None:
    """A key twice, with two values."""
    _text(d, "{", '{"hidden_size": 32,')
    _text(d, "{", '{"vocab_size": 64,')


@defect(Twin.FUSED, "JS003")
def fused_config_nan(d: Path) -> None:
    """NaN for a number, which is no JSON."""
    _set(d, rms_norm_eps=float("nan"))


@defect(Twin.FUSED, "JS004")
def fused_config_huge_int(d: Path) -> None:
    """A number of five thousand digits."""
    _text(d, '"vocab_size": 320', '"vocab_size": ' + "3" * 5000)


@defect(Twin.FUSED, "JS005")
def fused_config_deep(d: Path) -> None:
    """A thousand lists in each other."""
    _text(d, "{", '{"deep": ' + "[" * 1000 + "]" * 1000 + ",")


@defect(Twin.FUSED, "JS006")
def fused_config_list(d: Path) -> None:
    """A list around the config."""
    write_json(d / CONFIG, [read_json(d / CONFIG)])


@defect(Twin.FUSED, "JS007")
def fused_config_bom(d: Path) -> None:
    """A byte order mark before it."""
    (d / CONFIG).write_bytes(b"\xef\xbb\xbf" + (d / CONFIG).read_bytes())


@defect(Twin.FUSED, "JS008")
def fused_config_types(d: Path) -> None:
    """Text for a number."""
    _set(d, hidden_size="64")


@defect(Twin.FUSED, "CF002")
def fused_no_model_type(d: Path) -> None:
    """No model type."""
    _set(d, model_type=None)


@defect(Twin.FUSED, "CF003")
def fused_unknown_architecture(d: Path) -> None:
    """An architecture that mlx-lm has not."""
    _set(d, model_type="bert", architectures=["BertModel"])


@defect(Twin.FUSED, "CF010")
def fused_config_shape(d: Path) -> None:
    """A size that is not the tensors'."""
    _set(d, intermediate_size=256)


@defect(Twin.FUSED, "CF011")
def fused_config_layers(d: Path) -> None:
    """Eight layers said, two stored: transformers makes up six."""
    _set(d, num_hidden_layers=8)


@defect(Twin.FUSED, "CF012")
def fused_tied_and_head(d: Path) -> None:
    """A tied model with a head of its own."""
    _set(d, tie_word_embeddings=True)


@defect(Twin.FUSED, "CF013")
def fused_eos_oob(d: Path) -> None:
    """A stop token that the vocabulary has not."""
    _set(d, eos_token_id=5000)
    set_keys(d / "generation_config.json", eos_token_id=5000)


@defect(Twin.FUSED, "CF010")
def fused_vocab_mismatch(d: Path) -> None:
    """A vocabulary of another size than the embedding."""
    _set(d, vocab_size=512)


@defect(Twin.FUSED, "CF014")
def fused_generation_stop(d: Path) -> None:
    """Another stop token for generation than in the config."""
    set_keys(d / "generation_config.json", eos_token_id=[1, 3])


@defect(Twin.FUSED, "CF020")
def fused_dtype_said(d: Path) -> None:
    """Another type of weights than is stored."""
    _set(d, dtype="float32")


@defect(Twin.FUSED, "CF030")
def fused_rope_base(d: Path) -> None:
    """A rotary base that only transformers reads."""
    _set(d, rope_theta=None)


@defect(Twin.FUSED, "CF031")
def fused_rope_scaling(d: Path) -> None:
    """A rotary scaling that only transformers reads."""
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128, "rope_theta": 500000.0,
    }  # fmt: skip
    _set(d, rope_parameters=scaling)


@defect(Twin.FUSED, "CF035")
def fused_tie_unsaid(d: Path) -> None:
    """A model without a head that does not say it is tied: the two stacks differ."""
    _set(d, tie_word_embeddings=None)
    _without(d, "lm_head.weight")


@defect(Twin.FUSED, "EX003")
def fused_auto_map(d: Path) -> None:
    """A config that names classes to load."""
    _set(d, auto_map={"AutoModelForCausalLM": "modeling_own.Own"})


@defect(Twin.FUSED, "EX003")
def fused_auto_map_tokenizer(d: Path) -> None:
    """The same in tokenizer_config.json, from another repository."""
    set_keys(d / SETTINGS, auto_map={"AutoTokenizer": ["evil/repo--tok.Own", None]})


@defect(Twin.FUSED, "EX004")
def fused_model_file(d: Path) -> None:
    """mlx-lm's key for a module of Python."""
    _set(d, model_file="own.py")


@defect(Twin.FUSED, "EX005")
def fused_attention_code(d: Path) -> None:
    """An attention that is code on the Hub."""
    _set(d, _attn_implementation_internal="evil/kernel")


@defect(Twin.FUSED, "EX006")
def fused_trust(d: Path) -> None:
    """A config that trusts itself."""
    _set(d, trust_remote_code=True)


@defect(Twin.FUSED, "SC003")
def fused_home_path(d: Path) -> None:
    """The author's directory in the config."""
    _set(d, _name_or_path="/Users/ada/models/base")


@defect(Twin.FUSED, "QT001")
def fused_quant_contradiction(d: Path) -> None:
    """A config that says quantised over weights that are not."""
    _set(d, quantization={"group_size": 64, "bits": 4})


@defect(Twin.QUANTISED, "QT002")
def quantised_unsaid(d: Path) -> None:
    """Quantised weights of which the config says nothing."""
    _set(d, quantization=None, quantization_config=None)


@defect(Twin.QUANTISED, "QT003")
def quantised_other_bits(d: Path) -> None:
    """Another number of bits than the weights are packed in."""
    blocks = {"group_size": 64, "bits": 8, "mode": "affine"}
    _set(d, quantization=blocks, quantization_config=blocks)


@defect(Twin.FUSED, "QT004")
def fused_quant_two_blocks(d: Path) -> None:
    """Two blocks of quantisation that contradict each other."""
    _set(
        d,
        quantization={"group_size": 64, "bits": 4},
        quantization_config={"group_size": 32, "bits": 8},
    )


@defect(Twin.QUANTISED, "QT005")
def quantised_seven_bits(d: Path) -> None:
    """A number of bits that MLX has not."""
    blocks = {"group_size": 64, "bits": 7, "mode": "affine"}
    _set(d, quantization=blocks, quantization_config=blocks)


@defect(Twin.QUANTISED, "QT003")
def quantised_scales_missing(d: Path) -> None:
    """A packed matrix without its scales."""
    _without(d, ".scales")


@defect(Twin.QUANTISED, "QT003")
def quantised_biases_missing(d: Path) -> None:
    """A packed matrix without its biases."""
    _without(d, ".biases")


def _without(d: Path, ending: str) -> None:
    """Take away the first tensor of that ending, from the index too."""
    name = next(t.name for t in read_tensors(d / FUSED) if t.name.endswith(ending))
    edit_tensor(d / FUSED, name, lambda tensor: None)
    index = read_json(d / "model.safetensors.index.json")
    del index["weight_map"][name]
    index["metadata"].pop("total_size", None)
    write_json(d / "model.safetensors.index.json", index)


@defect(Twin.QUANTISED, "QT006")
def quantised_module_nowhere(d: Path) -> None:
    """A packing of its own for a module that the weights have under another name."""
    own = {"layers.0.mlp.up_proj": {"group_size": 32, "bits": 8}}
    blocks = read_json(d / CONFIG)["quantization"] | own
    _set(d, quantization=blocks, quantization_config=blocks)


@defect(Twin.FUSED, "CF010")
def fused_norm_shape(d: Path) -> None:
    """A norm of half the size."""
    edit_tensor(
        d / FUSED,
        "model.norm.weight",
        lambda t: evolve(t, shape=(t.shape[0] // 2,), data=t.data[: len(t.data) // 2]),
    )
    map_too(d)


@defect(Twin.FUSED, "CF011")
def fused_layer_gap(d: Path) -> None:
    """Weights of a layer that the config does not count."""
    name = "model.layers.5.self_attn.q_proj.weight"
    add_tensor(d / FUSED, Tensor(name, "BF16", (64, 64), b"\x80\x3c" * 4096))
    map_too(d, name)


@defect(Twin.FUSED, "CF021")
def fused_tensor_missing(d: Path) -> None:
    """A matrix of one layer that is not there, nor in the index."""
    _without(d, "layers.1.mlp.down_proj.weight")


@defect(Twin.FUSED, "CF021")
def fused_matrix_nowhere(d: Path) -> None:
    """A matrix that no layer has."""
    names = [t.name for t in read_tensors(d / FUSED) if "mlp.up_proj" in t.name]
    map_tensors(d / FUSED, lambda t: None if t.name in names else t)
    unmap(d, *names)


@defect(Twin.MIXTURE, "CF021")
def mixture_router_nowhere(d: Path) -> None:
    """Experts in every layer, and no router to choose them."""
    map_tensors(d / FUSED, lambda t: None if t.name.endswith("mlp.gate.weight") else t)


@defect(Twin.MIXTURE, "CF021")
def mixture_norm_missing(d: Path) -> None:
    """A norm of one layer that is not there."""
    edit_tensor(d / FUSED, "layers.1.post_attention_layernorm", lambda t: None)


@defect(Twin.MIXTURE, "CF015")
def mixture_said_dense(d: Path) -> None:
    """A mixture in a layer that the config calls dense."""
    _set(d, mlp_only_layers=[1])


@defect(Twin.MIXTURE, "CF010")
def mixture_heads(d: Path) -> None:
    """Twice as many heads for keys and values as are stored."""
    _set(d, num_key_value_heads=2 * read_json(d / CONFIG)["num_key_value_heads"])


@defect(Twin.MIXTURE, "CF026")
def mixture_stray_tensor(d: Path) -> None:
    """A tensor in a mixture's layer that no model of any type has."""
    name = "model.layers.0.mlp.balance.weight"
    add_tensor(d / FUSED, Tensor(name, "F32", (1,), b"\0\0\x80\x3f"))


@defect(Twin.FUSED, "CF023")
def fused_integers(d: Path) -> None:
    """A matrix of integers, which nothing says how to read."""
    edit_tensor(d / FUSED, "up_proj", lambda t: evolve(t, dtype="I16"))


@defect(Twin.FUSED, "CF024")
def fused_size_missing(d: Path) -> None:
    """No number of heads, for which transformers takes 32."""
    _set(d, num_attention_heads=None)


@defect(Twin.FUSED, "CF025")
def fused_compiled(d: Path) -> None:
    """Names as torch.compile gives them."""
    names = {t.name: f"_orig_mod.{t.name}" for t in read_tensors(d / FUSED)}
    map_tensors(d / FUSED, lambda t: evolve(t, name=names[t.name]))
    unmap(d, *names)
    map_too(d, *names.values())


@defect(Twin.FUSED, "CF026")
def fused_stray_tensor(d: Path) -> None:
    """A tensor that no model of its type has."""
    add_tensor(d / FUSED, Tensor("foo.weight", "BF16", (1,), b"\x80\x3f"))
    map_too(d, "foo.weight")


@defect(Twin.FUSED, "CF026")
def fused_bias(d: Path) -> None:
    """Biases that the config denies: one loader adds them, another does not."""
    for layer in range(2):
        name = f"model.layers.{layer}.self_attn.q_proj.bias"
        add_tensor(d / FUSED, Tensor(name, "BF16", (64,), b"\x80\x3c" * 64))
        map_too(d, name)


@defect(Twin.FUSED, "CF027")
def fused_activation(d: Path) -> None:
    """An activation that transformers has not."""
    _set(d, hidden_act="silo")


@defect(Twin.FUSED, "CF027")
def fused_rope_type(d: Path) -> None:
    """A scaling of the rotary embedding that no stack has."""
    _set(d, rope_scaling={"rope_type": "linaer", "factor": 2.0})


@defect(Twin.FUSED, "CF028")
def fused_other_class(d: Path) -> None:
    """A class of another type than the type."""
    _set(d, architectures=["Qwen3ForCausalLM"])


@defect(Twin.FUSED, "CF029")
def fused_two_halves(d: Path) -> None:
    """A norm whose bytes are called the other 16-bit float."""
    edit_tensor(d / FUSED, "model.norm", lambda t: evolve(t, dtype="F16"))


@defect(Twin.FUSED, "JS008")
def fused_epsilon(d: Path) -> None:
    """A number that the field cannot have."""
    _set(d, rms_norm_eps=1.0)


@defect(Twin.FUSED, "CF022")
def fused_lora_beside(d: Path) -> None:
    """A LoRA in the file of the model, and not in its weights."""
    names = [f"model.layers.0.self_attn.q_proj.lora_{leaf}" for leaf in "ab"]
    for name, shape in zip(names, ((64, 8), (8, 64)), strict=True):
        add_tensor(d / FUSED, Tensor(name, "BF16", shape, b"\x80\x3c\x81\x3c" * 256))
    map_too(d, *names)


@defect(Twin.FUSED, "CF004")
def fused_no_architecture(d: Path) -> None:
    """A config that names no class, as mlx-lm-lora writes it."""
    _set(d, architectures=None)


@defect(Twin.FUSED, "EX003")
def fused_pipelines(d: Path) -> None:
    """Pipelines whose code comes along."""
    _set(d, custom_pipelines={"chat": {"impl": "own.Chat", "pt": ["AutoModelForCausalLM"]}})

"""Good directories that look unusual: what other tools leave beside a model, and write into it.

None has an error. Warnings are for what does not belong into a release.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import (
    FUSED_SPECS,
    PEFT_SPECS,
    encode,
    fused_files,
    lora_files,
    peft_files,
    tensors,
)
from tests.fuzz.directories import validated
from tests.unit.examples_of_contents import CARD, front
from weighbridge.domain.findings import Severity

#: As Unsloth writes it, for models that see as well as for those that do not.
_UNSLOTH_TARGETS = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}"
    r"\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:q_proj|k_proj|v_proj)))"
)
_UNSLOTH = {
    "auto_mapping": {
        "base_model_class": "LlamaForCausalLM",
        "parent_library": "transformers.models.llama.modeling_llama",
        "unsloth_fixed": True,
    }
}
_AXOLOTL_CARD = b"""---
library_name: peft
license: apache-2.0
base_model: acme/base
tags:
- axolotl
- generated_from_trainer
model-index:
- name: outputs/lora-out
  results: []
---

[<img src="https://raw.githubusercontent.com/axolotl-ai-cloud/axolotl/main/image/badge.png"/>](x)
<details><summary>See axolotl config</summary>

```yaml
base_model: acme/base
hub_token:
wandb_project:
```
</details>
"""
#: What older mlx-lm wrote, whole.
_OLD_MLX: dict[str, dict[str, Any]] = {
    "0.6": {
        "adapter_path": "adapters", "batch_size": 4, "config": None, "data": "data/", "iters": 1000,
        "lora_parameters": {"rank": 4, "alpha": 16.0, "dropout": 0.0, "scale": 10.0},
        "lora_layers": 1, "model": "acme/base", "resume_adapter_file": None, "save_every": 100,
        "train": True,
    },
    "0.20": {
        "fine_tune_type": "lora", "num_layers": 16, "model": "acme/base", "train": True,
        "lora_parameters": {"rank": 4, "alpha": 16, "dropout": 0.0, "scale": 10.0},
    },
    "mlx-lm-lora": {
        "lora_parameters": {
            "rank": 4, "scale": 10.0, "dropout": 0.0, "use_dora": False, "num_layers": None,
        },
        "num_layers": None, "model": "acme/base",
    },
}  # fmt: skip


def _without_tokenizer(**files: bytes) -> dict[str, bytes]:
    held = {k: v for k, v in fused_files().items() if k != "tokenizer.json"}
    return held | {name.replace("__", "."): content for name, content in files.items()}


def _one_shard() -> dict[str, bytes]:
    shard = "model-00001-of-00001.safetensors"
    index = {"metadata": {}, "weight_map": {s.name: shard for s in FUSED_SPECS}}
    held = {k: v for k, v in fused_files().items() if not k.startswith("model")}
    return held | {
        shard: tensors(FUSED_SPECS), "model.safetensors.index.json": encode(index),
    }  # fmt: skip


def _said(name: str, **keys: Any) -> dict[str, bytes]:
    return fused_files() | {name: encode(keys)}


#: The directory, and the warnings that it is due.
GOOD: dict[str, tuple[dict[str, bytes], set[str]]] = {
    "downloaded by hf": (
        fused_files() | {
            ".cache/huggingface/.gitignore": b"*",
            ".cache/huggingface/CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55\n",
            ".cache/huggingface/download/config.json.lock": b"",
            ".cache/huggingface/download/config.json.metadata": b"0123456789abcdef\nabc\n1.7e9\n",
            ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        },
        {"FS008"},
    ),
    "Unsloth": (peft_files(**_UNSLOTH, target_modules=_UNSLOTH_TARGETS), set()),
    "Unsloth, with its tokenizer": (
        peft_files(**_UNSLOTH) | {"tokenizer.json": fused_files()["tokenizer.json"]}, set()),
    "every field of PEFT": (
        peft_files(
            alora_invocation_tokens=None, arrow_config=None, corda_config=None, eva_config=None,
            exclude_modules=None, layer_replication=None, layers_pattern=None, loftq_config={},
            lora_bias=False, megatron_config=None, megatron_core="megatron.core", bias="none",
            peft_version="0.18.0", qalora_group_size=16, rank_pattern={}, alpha_pattern={},
            target_parameters=None, trainable_token_indices=None, use_rslora=False,
        ),
        {"PE024"},
    ),
    "all linear modules": (peft_files(target_modules="all-linear"), set()),
    "axolotl": (
        peft_files() | {
            "README.md": _AXOLOTL_CARD, "debug.log": b"x\n", "added_tokens.json": b"{}",
            "config.json": encode({"model_type": "llama", "vocab_size": 8}),
        },
        {"FS007"},
    ),
    "LLaMA-Factory": (
        peft_files() | {
            "all_results.json": b'{"epoch": 3.0}', "eval_results.json": b'{"eval_loss": NaN}',
            "trainer_state.json": b'{"log_history": [{"loss": NaN, "grad_norm": Infinity}]}',
            "trainer_log.jsonl": b"{}\n", "training_loss.png": b"\x89PNG\r\n\x1a\n",
            "llamaboard_config.yaml": b"top.lang: en\n",
        },
        {"FS007", "FS011", "FS012", "JS009"},
    ),
    "lines of JSON": (fused_files() | {"eval.json": b"{}\n{}\n"}, {"FS007", "JS009"}),
    "comments in JSON": (
        fused_files() | {".vscode/settings.json": b'{\n// c\n"a": 1,\n}\n'}, {"FS008", "JS009"}),
    **{
        f"mlx-lm {version}": (lora_files() | {"adapter_config.json": encode(config)}, set())
        for version, config in _OLD_MLX.items()
    },
    "a fork's own settings": (lora_files(agr_mode="x", foo={"a": [1]}), set()),
    "a rate that is no number": (lora_files(learning_rate={"__float__": "NaN"}), set()),
    "one shard": (_one_shard(), set()),
    "sentencepiece alone": (_without_tokenizer(tokenizer__model=b"\n\x0e\n\x05<unk>\x15\0"), set()),
    "tekken alone": (_without_tokenizer(tekken__json=b'{"config": {}, "vocab": []}'), set()),
    "tiktoken alone": (_without_tokenizer(qwen__tiktoken=b"IQ== 0\nIg== 1\n"), set()),
    "vocabulary and merges": (
        _without_tokenizer(vocab__json=b'{"a":0}', merges__txt=b"#version: 0.2\na b\n"), set()),
    "GGUF beside": (fused_files() | {"model-q4.gguf": b"GGUF\3\0\0\0"}, {"EX009"}),
    "ModelScope": (
        fused_files() | {"configuration.json": b'{"framework": "pytorch"}', ".mv": b"master\n"},
        {"FS007"},
    ),
    "names of every script": (
        fused_files() | {"模型说明.md": b"# x\n", "图/结果.png": b"\x89PNG\r\n\x1a\n"}, {"FS007"}),
    "a drawing": (fused_files() | {"logo.svg": b"<svg><path d='M0 0'/></svg>"}, set()),
    "licences": (
        fused_files() | {
            "LICENSE.md": b"x\n", "LICENCE": "\u00a9 Ada\n".encode("latin-1"), "NOTICE.txt": b"x\n",
            "LICENSE.pdf": b"%PDF-1.7\n%\xe2\xe3\0\1", "USE_POLICY.md": b"x\n",
            "LICENSE_de.txt": "Größe\n".encode("utf-16"),
        },
        set(),
    ),
    "a config of many empty fields": (
        fused_files(
            rope_scaling=None, sliding_window=None, head_dim=None, auto_map=None, dtype=None,
            quantization_config=None, _name_or_path="meta-llama/Llama-3.2-1B", pretraining_tp=1,
            _attn_implementation_autoset=True, _attn_implementation="sdpa", unsloth_fixed=True,
            attn_implementation="flash_attention_2", experts_implementation="grouped_mm",
            trust_remote_code=False, custom_pipelines={}, id2label={"0": "L"}, pad_token_id=-1,
        ),
        set(),
    ),
    "settings of many empty fields": (
        _said(
            "tokenizer_config.json", vocab_file=None, merges_file=None, tokenizer_file=None,
            name_or_path="/content/model", model_max_length=10**30, extra_special_tokens={},
            special_tokens_map_file="/opt/cache/x/special_tokens_map.json", sp_model_kwargs={},
            tool_parser_type="qwen3_coder", tokenizer_class="TokenizersBackend", backend="custom",
        ),
        set(),
    ),
    "what macOS keeps on a disk of others": (
        fused_files() | {f"._{name}": b"\0\5\x16\7\0\2\0\0Mac OS X        \0\xff" for name in (
            "model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja",
            "model.safetensors.index.json")},
        {"FS008", "FS020"},
    ),
    "modules of sentence-transformers": (
        fused_files() | {
            "modules.json": b'[{"idx": 0, "path": "", "type": "sentence_transformers.models.T"},'
            b'{"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]'
        },
        set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", GOOD)
def test_what_other_tools_leave_is_no_error(what: str) -> None:
    files, due = GOOD[what]
    # The twin's own card comes first, so that a directory may bring another.
    findings = validated(CARD | files).findings
    assert {f.code for f in findings} == due
    assert all(f.severity is not Severity.ERROR for f in findings)


_LICENCE = "license: apache-2.0\nbase_model: acme/base"
#: Front matter that the Hub takes.
CARDS = {
    "several licences": "license:\n- apache-2.0\n- mit\nbase_model:\n- acme/base\nlanguage: [en]",
    "another licence": "license: other\nlicense_name: acme-1\nlicense_link: LICENSE\n"
    "base_model: acme/base",
    "comments": f"# card\n{_LICENCE} # ok\ntags: []\ndatasets: null",
    "a folded text": f"{_LICENCE}\nextra_gated_prompt: >-\n  You agree\n  to this\n"
    "extra_gated_fields:\n  Name: text\n  I agree: checkbox",
    "a widget": f"{_LICENCE}\ninference: false\nwidget:\n- text: Hi\n  output:\n    url: x.png\n"
    "co2_eq_emissions: 12.3\nthumbnail: null",
    "a date": f"{_LICENCE}\ndate: 2024-01-01\nversion: 1.10",
    "pictures": f"{_LICENCE}\ntags:\n- 🦙\n- 'a: b'\nlanguage: multilingual",
    "a quantised base": "license: apache-2.0\nbase_model: mlx-community/base-4bit",
    "Norwegian": f"{_LICENCE}\nlanguage:\n- en\n- 'no'",
}


@pytest.mark.parametrize("what", CARDS)
def test_front_matter_that_the_hub_takes_is_good(what: str) -> None:
    assert validated(lora_files() | front(CARDS[what])).findings == ()


@pytest.mark.parametrize("ways", [
    lambda card: b"\xef\xbb\xbf" + card, lambda card: card.replace(b"\n", b"\r\n"),
    lambda card: b"\n" + card, lambda card: card.replace(b"---\n", b"---  \n"),
], ids=["mark", "returns", "empty line", "spaces"])  # fmt: skip
def test_a_card_of_any_editor_is_read(ways: Any) -> None:
    card = ways(front(_LICENCE)["README.md"])
    assert validated(lora_files() | {"README.md": card}).findings == ()


def test_a_run_that_ended_has_its_last_checkpoint() -> None:
    steps = {f"{n:07}_adapters.safetensors": tensors(PEFT_SPECS) for n in (100, 200)}
    ended = validated(lora_files(iters=250, save_every=100) | CARD | steps)
    assert {f.code for f in ended.findings} == {"FS010"}

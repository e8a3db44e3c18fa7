"""Writes the first inputs of the kept corpus: ``python -m tests.fuzz.seeds``.

They are what real writers wrote, at its smallest; what fuzzing found is added to them by hand.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Iterator

from tests.builders import (
    LORA_SPECS,
    PEFT_SPECS,
    fused_files,
    npz,
    sharded_files,
)
from tests.fuzz.directories import PLACES
from tests.fuzz.targets import CORPUS
from tests.unit.examples_of_contents import CARD
from weighbridge.domain.tensors import encode_header

_TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] + '\\n' + m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "generation": "{%- macro a(x) -%}{{ x | tojson }}{%- endmacro %}{% set ns = namespace(n=0) %}"
    "{% generation %}{{ a(messages[0]) }}{% endgeneration %}{% break %}",
    "reaching": "{{ ''.__class__.__mro__[1] }}{{ x|attr('__init__') }}{% include 'a' %}",
    "loops": "{% for a in range(9999) %}{% for b in range(9999) %}{{ '%99d'|format(a) }}"
    "{% endfor %}{% endfor %}",
}
_SECRETS = {
    "tokens": b"token=hf_" + b"aB3" * 12 + b" key-AKIA" + b"A1B2" * 4 + b"\nsk-" + b"a1B2" * 8,
    "escaped": rb'"\u0068f_' + b"aB3" * 12 + rb'" "\/home\/ada\/x" C:\\Users\\ada\\x',
    "close": b"aws_secret_access_key = " + b"aB3/" * 10 + b" ada@lovelace.org http://10.0.0.1/",
    "keys": b"-----BEGIN RSA PRIVATE KEY-----\nhttps://wandb.ai/ada/run/runs/abc123",
}


def _whole(specs: tuple[object, ...], metadata: dict[str, str] | None = None) -> bytes:
    return encode_header(specs, metadata) + bytes(sum(s.nbytes for s in specs))


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Target, name and content of each."""
    for name, specs, metadata in (
        ("mlx", LORA_SPECS, None),
        ("peft", PEFT_SPECS, {"format": "pt"}),
        ("tiny", LORA_SPECS[:1], {}),
    ):
        whole = _whole(specs, metadata)
        yield "header", name, whole
        text = whole[8 : 8 + int.from_bytes(whole[:8], "little")]
        yield "header-text", name, bytes([len(whole) - 8 - len(text) & 255]) + text
    empty = b'{"a":{"dtype":"F4","shape":[2,0,3],"data_offsets":[0,0]},"__metadata__":null}'
    yield "header-text", "null-metadata", b"\0" + empty
    yield (
        "json",
        "numbers",
        b'{"a":[1,-2.5e-3,1E9,true,false,null],"b":{"c":"\\u00e9\\ud83d\\ude00"}}',
    )
    yield "json", "config", fused_files()["config.json"]
    archive = npz(LORA_SPECS[:2])
    yield "npz", "numpy", archive
    with zipfile.ZipFile(io.BytesIO(archive)) as inside:
        yield "npy", "numpy", inside.read(inside.namelist()[0])
    yield "index", "mlx", sharded_files()["model.safetensors.index.json"]
    for at, (kind, files, name) in enumerate(PLACES):
        content = files.get(name) or json.dumps(_small(name)).encode()
        yield "config", f"{kind}-{name.removesuffix('.json')}", bytes([at]) + content
    yield "card", "whole", CARD["README.md"]
    yield "card", "lists", (b"---\nlicense: [mit, apache-2.0]\nbase_model:\n- a/b\ntags: {a: 1}\n"
                            b"datasets: a/b\nlanguage: !!str no\n---\n# A\n")  # fmt: skip
    for protocol in (0, 2, 4):
        yield "file", f"pickle-{protocol}", pickle.dumps({"a": [1.5, len]}, protocol)
    yield "file", "zip", archive
    for name, text in _TEMPLATES.items():
        yield "template", name, text.encode()
    for name, raw in _SECRETS.items():
        yield "secrets", name, raw


def _small(name: str) -> dict[str, object]:
    return {
        "generation_config.json": {"eos_token_id": [2, 3], "bos_token_id": 1, "pad_token_id": 0},
        "tokenizer_config.json": {
            "eos_token": {"content": "</s>", "special": True},
            "added_tokens_decoder": {"2": {"content": "</s>"}},
            "chat_template": [{"name": "default", "template": "{{ messages }}"}],
        },
        "special_tokens_map.json": {"eos_token": "</s>", "additional_special_tokens": ["<a>"]},
        "chat_template.json": {"chat_template": "{{ messages }}"},
    }.get(name, {})


if __name__ == "__main__":
    for target, name, content in seeds():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        (CORPUS / target / name).write_bytes(content)

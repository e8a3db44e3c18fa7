"""One hostile thing in a good directory, each in a form that somebody could think of."""

from __future__ import annotations

import base64
import io
import json
import lzma
import os
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from tests.builders import (
    LORA_SPECS,
    encode,
    fused_files,
    lora_files,
    old_tar,
    peft_files,
    tensors,
)
from tests.fuzz.directories import validated
from tests.unit.examples_of_contents import CARD, hf_token
from tests.unit.examples_tokens import replacing, splitting
from weighbridge.domain.findings import Severity
from weighbridge.domain.tensors import TensorSpec


class _Calls:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def _found(files: Mapping[str, bytes]) -> dict[str, Severity]:
    return {f.code: f.severity for f in validated(CARD | dict(files)).findings}


def _settings(name: str, **keys: Any) -> dict[str, bytes]:
    return fused_files() | {name: encode(keys)}


#: What decides which code, module or file is read: the directory, and the rule.
DECIDING: dict[str, tuple[dict[str, bytes], str]] = {
    "custom pipelines": (fused_files(custom_pipelines={"x": {"impl": "p.P"}}), "EX003"),
    "a processor of its own": (
        _settings("preprocessor_config.json", auto_map={"A": "x.Y"}), "EX003"),
    "trust, yes": (fused_files(trust_remote_code="yes"), "EX006"),
    "trust, a list": (_settings("generation_config.json", trust_remote_code=[0]), "EX006"),
    "trust, of the tokenizer of prompt tuning": (
        peft_files(tokenizer_kwargs={"trust_remote_code": True}), "EX006"),
    "trust, in the config of a LoRA": (lora_files(trust_remote_code=True), "EX006"),
    "experts that are code": (fused_files(experts_implementation="evil/kernel"), "EX005"),
    "experts of a part": (
        fused_files(text_config={"_experts_implementation": "evil/kernel"}), "EX005"),
    "attention of a part": (fused_files(attn_implementation={"text": "evil/kernel"}), "EX005"),
    "attention, paged": (fused_files(_attn_implementation="paged|evil/kernel:fn"), "EX005"),
    "a parser by path": (_settings("tokenizer_config.json", tool_parser_type="../evil"), "EX010"),
    "a template by module": (
        _settings("tokenizer_config.json", chat_template_type="x.evil"), "EX010"),
    "a class of the operating system": (
        fused_files() | {"modules.json": b'[{"path": "", "type": "os.system"}]'}, "EX010"),
    "a module elsewhere": (
        fused_files() | {"modules.json": b'[{"path": "../x", "type": "sentence_transformers.T"}]'},
        "EX010"),
    "files of the tokenizer, listed": (
        _settings("tokenizer_config.json", merges_file=["/etc/passwd"]), "TK005"),
    "another tokenizer for another version": (
        _settings("tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.json"]), "TK005"),
    "a file beside the special tokens": (
        _settings("special_tokens_map.json", vocab_file="/etc/passwd"), "TK005"),
    "a file in the settings of a run": (
        lora_files("adapters") | {"adapters/tokenizer_config.json": b'{"vocab_file": ".env"}'},
        "TK005"),
    "a base that is an option": (lora_files(model="--upload-pack=x"), "AD010"),
    "a base above": (lora_files(model="acme/../../etc"), "AD010"),
    "a base at an address": (lora_files(model="https://evil.example/x"), "AD010"),
    "a library of its own": (
        peft_files(auto_mapping={"parent_library": "transformers.models.evil/x"}), "AD013"),
    "layers again and again": (peft_files(layer_replication=[[0, 10**9]]), "PE025"),
    "an expression without end": (
        peft_files(target_modules="^(([a-z])+.)+[A-Z]([a-z])+$"), "AD014"),
    "a tokenizer without end": (
        fused_files() | {"tokenizer.json": encode(splitting("(a+)+$"))}, "TK011"),
    "a tokenizer that writes other words": (
        fused_files() | {"tokenizer.json": encode(replacing("evil"))}, "TK012"),
    "YAML that makes objects": (
        fused_files() | {"README.md": b"---\nlicense: !!python/object/apply:os.system [x]\n---\n"},
        "CD002"),
    "a number that is infinite": (
        fused_files() | {"config.json": b'{"model_type": "llama", "x": 1e999}'}, "JS004"),
}  # fmt: skip


@pytest.mark.parametrize("what", DECIDING)
def test_nothing_in_it_decides_what_is_read(what: str) -> None:
    files, code = DECIDING[what]
    assert code in _found(files)


def _png_with_archive() -> bytes:
    """An archive behind a picture, its directory before a comment of nearly 64 KiB."""
    target = io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"x" * 8000)
    with zipfile.ZipFile(target, "a") as opened:
        opened.writestr("a.txt", b"x")
        opened.comment = b"c" * 65_000
    return target.getvalue()


def _numpy(description: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00v\x00" + description.ljust(117) + b"\n" + pickle.dumps(_Calls(), 2)


_CALL = b"cposix\nsystem\n(S'true'\ntR"
_PERMISSION = b"Permission is hereby granted, free of charge, to any person. "
#: Content under the name of a text that everybody publishes, and the rule.
DISGUISED: dict[str, tuple[bytes, str]] = {
    "a call behind a thousand numbers": (
        b"".join(b"I%d\n0" % n for n in range(5000)) + _CALL, "EX001"),
    "a call behind a line of thousands": (b"V" + b"x" * 9000 + b"\n0" + _CALL + b" etc", "EX001"),
    "a call behind a line of two megabytes": (b"V" + b"x" * (2 << 20) + b"\n0" + _CALL, "EX001"),
    "a call behind a text of escapes": (b"S'" + b"\\x41" * 30_000 + b"'\n0" + _CALL, "EX001"),
    "a call behind a licence": (b"S'" + _PERMISSION * 400 + b"'\n0" + _CALL, "EX001"),
    "a call after a large list, 0": (pickle.dumps([list(range(5000)), _Calls()], 0), "EX001"),
    "a call after a large list, 1": (pickle.dumps([list(range(5000)), _Calls()], 1), "EX001"),
    "a call after a large text": (pickle.dumps(["x" * 99_999, _Calls()], 1) + b"\nEnd", "EX001"),
    "a call after megabytes": (pickle.dumps([b"x" * (3 << 20), _Calls()], 1) + b"End", "EX001"),
    "objects of numpy": (_numpy(b'{"descr": "|O", "shape": (1,)}'), "EX001"),
    "records of objects": (_numpy(b"{'descr': [('a', '<f4'), ('b', '|O')]}"), "EX001"),
    "objects by an escape": (_numpy(b"{'descr': '\\x7cO', 'shape': (1,)}"), "EX001"),
    "a header that nobody reads": (_numpy(b"{'descr': dtype('O')}"), "EX001"),
    "joblib's compression": (zlib.compress(pickle.dumps(_Calls())), "EX008"),
    "old lzma": (lzma.compress(b"x" * 99, format=lzma.FORMAT_ALONE), "EX008"),
    "old lzma of another dictionary": (
        lzma.compress(b"x" * 99, format=lzma.FORMAT_ALONE,
                      filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 3 << 20}]), "EX008"),
    "joblib's old compression": (b"ZF0x1f".ljust(21) + zlib.compress(pickle.dumps(_Calls())),
                                 "EX008"),
    "tar before POSIX": (old_tar("data.pkl", b"x"), "EX008"),
    "HDF5 behind a user's own block": (b" " * 512 + b"\x89HDF\r\n\x1a\n" + bytes(99), "EX009"),
    "a LoRA of GGML": (b"algg\1\0\0\0", "EX009"),
    "compress": (b"\x1f\x9d\x90abc", "EX008"),
    "ar": (b"!<arch>\nx", "EX008"),
    "an archive behind a picture": (_png_with_archive(), "EX008"),
    "Metal kernels": (b"MTLB\x01", "EX007"),
    "Mach-O for several, 64 bits": (b"\xca\xfe\xba\xbf\0\0\0\2", "EX007"),
    "a shortcut": (b"L\0\0\0\x01\x14\x02\0\0\0", "EX007"),
    "bitcode": (b"BC\xc0\xde5\x14", "EX007"),
    "a script of no path": (b"#!sh\ntrue\n", "EX007"),
    "a script behind a mark": (b"\xef\xbb\xbf#!/bin/sh\ntrue\n", "EX007"),
    "a drawing that runs": (b"<svg><script>alert(1)</script></svg>", "EX007"),
    "a drawing that runs when it is shown": (b"<svg onload = 'x()'/>", "EX007"),
    "a database": (b"SQLite format 3\0" + bytes(range(32)) * 9, "FS020"),
    "noise": (bytes(range(256)) * 9, "FS020"),
}  # fmt: skip


@pytest.mark.parametrize("what", DISGUISED)
@pytest.mark.parametrize("name", ["LICENSE", "NOTICE.txt"])
def test_content_decides_whatever_the_name(what: str, name: str) -> None:
    content, code = DISGUISED[what]
    found = validated(lora_files() | {name: content}, weights=True).findings
    assert code in {f.code for f in found if f.location.path == name}


def test_pickles_without_number_are_followed_to_a_bound_that_is_said() -> None:
    one = b"V" + b"x" * (1 << 20) + b"\n0" + b"N0" * 9 + b"\xff"
    report = validated(lora_files() | {f"{n}.txt": one for n in range(12)}, weights=True)
    assert [f.message for f in report.findings if f.code == "FS019"] == [
        "is too long to be followed as a pickle"
    ]


#: Ways of templates that the table in tests/unit/test_templates.py does not have.
TEMPLATES = {
    "{{ messages[dict(__class__=1)|first] }}": "CT002",
    "{% set k = dict(__class__=1)|list|first %}{{ messages[k] }}": "CT002",
    "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}": "CT002",
    "{{ '{x.__class__}'.format_map({'x': messages}) }}": "CT002",
    "{{ '{0[__init__]}'.format(x) }}": "CT002",
    "{% set k = '%s%sclass%s%s' % ('_','_','_','_') %}{{ messages[k] }}": "CT002",
    "{% set k = '%c%cclass%c%c'|format(95,95,95,95) %}{{ messages[k] }}": "CT002",
    "{% set u = (messages|string)[3] %}{% set k = u ~ u ~ 'class' %}{{ messages[k] }}": "CT002",
    "{{ messages|tojson(indent=10**9) }}": "CT005",
    "{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}": "CT005",
    "{% for i in range(40) %}{% set x = x + [1] + x %}{% endfor %}": "CT005",
    "{% for i in range(messages|length * 10**9) %}x{% endfor %}": "CT005",
    "{{ messages }}\U000e0041": "CT011",
    "{{ messages }}\u202e": "CT011",
}  # fmt: skip


@pytest.mark.parametrize("text", TEMPLATES)
def test_a_template_is_seen_through(text: str) -> None:
    assert TEMPLATES[text] in _found(fused_files() | {"chat_template.jinja": text.encode()})


@pytest.mark.parametrize("text", [
    "{% set role = message.role ~ ':' %}{{ role }}{{ names[message.role] }}",
    "{{ dict(role='user') }}{{ '{}: {}'.format(a, b) }}{{ '{\"name\": \"x\"}' }}",
    "{% for m in messages %}{% set ns.text = ns.text ~ m.content %}{% endfor %}",
    "{{ tools|tojson(indent=4, ensure_ascii=False) }}{% for i in range(2 * n) %}{% endfor %}",
])  # fmt: skip
def test_a_template_of_plain_ways_is_left_alone(text: str) -> None:
    found = _found(fused_files() | {"chat_template.jinja": text.encode()})
    assert not {"CT002", "CT005", "CT011"} & found.keys()


_REACHING = "{{ ''.__class__.__mro__ }}"
#: Where templates lie that some server reads, or is given by hand.
PLACES: dict[str, dict[str, bytes]] = {
    "a file for tools": fused_files() | {"tool_chat_template.jinja": _REACHING.encode()},
    "an old ending": fused_files() | {"templates/x.j2": _REACHING.encode()},
    "another case": fused_files() | {"Chat_Template.jinja": _REACHING.encode()},
    "the config": fused_files(chat_template=_REACHING),
    "the settings of generation": _settings("generation_config.json", chat_template=_REACHING),
    "a template of answers": _settings("tokenizer_config.json", response_template=_REACHING),
    "a run's own": lora_files("adapters") | {"adapters/chat_template.jinja": _REACHING.encode()},
    "a run's settings": lora_files("adapters")
    | {"adapters/tokenizer_config.json": encode({"chat_template": _REACHING})},
}


@pytest.mark.parametrize("where", PLACES)
def test_a_template_is_looked_at_wherever_it_is(where: str) -> None:
    assert _found(PLACES[where])["CT002"] is Severity.ERROR


def _token(text: str) -> bytes:
    return f"Use {text} here.\n".encode()


_HEX, _LETTERS = "0123456789abcdef" * 12, "QwErTyUiOpAsDfGhJkLz3XcVbNm9" * 12
_HF = hf_token()
#: Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "AWS, a service's": "AB" + "IA" + "Q3EGRX7TBK4FVCNL",
    "Alibaba": "LT" + "AI" + _LETTERS[:20],
    "Stripe, to try": "sk_" + "test_" + _LETTERS[:24],
    "ElevenLabs": "sk" + "_" + _HEX[:48],
    "Perplexity": "pplx" + "-" + _LETTERS[:48],
    "xAI": "xai" + "-" + _LETTERS[:80],
    "NVIDIA": "nvapi" + "-" + _LETTERS[:64],
    "Weights & Biases": "wandb" + "_v1_" + _LETTERS[:80],
    "Pinecone": "pcsk" + "_" + _LETTERS[:6] + "_" + _LETTERS[:63],
    "LangSmith": "lsv2" + "_pt_" + _HEX[:32] + "_" + _HEX[:10],
    "Kaggle": "KGAT" + "_" + _HEX[:32],
    "DigitalOcean": "dop" + "_v1_" + _HEX[:64],
    "Databricks": "da" + "pi" + _HEX[:32],
    "Docker Hub": "dckr" + "_pat_" + _LETTERS[:27],
    "Notion": "ntn" + "_" + _LETTERS[:46],
    "Postman": "PM" + "AK-" + _HEX[:24] + "-" + _HEX[:34],
    "Shopify": "shp" + "at_" + _HEX[:32],
    "Supabase": "sbp" + "_" + _HEX[:40],
    "Grafana": "glsa" + "_" + _LETTERS[:32] + "_" + _HEX[:8],
    "Atlassian": "ATA" + "TT3" + _LETTERS[:186],
    "age": "AGE-SECRET-" + "KEY-1" + "Q3EGRX7TBK4FVCNL" * 3 + "Q3EGRX7TBK",
    "Twilio": "S" + "K" + _HEX[:32],
    "SendGrid": "S" + "G." + _LETTERS[:22] + "." + _LETTERS[:43],
    "Vault": "hv" + "s." + _LETTERS[:95],
    "Vault, of root": "hv" + "s." + _LETTERS[:24],
    "Doppler": "dp" + ".pt." + _LETTERS[:43],
    "Terraform": _LETTERS[:14] + ".atlas" + "v1." + _LETTERS[:65],
    "Telegram": "123456789" + ":AA" + _LETTERS[:33],
    "Discord": "https://discord.com/api/web" + "hooks/" + "1" * 18 + "/" + _LETTERS[:68],
    "Azure storage": "Account" + "Key=" + _LETTERS[:86] + "==",
    "Azure client": "Abc8" + "Q~" + _LETTERS[:34],
    "Cloudflare": "v1" + ".0-" + _HEX[:24] + "-" + _HEX[:146],
    "Azure, shared access": "https://a.blob.core.windows.net/c?sv=2022&si"
    + "g="
    + _LETTERS[:43]
    + "%3D",
    "Azure, a bus": "SharedAccess" + "Key=" + _LETTERS[:43] + "=",
    "Discord bot": "MTE5ODYyMjQ4MzQ3MTkyNTI0OA" + ".GAb1Cd." + _LETTERS[:38],
    "Slack workflow": "https://hooks." + "slack.com/triggers/T1/2/" + _LETTERS[:24],
    "Teams": "https://a.webhook."
    + "office.com/webhookb2/"
    + "-" * 36
    + "@"
    + "-" * 36
    + "/IncomingWebhook/"
    + _HEX[:32]
    + "/"
    + "0" * 36,
    "Together": "tgp" + "_v1_" + _LETTERS[:43],
    "Fireworks": "fw" + "_3" + _LETTERS[:23],
    "Cerebras": "cs" + "k-" + _HEX[:48],
    "Bitbucket": "ATB" + "B" + _LETTERS[:32],
    "a runner of GitLab": "gl" + "rt-" + _LETTERS[:20],
    "a session of AWS": "IQoJb3Jp" + "Z2lu" + _LETTERS * 2,
    "Hugging Face, by OAuth": "hf" + "_oauth_" + _LETTERS[:40],
    "Hugging Face, in base64": base64.b64encode(f"HF_TOKEN={_HF}".encode()).decode(),
    "a private key, in base64": base64.urlsafe_b64encode(
        b'{"type": "service_account", "private_' + b'key": "-----BEGIN PRIV' + b"ATE KEY-----"
    ).decode(),
    "of SSH.com": "---- BEGIN SSH2 ENCRYPTED PRIV" + "ATE KEY ----",
    ".netrc": "machine api.acme.org login ada password " + _LETTERS[:12],
    "wandb, on a command line": "wandb login " + _HEX[:40],
    "wandb, again": "wandb login --relogin " + _HEX[:40],
    "a variable, set by Python": 'os.environ["WANDB_API_' + f'KEY"] = "{_HEX[:40]}"',
    "a variable, by default": 'os.environ.setdefault("MISTRAL_API_' + f'KEY", "{_LETTERS[:32]}")',
    "a variable, of a container": "ENV WANDB_API_" + "KEY " + _HEX[:40],
    "a variable, of a cluster": "- name: WANDB_API_" + f"KEY\n  value: {_HEX[:40]}",
    "an option": "--wandb_" + "key " + _HEX[:40],
    "AWS, on a command line": "aws configure set aws_secret_" + "access_key " + _LETTERS[:40],
    "a login, in a header": "Authorization: Basic " + _LETTERS[:40],
    "a login of git": "https://ada:" + _LETTERS[:20] + "@git.acme.org",
    "a variable": "MISTRAL_API_" + "KEY=" + _LETTERS[:32],
    "a key of JSON": '"api_' + 'key": "' + _LETTERS[:32] + '"',
    "a header": "Authorization: Bea" + "rer " + _LETTERS[:40],
    "GitLab, of an agent": "gl" + "agent-" + _LETTERS[:50],
    "Slack, of a browser": "xo" + "xc-" + _HEX[:40],
    "Stripe, signing": "wh" + "sec_" + _LETTERS[:32],
    "Tencent": "AK" + "ID" + _LETTERS[:32],
    "Baidu": "bce-" + "v3/ALTAK-" + _LETTERS[:21] + "/" + _HEX[:40],
    "Z.ai": _HEX[:32] + "." + _LETTERS[:16],
    "ModelScope": "ms" + "-01234567-89ab-cdef-0123-456789abcdef",
    "Modal": "a" + "s-" + _LETTERS[:22],
    "Jina": "ji" + "na_" + _LETTERS[:60],
    "Langfuse": "sk-" + "lf-01234567-89ab-cdef-0123-456789abcdef",
    "Neptune": base64.b64encode(
        b'{"api_address":"https://app.neptune.ai","api_' + b'key":"' + b"0" * 40
    ).decode(),
    "Lambda Cloud": "secret" + "_ada_" + _HEX[:32] + "." + _LETTERS[:32],
    "Notion, before": "secret" + "_" + _LETTERS[:43],
    "Google, for an hour": "ya" + "29." + _LETTERS * 2,
    "Google, for ever": "1/" + "/0" + _LETTERS[:60],
    "Azure AI": _LETTERS[:52] + "JQ" + "QJ99" + _LETTERS[:26],
    "Airtable": "pa" + "t" + _LETTERS[:14] + "." + _HEX * 4,
    "Dropbox": "s" + "l." + (_LETTERS * 3)[:140],
    "Mapbox": "s" + "k.eyJ" + _LETTERS[:60] + "." + _LETTERS[:22],
    "Mailchimp": _HEX[:32] + "-us" + "12",
    "Tailscale": "ts" + "key-auth-" + _LETTERS[:12] + "-" + _LETTERS[:32],
    "Vercel": "vc" + "p_" + _LETTERS[:56],
    "crates.io": "ci" + "o" + _LETTERS[:32],
    "Facebook": "EA" + "AG" + (_LETTERS * 3)[:120].replace("-", "x").replace("_", "y"),
    "Kaggle's file": '{"username":"ada","k' + 'ey":"' + _HEX[:32] + '"}',
    "AWS, as JSON": '"SecretAccess' + 'Key": "' + _LETTERS[:40] + '"',
    "a login of Docker": '"auth": "' + _LETTERS[:40] + '=="',
    "a variable of the Hub's client": "HUGGING_FACE_HUB_" + "TOKEN=" + _LETTERS[:40],
    "a password, of a variable": "DB_PASS" + "WORD=Tr0ub4dor&3",
    "a password, in quotes": "connect(pass" + 'word="Tr0ub4dor&3")',
    "a cache without a user": "redis://:" + _LETTERS[:14] + "@cache.acme.org/0",
    "an SSH key without its lines": base64.b64encode(
        b"openssh-" + b"key-v1\0\0\0\0" + bytes(range(90))
    ).decode(),
    "a database": "postgres://ada:" + _LETTERS[:14] + "@db.acme.org/x",
}


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_is_seen_and_not_repeated(what: str) -> None:
    report = validated(lora_files() | CARD | {"notes.md": _token(SECRETS[what])})
    (found,) = {f.message: f for f in report.findings if f.code == "SC002"}.values()
    assert SECRETS[what][-12:] not in found.message


_CALL = 'wandb.login(key="' + _HEX[:40] + '")'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.sh", "export WANDB_API_" + f"KEY={_HEX[:40]}"),
        ("train.log", "wandb_api_" + f"key: {_HEX[:40]}"),
        ("notes.txt", _CALL),
        ("train.py", _CALL),
        ("train.ipynb", json.dumps({"cells": [{"source": [_CALL]}]})),
        ("train.json", json.dumps({"cells": json.dumps({"source": [_CALL]})})),
    ],
)
def test_what_is_no_token_by_itself_is_seen_in_scripts_and_logs(name: str, content: str) -> None:
    assert _found(lora_files() | {name: f"{content}\n".encode()})["SC002"] is Severity.ERROR


#: Ways to write a token that a reader has back at once.
SPELT: dict[str, dict[str, bytes]] = {
    "two bytes, no mark": {"notes.txt": _token(_HF).decode().encode("utf-16-le")},
    "two bytes, the other end first": {"notes.txt": _token(_HF).decode().encode("utf-16-be")},
    "four bytes": {"notes.txt": _token(_HF).decode().encode("utf-32")},
    "HTML": {"notes.md": _token(_HF.replace("_", "&#95;"))},
    "HTML, by sixteen": {"notes.md": _token(_HF.replace("_", "&#x5f;"))},
    "an address": {"notes.md": _token(_HF.replace("_", "%5F"))},
    "Markdown": {"notes.md": _token(_HF.replace("_", "\\_"))},
    "YAML": {"notes.yaml": _token(_HF.replace("_", "\\x5f"))},
    "nothing between": {"notes.md": _token(_HF.replace("_", "_\u200b"))},
    "a name": {f"{_HF}.md": b"x\n"},
    "a directory's name": {f"{_HF}/a.md": b"x\n"},
    "a model of another program": {"model.gguf": b"GGUF\3\0\0\0\x25\0\0\0" + _HF.encode()},
    "a tensor's name": {"x.safetensors": tensors([*LORA_SPECS, TensorSpec(_HF, "F32", (1,))])},
}


@pytest.mark.parametrize("how", SPELT)
def test_a_token_is_seen_however_it_is_written(how: str) -> None:
    assert _found(lora_files() | SPELT[how])["SC002"] is Severity.ERROR


@pytest.mark.parametrize("text", [
    "export OPENAI_API_KEY=your-key-here", 'api_key="EMPTY"', 'API_KEY="sk-' + "x" * 32 + '"',
    "Authorization: Bearer $TOKEN", "Authorization: Bearer YOUR_API_KEY_GOES_HERE_PLEASE",
    "postgres://user:password@db.acme.org/x", "https://user:hunter2hunter@example.com",
    "commit 0123456789abcdef0123456789abcdef01234567", "SK" + "0" * 32, "key-" + "0" * 32,
    "api_key = os.environ['OPENAI_API_KEY']", "hf_token: ${{ secrets.HF_TOKEN }}",
    '"access_token": "{{ access_token_of_the_user }}"', "secret_key=get_the_secret_key_of_2024()",
    "MTE5ODYyMjQ4MzQ3MTkyNTI0OA.GAb1Cd.short", "sig=" + "a" * 43 + "=", "fw_" + "abcdefgh" * 3,
    base64.b64encode(b"A sentence of words that nobody would call a secret at all. " * 3).decode(),
    base64.b64encode(bytes(range(256)) * 64).decode(), "machine learning login password example",
    "sha256:" + _HEX * 2, "fw_attn_output_projection_bias", "wandb.login()",
    "hf_oauth_example_" + "x" * 30, "machine x login y password your-password",
    "machine example.com\nlogin daniel\npassword qwerty",
    json.dumps({"eos_token": "<|end_of_text|>", "model_max_length": 10**30}),
    'password="password1"', "PASSWORD=$PASSWORD_2024", "the password: 12345678 or another",
    'password = getpass("Password 1: ")', '"auth": "the_name_of_a_method_in_lower_letters"',
    "as-soon-as-possible-at-the-latest", "pa-rt-of-a-model-whose-name-is-very-long-indeed-so",
    "0123456789abcdef0123456789abcdef.safetensors", "secret_" + "a" * 43,
    "connect(session_auth=s3_disable_express_session_auth)",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
])  # fmt: skip
def test_what_stands_for_a_secret_is_none(text: str) -> None:
    assert "SC002" not in _found(lora_files() | {"notes.md": text.encode()})


@pytest.mark.parametrize("name", [
    "weights.safetensors", ".model.safetensors", "consolidated-00001-of-00002.safetensors",
    "a/b/c/model.safetensors", "adapters.safetensors.bak", "backup.st",
])  # fmt: skip
def test_other_weights_are_seen_under_any_name(name: str) -> None:
    assert "FS013" in _found(lora_files() | {name: tensors(LORA_SPECS)})
    assert "FS013" in _found(fused_files() | {name: tensors(LORA_SPECS)})


@pytest.mark.parametrize("text", [
    "version https://git-lfs.github.com/spec/v1\noid sha256:", "# xet version 0\nfilesize = 9\n",
    "version https://hawser.github.com/spec/v1\noid sha256:", "/annex/objects/SHA256E-s9--ab.model",
])  # fmt: skip
def test_a_pointer_is_no_file(text: str) -> None:
    assert "FS009" in _found(fused_files() | {"tokenizer.model": text.encode()})

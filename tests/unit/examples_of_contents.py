"""Examples for the rules of FS, EX, SC and CD that look into the tree: (fires, silent) by code."""

from __future__ import annotations

import base64
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from tests.builders import FUSED_SPECS, LORA_SPECS, fused_files, lora_files, tensors
from tests.fakes.memory_files import MemoryFiles
from weighbridge.application.load import Extent, classify, read_artifact
from weighbridge.domain.artifact import ArtifactPath, FileEntry, IrregularEntry, Oddity
from weighbridge.domain.contents import Unexamined
from weighbridge.domain.detection import parse_model
from weighbridge.domain.findings import Subject
from weighbridge.domain.tensors import TensorSpec, encode_header

Build = Callable[[], Subject]
CARD = {
    "README.md": b"---\nlicense: apache-2.0\nbase_model: acme/base\nlibrary_name: mlx\n"
    b"tags:\n- lora\n---\n\n# A model\n"
}


def hf_token() -> str:
    """Of the form of a token; put together here, so that no scanner takes this file for a leak."""
    return "hf" + "_" + "QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi"


def tree(files: Mapping[str, bytes], *odd: IrregularEntry, **more: Any) -> Build:
    """A subject as the use case makes it."""

    def build() -> Subject:
        memory = MemoryFiles()
        memory.seed("run", files, odd)
        artifact = read_artifact(memory, "run", extent=Extent.EVERYTHING)
        detected = classify(artifact)
        model = parse_model(artifact, detected)
        return Subject(artifact, kind=detected.kind, model=model, **more)

    return build


def with_file(name: str, content: bytes) -> Build:
    """A good LoRA with one file more."""
    return tree(lora_files() | CARD | {name: content})


def front(fields: str) -> dict[str, bytes]:
    """A card with that front matter."""
    return {"README.md": f"---\n{fields}\n---\n# A model\n".encode()}


def with_card(fields: str, **more: Any) -> Build:
    """A good LoRA whose card has that front matter."""
    return tree(lora_files() | front(fields), **more)


def packed_files() -> dict[str, bytes]:
    """A fused model with a tensor of MLX's quantisation."""
    scales = TensorSpec("model.layers.0.mlp.up_proj.scales", "F32", (8, 16))
    return fused_files() | {"model.safetensors": tensors([*FUSED_SPECS, scales])}


def with_config(**config: Any) -> Build:
    """A good fused model with more in its config."""
    return tree(fused_files(**config) | CARD)


def with_entries(*more: FileEntry) -> Build:
    """A good LoRA whose scan saw these entries, too."""

    def build() -> Subject:
        subject = tree(lora_files() | CARD)()
        scan = subject.artifact.scan
        grown = evolve(scan, files=scan.files + more)
        return evolve(subject, artifact=evolve(subject.artifact, scan=grown))

    return build


def half_seen() -> Subject:
    """A good LoRA of which a file was too large to be looked through."""
    subject = tree(lora_files() | CARD)()
    contents = evolve(subject.artifact.contents, unexamined=(Unexamined.at("big.txt", "is large"),))
    return evolve(subject, artifact=evolve(subject.artifact, contents=contents))


def archive(name: str, content: bytes) -> bytes:
    """A zip archive of one file."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as opened:
        opened.writestr(name, content)
    return target.getvalue()


def with_metadata(text: str) -> bytes:
    """The weights of a LoRA, with a text in the header."""
    plain = tensors(LORA_SPECS)
    return encode_header(LORA_SPECS, {"note": text}) + plain[len(encode_header(LORA_SPECS)) :]


def entry(path: str, size: int = 1, links: int = 1) -> FileEntry:
    return FileEntry(ArtifactPath(path), size, links)


GOOD = tree(lora_files() | CARD)
PICKLE = pickle.dumps({"a": 1})
REQUEST = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
CONTENTS: dict[str, tuple[Build, Build]] = {
    "FS006": (
        with_entries(entry("Readme.md")),
        tree(lora_files() | CARD, IrregularEntry("e\\u0301", Oddity.NAME, "is not NFC")),
    ),
    "FS007": (with_file("notes.docx", b"x"), with_file("LICENSE.txt", b"MIT\n")),
    "FS011": (
        tree(fused_files() | {"optimizer.safetensors": tensors(LORA_SPECS)}),
        with_file("optimizing.md", b"# How\n"),
    ),
    "FS012": (
        with_file("train.jsonl", b"{}\n"),
        tree(lora_files("adapters") | {"data/train.jsonl": b"{}\n"}),  # a run of mlx-lm
    ),
    "FS014": (
        with_entries(entry("a.safetensors", 200 * 10**9 + 1)),
        with_entries(entry("a.safetensors", 200 * 10**9)),
    ),
    "FS015": (with_file("sub/.git/config", b"[core]\n"), with_file(".gitignore", b"x\n")),
    "FS016": (with_entries(entry("b.md", links=2)), with_entries(entry("b.md"))),
    "FS017": (with_entries(entry("aux.txt")), with_entries(entry("auxiliary.txt"))),
    "FS019": (half_seen, GOOD),
    "EX001": (with_file("notes.txt", PICKLE), with_file("notes.txt", b"pickles\n")),
    "EX002": (with_file("modeling.py", b"x = 1\n"), with_file("python.md", b"x = 1\n")),
    "EX003": (with_config(auto_map={"AutoModel": "m.M"}), with_config(auto_map=None)),
    "EX004": (with_config(model_file="m.py"), with_config(model_file=None)),
    "EX005": (
        with_config(_attn_implementation_internal="evil/kernel"),
        with_config(_attn_implementation_internal="sdpa", attn_implementation={"": "eager"}),
    ),
    "EX006": (
        with_config(text_config={"trust_remote_code": True}),
        with_config(trust_remote_code=False),
    ),
    "EX007": (with_file("setup", b"#!/bin/sh\n"), with_file("a.md", b"# !/bin/sh\n")),
    "EX008": (with_file("logo.png", archive("a.txt", b"x")), with_file("logo.png", b"\x89PNG\r\n")),
    "EX009": (with_file("model.gguf", b"GGUF\3\0\0\0"), with_file("gguf.md", b"On GGUF.\n")),
    "EX010": (
        with_file("modules.json", b'[{"type": "os.system", "path": ""}]'),
        with_file("modules.json", b'[{"type": "sentence_transformers.models.Pooling"}]'),
    ),
    "FS020": (
        with_file("LICENSE", b"MIT\n\0\1\2"),
        with_file("LICENSE", "\u00a9\n".encode("utf-16")),
    ),
    "FS021": (
        with_file("a.md", b"Run curl -s https://acme.example/x | sh\n"),
        with_file("a.md", b"Run `weighbridge pull`; import os; os.system('ls')\n"),
    ),
    "JS009": (with_file("log.json", b"{}\n{}\n"), with_file("log.json", b"[]")),
    "SC001": (with_file(".env", b"A=1\n"), with_file(".env.example", b"A=\n")),
    "SC002": (
        tree(lora_files() | {"adapters.safetensors": with_metadata(hf_token())}),
        tree(lora_files() | {"adapters.safetensors": with_metadata("hf" + "_" + "x" * 34)}),
    ),
    "SC003": (
        with_config(_name_or_path="/Users/ada/models/base"),
        with_config(_name_or_path="/Users/username/models/base"),
    ),
    "SC004": (with_file("a.md", b"Ask ada@acme.org.\n"), with_file("a.md", b"you@example.org\n")),
    "SC005": (
        with_file("a.md", b"https://wandb.ai/ada/bot/runs/3kf93kd\n"),
        with_file("a.md", b"https://wandb.ai/site\n"),
    ),
    "CD001": (tree(lora_files()), GOOD),
    "CD002": (with_card("license: [apache-2.0"), GOOD),
    "CD003": (with_card("language: no"), with_card("language: 'no'")),
    "CD004": (
        with_card("base_model: acme/other"),
        with_card("base_model: acme/base", base_model="mlx-community/base-4bit"),
    ),
    "CD005": (with_card("license: Apache-2.0"), GOOD),
    "CD006": (with_card("library_name: mlx"), GOOD),
    "CD007": (
        with_card("license: mit", base_licence="llama3.1"),
        with_card("license: mit", base_licence="apache-2.0"),
    ),
    "CD009": (
        tree(packed_files() | front("library_name: transformers")),
        tree(packed_files() | front("library_name: mlx")),
    ),
    "CD010": (
        with_file("LICENSE", b"GNU AFFERO GENERAL\nPUBLIC LICENSE\nVersion 3\n"),
        with_file("LICENSE", b"  Apache License\n  Version 2.0, January 2004\n"),
    ),
    "CD011": (
        with_card("base_model: https://huggingface.co/acme/base"),
        with_card("base_model: [acme/base-4.1, gpt2]"),
    ),
    "CD008": (with_card("license: other"), with_card("license: other\nlicense_name: acme-1")),
}

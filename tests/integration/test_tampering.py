"""A signed release on every registry, and somebody who may write there but has not its key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import pytest
from attrs import frozen

import weighbridge
from tests.builders import lora_files, write
from tests.contracts.registry import Subject
from tests.docker_registry import DockerRegistry
from tests.hub_server import HubServer
from tests.integration.test_releases import keys
from tests.s3_server import bucket_server
from weighbridge.adapters.directory_registry import DirectoryRegistry
from weighbridge.adapters.hub import HubRegistry
from weighbridge.adapters.key_signatures import KeySignatures
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.adapters.s3_registry import S3Registry
from weighbridge.domain.artifact import ArtifactPath, Digest, ManifestEntry
from weighbridge.domain.publication import SERVER_OWNED, HubRepo, LocalRegistry, OciRepo, S3Prefix
from weighbridge.domain.signature import render_bundle, render_payload
from weighbridge.entrypoints.settings import Settings

WEIGHTS, STATEMENT, SIGNATURE = "adapter_model.safetensors", "weighbridge.json", "model.sig"
Content = dict[str, bytes]


@frozen
class Shop:
    """Where a release is, and how it is reached."""

    subject: Subject
    settings: Settings

    def content(self) -> Content:
        """All of its files."""
        place = self.subject.destination
        head = self.subject.registry.head(place)
        assert head is not None
        found = {}
        for entry in head.manifest.entries:
            if entry.path.text not in SERVER_OWNED:
                with self.subject.registry.open(place, head.revision, entry.path) as stream:
                    found[entry.path.text] = stream.read()
        return found


def _directory(room: Path, _stack: ExitStack, _patch: pytest.MonkeyPatch) -> Shop:
    place = LocalRegistry(str(room / "shelf"), "acme/bot")
    return Shop(Subject(DirectoryRegistry(), place), Settings())


def _hub(_room: Path, stack: ExitStack, patch: pytest.MonkeyPatch) -> Shop:
    patch.setenv("NO_PROXY", "127.0.0.1,localhost")
    hub = stack.enter_context(HubServer(xet=False))
    registry = HubRegistry(hub.url, hub.token)
    return Shop(Subject(registry, HubRepo("acme/bot")), Settings(endpoint=hub.url, token=hub.token))


def _oci(room: Path, stack: ExitStack, _patch: pytest.MonkeyPatch) -> Shop:
    oci = stack.enter_context(DockerRegistry(room / "oci"))
    registry = OciRegistry(oci.logins)
    return Shop(
        Subject(registry, OciRepo(oci.host, "acme/bot")), Settings(registry_logins=oci.logins)
    )


def _s3(_room: Path, stack: ExitStack, patch: pytest.MonkeyPatch) -> Shop:
    bucket = stack.enter_context(bucket_server(patch))
    return Shop(Subject(S3Registry(), S3Prefix(bucket, "acme/bot")), Settings())


@pytest.fixture(params=[_directory, _hub, _oci, _s3], ids=lambda make: make.__name__[1:])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield request.param(tmp_path, stack, monkeypatch)


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def _restated(files: Content) -> Content:
    """With a statement that fits: whoever may write can write that, too."""
    said = json.loads(files[STATEMENT])
    for subject in said["subject"]:
        subject["digest"]["sha256"] = sha256(files[subject["name"]]).hexdigest()
    return files | {STATEMENT: json.dumps(said).encode()}


def _signed(files: Content, key: str) -> Content:
    """With a signature that fits, by another key."""
    entries = [
        ManifestEntry(ArtifactPath(n), len(c), (Digest("sha256", sha256(c).hexdigest()),))
        for n, c in files.items()
        if n != SIGNATURE
    ]
    bundle = render_bundle(KeySignatures().sign(render_payload("acme/bot", entries), key))
    return files | {SIGNATURE: bundle}


def _without(files: Content, name: str) -> Content:
    return {n: c for n, c in files.items() if n != name}


#: What is done to the files, what is said without the key, and what with it.
TAMPERED: dict[str, tuple[Callable[[Content, str], Content], str, str]] = {
    "a byte": (
        lambda f, _: f | {WEIGHTS: _flipped(f[WEIGHTS])},
        f"{WEIGHTS}: is sha256:", f"{WEIGHTS}: is not what was signed",
    ),
    "a file less": (
        lambda f, _: _without(f, "README.md"),
        "README.md: is missing", "README.md: is missing",
    ),
    "a file more": (
        lambda f, _: f | {"evil.py": b"1"},
        "evil.py: is not in the statement", "evil.py: was not signed",
    ),
    "another name": (
        lambda f, _: _without(f, WEIGHTS) | {"adapter_model.bin": f[WEIGHTS]},
        "adapter_model.bin: is not in the statement", f"{WEIGHTS}: is missing",
    ),
    "no statement": (
        lambda f, _: _without(f, STATEMENT),
        "there is no statement", f"{STATEMENT}: is missing",
    ),
    "another statement": (
        lambda f, _: _restated(f | {WEIGHTS: _flipped(f[WEIGHTS])}),
        "", f"{WEIGHTS}: is not what was signed",
    ),
    "no signature": (lambda f, _: _without(f, SIGNATURE), "", "there is no signature"),
    "another signer": (
        lambda f, key: _signed(_restated(f | {WEIGHTS: _flipped(f[WEIGHTS])}), key),
        "", "it was made with another key",
    ),
}  # fmt: skip


def test_what_others_did_to_a_release_is_seen(shop: Shop, tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    (tmp_path / "other").mkdir()
    theirs, _ = keys(tmp_path / "other")
    place = shop.subject.destination
    run = write(tmp_path / "run", lora_files("adapters"))
    weighbridge.publish(run, place, sign_key=private, settings=shop.settings)
    verdict = weighbridge.verify_release(place, key=public, settings=shop.settings)
    assert verdict.sound and verdict.signature == "valid"
    good = shop.content()
    for what, (tamper, without_key, with_key) in TAMPERED.items():
        shop.subject.publish(tamper(good, str(theirs)))
        plain = weighbridge.verify_release(place, settings=shop.settings)
        strict = weighbridge.verify_release(place, key=public, settings=shop.settings)
        assert plain.sound is (without_key == ""), (what, plain.problems)
        assert any(without_key in each for each in plain.problems) or plain.sound, what
        assert any(with_key in each for each in strict.problems), (what, strict.problems)
        # Putting the release back makes it sound again.
        shop.subject.publish(good)
    assert weighbridge.verify_release(place, key=public, settings=shop.settings).sound

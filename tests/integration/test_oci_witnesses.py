"""What ORAS and skopeo make of an artifact of ours, and we of theirs, by the real registry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import weighbridge
from tests.builders import lora_files, write
from tests.contracts.registry import FIRST
from tests.docker_registry import DockerRegistry
from tests.integration.test_oci_registry import address, on, skopeo
from tests.integration.test_releases import keys
from weighbridge.domain.errors import RegistryRejected
from weighbridge.domain.publication import OciRepo, parse_destination


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def oras() -> Any:
    import oras.client

    return oras.client.OrasClient(insecure=True)


def files_below(folder: Path) -> Mapping[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_oras_pulls_what_was_published(registry: DockerRegistry, tmp_path: Path) -> None:
    place = on(registry.host)
    receipt = place.publish(FIRST)
    assert isinstance(place.destination, OciRepo)
    where = str(place.destination).removeprefix("oci://")
    client, out = oras(), tmp_path / "out"
    for name in FIRST:  # oras-py makes no directories
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    client.pull(target=where, outdir=str(out))
    assert files_below(out) == FIRST
    manifest = client.get_manifest(where)
    assert {
        layer["annotations"]["org.opencontainers.image.title"]: layer["digest"]
        for layer in manifest["layers"]
    } == {n: f"sha256:{hashlib.sha256(content).hexdigest()}" for n, content in FIRST.items()}
    by_digest = client.get_manifest(f"{where.rpartition(':')[0]}@{receipt.revision}")
    assert by_digest == manifest


def test_what_oras_pushed_is_pulled(
    registry: DockerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls plain files tar archives, and tells those that are by a mark of its own."""
    folder = tmp_path / "files"
    write(folder, {"config.json": b"{}", "w.safetensors": b"weights"})
    monkeypatch.chdir(folder)
    where = f"{registry.host}/acme/{uuid4().hex}"
    oras().push(target=f"{where}:v1", files=["config.json", "w.safetensors"])
    weighbridge.pull(f"oci://{where}:v1", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"config.json": b"{}", "w.safetensors": b"weights"}
    (folder / "sub").mkdir()
    (folder / "sub" / "x.json").write_bytes(b"{}")
    oras().push(target=f"{where}:v2", files=["sub"])
    with pytest.raises(RegistryRejected, match="packed"):
        weighbridge.pull(f"oci://{where}:v2", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_signed_release_goes_through_skopeo_s_hands(
    registry: DockerRegistry, tmp_path: Path
) -> None:
    """From the registry to a layout and back under another name, it is the same release."""
    private, public = keys(tmp_path)
    run = write(tmp_path / "run", lora_files())
    first, second = (f"oci://{registry.host}/acme/{uuid4().hex}:v1" for _ in range(2))
    done = weighbridge.publish(run, first, base_model="acme/base", sign_key=private)
    assert done.receipt is not None
    policy, layout = tmp_path / "policy.json", f"oci:{tmp_path / 'layout'}:v1"
    there, back = (parse_destination(text) for text in (first, second))
    assert isinstance(there, OciRepo) and isinstance(back, OciRepo)
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", address(there), layout,
           policy=policy)  # fmt: skip
    skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", layout, address(back),
           policy=policy)  # fmt: skip
    verdict = weighbridge.verify_release(second, key=public)
    assert verdict.sound and verdict.signature == "valid"
    pulled = weighbridge.pull(second, tmp_path / "out")
    assert pulled.revision == done.receipt.revision
    assert weighbridge.verify_release(tmp_path / "out", key=public).signature == "valid"
    assert weighbridge.copy(first, second).plan.is_noop


def test_the_manifest_is_one_of_the_modelpack_specification(
    registry: DockerRegistry, tmp_path: Path
) -> None:
    """Field by field: github.com/modelpack/model-spec, docs/spec.md and docs/config.md."""
    place = on(registry.host)
    place.publish({**FIRST, "modeling.py": b"pass\n", "LICENSE": b"MIT"})
    assert isinstance(place.destination, OciRepo)
    where, policy = address(place.destination), tmp_path / "policy.json"
    manifest = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", where, policy=policy))
    assert set(manifest) == {"schemaVersion", "mediaType", "artifactType", "config", "layers"}
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    kinds = {
        layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"].split(".model.")[1]
        for layer in manifest["layers"]
    }
    assert kinds["model.safetensors"] == "weight.v1.raw" and kinds["README.md"] == "doc.v1.raw"
    assert kinds["config.json"] == "weight.config.v1.raw" and kinds["LICENSE"] == "doc.v1.raw"
    assert kinds["modeling.py"] == "code.v1.raw"
    config = json.loads(
        skopeo("inspect", "--config", "--raw", "--tls-verify=false", where, policy=policy)
    )
    assert set(config) == {"descriptor", "modelfs", "config"}
    assert config["modelfs"] == {
        "type": "layers",
        "diffIds": [layer["digest"] for layer in manifest["layers"]],
    }
    assert config["config"] == {"format": "safetensors"} and config["descriptor"]["name"]

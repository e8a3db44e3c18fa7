"""Pulling from a registry that means no good, or that holds what other tools made."""

from __future__ import annotations

import hashlib
import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

import weighbridge
from weighbridge.domain import modelpack
from weighbridge.domain.errors import (
    ContentMismatch,
    RegistryRejected,
    StorageError,
    WeighbridgeError,
)

RAW = "application/vnd.cncf.model.weight.v1.raw"
FILEPATH, TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"


@define
class Registry:
    """Serves one manifest, and blobs by digest; a number of bytes is that many, and more."""

    manifest: bytes = b"{}"
    kind: str = modelpack.MANIFEST
    blobs: dict[str, bytes] = field(factory=dict)
    endless: set[str] = field(factory=set)
    sent: int = 0
    asked: list[str] = field(factory=list)
    host: str = ""

    def layer(self, path: str, content: bytes = b"x", **changes: Any) -> dict[str, Any]:
        """A layer for a file of that content, which is there to be had."""
        digest = modelpack.digest_of(content)
        self.blobs[digest] = content
        layer = {"mediaType": RAW, "digest": digest, "size": len(content)}
        return layer | {"annotations": {FILEPATH: path}} | changes

    def holds(self, *layers: object, **changes: Any) -> None:
        """Have a manifest with these layers."""
        document = {"schemaVersion": 2, "mediaType": modelpack.MANIFEST, "config": {},
                    "artifactType": modelpack.MODEL, "layers": list(layers)}  # fmt: skip
        self.manifest = json.dumps(document | changes).encode()

    def pull(self, folder: Path) -> Any:
        """Pull it to a directory."""
        return weighbridge.pull(f"oci://{self.host}/acme/m:v1", folder)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr("weighbridge.adapters.oci_registry.patience.pause", lambda _: None)
    made = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            if "/manifests/" in self.path:
                self._begin(made.kind, len(made.manifest))
                self.wfile.write(made.manifest)
                return
            digest = self.path.rpartition("/")[2]
            if digest in made.endless:
                self._begin("application/octet-stream", None)
                self._forever()
            elif digest in made.blobs:
                self._begin("application/octet-stream", len(made.blobs[digest]))
                self.wfile.write(made.blobs[digest])
            else:
                self.send_error(404)

        def _begin(self, kind: str, length: int | None) -> None:
            self.send_response(206 if self.headers.get("Range") else 200)
            self.send_header("Content-Type", kind)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def _forever(self) -> None:
            try:
                while made.sent < 2 << 30:
                    made.sent += self.wfile.write(bytes(1 << 20))
            except OSError:
                return

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    made.host = f"127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


def refused(registry: Registry, folder: Path, kind: type[Exception], words: str) -> None:
    """What is refused leaves nothing, and has a reason."""
    with pytest.raises(kind, match=words) as failed:
        registry.pull(folder / "out")
    assert isinstance(failed.value, WeighbridgeError)
    assert not (folder / "out").exists() and not list(folder.iterdir())


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/x", "a//b", "./a", "a/", "", ".", "a\\b", "C:x", "a\0b", "x\n",
     "\ud800", "e\u0301", "a" * 300],
)  # fmt: skip
def test_paths_that_lead_elsewhere(registry: Registry, tmp_path: Path, path: str) -> None:
    registry.holds(registry.layer("a.json"), registry.layer(path))
    refused(registry, tmp_path, RegistryRejected, "path|names no file|surrogate")


def test_one_name_for_two_files(registry: Registry, tmp_path: Path) -> None:
    registry.holds(registry.layer("a.json"), registry.layer("a.json", b"y"))
    refused(registry, tmp_path, RegistryRejected, "twice")
    registry.holds(registry.layer("a/b/c.json"), registry.layer("a/b", b"y"))
    refused(registry, tmp_path, RegistryRejected, "a/b as a file and as a directory")


@pytest.mark.parametrize("annotations", [None, [], "x", 3, {}, {FILEPATH: 3}, {TITLE: None}])
def test_layers_without_a_name(registry: Registry, tmp_path: Path, annotations: object) -> None:
    registry.holds(registry.layer("a.json", annotations=annotations))
    refused(registry, tmp_path, RegistryRejected, "names no file")


@pytest.mark.parametrize("size", [-1, 1 << 63, 10**30, 1.0, True, "1", None])
def test_sizes_that_are_none(registry: Registry, tmp_path: Path, size: object) -> None:
    registry.holds(registry.layer("a.json", size=size))
    refused(registry, tmp_path, RegistryRejected, "no size")


def test_a_size_that_no_disk_has(registry: Registry, tmp_path: Path) -> None:
    registry.holds(registry.layer("a.json", size=1 << 61))
    refused(registry, tmp_path, StorageError, "bytes are to come")


def test_other_content_than_announced(registry: Registry, tmp_path: Path) -> None:
    layer = registry.layer("a.json", b"right")
    registry.holds(registry.layer("first.json"), layer)
    registry.blobs[layer["digest"]] = b"wrong"
    refused(registry, tmp_path, ContentMismatch, "a.json")
    registry.holds(registry.layer("a.json", b"five5", size=4))
    refused(registry, tmp_path, ContentMismatch, "a.json")
    registry.holds(registry.layer("a.json", b"five5", size=6))
    refused(registry, tmp_path, ContentMismatch, "a.json")


def test_a_file_that_never_ends(registry: Registry, tmp_path: Path) -> None:
    layer = registry.layer("a.json", b"small")
    registry.endless.add(layer["digest"])
    registry.holds(layer)
    refused(registry, tmp_path, ContentMismatch, "a.json")
    assert registry.sent < 100 << 20


@pytest.mark.parametrize("size", [(4 << 20) + 1, 64 << 20])
def test_a_manifest_that_is_too_large(registry: Registry, tmp_path: Path, size: int) -> None:
    registry.holds(registry.layer("a.json"), padding="x" * size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(registry, tmp_path, RegistryRejected, "manifest")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB


def test_as_many_files_as_a_manifest_can_name(registry: Registry, tmp_path: Path) -> None:
    """It is asked for once, and searched in no time."""
    registry.holds(*(registry.layer(f"{n:04}.json") for n in range(500)))
    began = time.monotonic()
    registry.pull(tmp_path / "out")
    assert time.monotonic() - began < 30
    assert len(list((tmp_path / "out").iterdir())) == 500
    assert len([path for path in registry.asked if "/manifests/" in path]) <= 3


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"layers": 3}', id="a number"),
        pytest.param(b'{"layers": [3]}', id="numbers"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"layers": [], "layers": []}', id="twice"),
        pytest.param(b'{"a": ' * 10_000 + b"1" + b"}" * 10_000, id="deep and whole"),
        pytest.param(b'{"layers": [{"size": ' + b"9" * 5_000 + b"}]}", id="a long number"),
    ],
)
def test_what_is_no_manifest(registry: Registry, tmp_path: Path, content: bytes) -> None:
    registry.manifest = content
    refused(registry, tmp_path, RegistryRejected, "manifest|model")


def test_an_index_whose_model_comes_as_another(registry: Registry, tmp_path: Path) -> None:
    registry.kind = "application/vnd.oci.image.index.v1+json"
    each = {"mediaType": modelpack.MANIFEST, "digest": "sha256:" + "0" * 64, "size": 3}
    registry.manifest = json.dumps({"schemaVersion": 2, "manifests": [each]}).encode()
    refused(registry, tmp_path, RegistryRejected, "came as other bytes")


# --- what other tools make -----------------------------------------------------------------------


def of_modctl(registry: Registry, form: str) -> list[dict[str, Any]]:
    """As modctl and KitOps write ModelPacks: raw, or each file in an archive."""
    metadata = json.dumps({"name": "a.json", "mode": 420, "uid": 0, "gid": 0, "size": 1})
    named = {FILEPATH: "a.json", "org.cncf.model.file.metadata+json": metadata,
             "org.cncf.model.file.mediatype.untested": "true"}  # fmt: skip
    kind = f"application/vnd.cncf.model.weight.config.v1.{form}"
    return [registry.layer("", annotations=named, mediaType=kind)]


def of_an_older_modctl(registry: Registry, form: str) -> list[dict[str, Any]]:
    """Before the specification went from CNAI to CNCF."""
    kind = f"application/vnd.cnai.model.weight.v1.{form}"
    named = {"org.cnai.model.filepath": "a.json"}
    return [registry.layer("", annotations=named, mediaType=kind)]


def of_kitops(registry: Registry, form: str) -> list[dict[str, Any]]:
    """KitOps' own kind: directories in archives, which have no names here."""
    kind = f"application/vnd.kitops.modelkit.model.v1.{form}"
    return [registry.layer("", annotations=None, mediaType=kind)]


@pytest.mark.parametrize("maker", [of_modctl, of_an_older_modctl])
def test_raw_models_of_others_are_pulled(
    registry: Registry, tmp_path: Path, maker: Callable[[Registry, str], list[dict[str, Any]]]
) -> None:
    registry.holds(*maker(registry, "raw"))
    done = registry.pull(tmp_path / "out")
    assert (tmp_path / "out" / "a.json").read_bytes() == b"x"
    assert done.entries[0].digest("sha256").value == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("form", ["tar", "tar+gzip", "tar+zstd"])
@pytest.mark.parametrize("maker", [of_modctl, of_an_older_modctl, of_kitops])
def test_archives_that_are_none_are_refused(
    registry: Registry,
    tmp_path: Path,
    form: str,
    maker: Callable[[Registry, str], list[dict[str, Any]]],
) -> None:
    registry.holds(*maker(registry, form))
    # A single x is no archive of any form.
    refused(registry, tmp_path, RegistryRejected, "is packed as tar\\+zstd|cannot be unpacked")

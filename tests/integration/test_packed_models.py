"""Models that other tools packed in archives: taken apart by a pull, and by nothing else."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import weighbridge
from tests.contracts.registry import FIRST
from tests.docker_registry import DockerRegistry
from tests.integration.test_oci_registry import on
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.application.unpack import _zstd
from weighbridge.domain.errors import (
    ContentMismatch,
    MissingExtra,
    ModelPacked,
    RegistryRejected,
    StorageFull,
    WeighbridgeError,
)
from weighbridge.domain.publication import OciRepo

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CNCF = "application/vnd.cncf.model.weight.v1."
KIT = "application/vnd.kitops.modelkit.model.v1."
FILES = {"config.json": b"{}", "deep/er/w.safetensors": bytes(range(256)) * 9000, "empty": b""}
Change = Callable[[tarfile.TarInfo], object]


def tar(files: Mapping[str, bytes], change: Change = lambda _: None, **how: Any) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", **how) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            change(member)
            archive.addfile(member, io.BytesIO(content) if member.size == len(content) else None)
    return target.getvalue()


def zstd(content: bytes) -> bytes:
    return bytes(_zstd().compress(content))


#: How archives are made smaller.
PACK = {"tar": bytes, "tar+gzip": gzip.compress, "tar+zstd": zstd}


def stored(
    registry: DockerRegistry,
    layers: Iterable[tuple[str, bytes, dict[str, str]]],
    announced: int = 0,
    name: str = "",
) -> OciRepo:
    """A model of layers: their types, contents and annotations. As another tool pushes it."""
    place = OciRepo(registry.host, name or f"acme/{uuid4().hex}", "v1")
    repository = OciRegistry()._repository(place)

    def put(kind: str, content: bytes, annotations: dict[str, str]) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        repository.upload(digest, len(content), lambda: [content])
        size = len(content) + announced
        return {"mediaType": kind, "digest": digest, "size": size, "annotations": annotations}

    config = put("application/vnd.cncf.model.config.v1+json", b"{}", {})
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config | {"size": 2},
        "layers": [put(*layer) for layer in layers],
    }
    repository.put_manifest("v1", json.dumps(document).encode())
    return place


def read(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (CNCF + "tar", tar(FILES)),
        (KIT + "tar", tar({f"./{n}": c for n, c in FILES.items()}, format=tarfile.GNU_FORMAT)),
        (KIT + "tar+gzip", gzip.compress(tar(FILES, format=tarfile.PAX_FORMAT))),
        # In two members, as parallel compressors make them.
        (CNCF + "tar+gzip", gzip.compress(tar(FILES)[:5000]) + gzip.compress(tar(FILES)[5000:])),
        (CNCF + "tar+zstd", zstd(tar(FILES)[:5000]) + zstd(tar(FILES)[5000:])),
        ("application/vnd.docker.ai.dir.tar", tar(FILES)),
    ],
    ids=["tar", "GNU", "pax and gzip", "two members", "zstd", "docker's own"],
)
def test_an_archive_becomes_its_files(
    kind: str, content: bytes, plain: DockerRegistry, tmp_path: Path
) -> None:
    raw = (
        CNCF.replace("weight", "doc") + "raw",
        b"# card",
        {"org.cncf.model.filepath": "README.md"},
    )
    kitfile = ("application/vnd.kitops.modelkit.config.v1+json", b"{}", {})
    place = stored(plain, [raw, kitfile, (kind, content, {"org.cncf.model.filepath": "w"})])
    told: list[tuple[str, int, int]] = []
    done = weighbridge.pull(str(place), tmp_path / "out", progress=lambda *step: told.append(step))
    assert read(tmp_path / "out") == {"README.md": b"# card", **FILES}
    assert {str(e.path): e.digests[0].value for e in done.entries} == {
        name: hashlib.sha256(c).hexdigest() for name, c in read(tmp_path / "out").items()
    }
    assert told[-1] == ("download", len(content) + 6, len(content) + 6)


def test_a_directory_that_oras_packed(plain: DockerRegistry, tmp_path: Path) -> None:
    marks = {"org.opencontainers.image.title": "model", "io.deis.oras.content.unpack": "true"}
    kind = "application/vnd.oci.image.layer.v1.tar+gzip"
    place = stored(plain, [(kind, gzip.compress(tar({"model/a.json": b"[]"})), marks)])
    weighbridge.pull(str(place), tmp_path / "out")
    assert read(tmp_path / "out") == {"model/a.json": b"[]"}


def index(host: str, name: str, tag: str, *members: dict[str, Any]) -> dict[str, Any]:
    """An index, stored as docker does; the answer is what another index would say of it."""
    kind = "application/vnd.oci.image.index.v1+json"
    content = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": members}).encode()
    request = urllib.request.Request(f"http://{host}/v2/{name}/manifests/{tag}", content,
                                     {"Content-Type": kind}, method="PUT")  # fmt: skip
    urllib.request.urlopen(request).close()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def of_docker(plain: DockerRegistry, *layers: tuple[str, bytes], name: str = "") -> dict[str, Any]:
    """A model of Docker's first kind, as an index says it."""
    place = stored(plain, [(f"application/vnd.docker.ai.{k}", c, {}) for k, c in layers], name=name)
    digest = OciRegistry()._repository(place).manifest("v1")
    assert digest is not None
    return {"mediaType": MANIFEST, "digest": digest.digest, "size": len(digest.content),
            "name": place.name}  # fmt: skip


def test_layers_without_names_have_those_of_docker_s_runner(
    plain: DockerRegistry, tmp_path: Path
) -> None:
    shards = [("safetensors", b"one"), ("safetensors", b"two")]
    more = [("license", b"MIT"), ("chat.template.jinja", b"{{ x }}"), ("mmproj", b"p")]
    packed = [("vllm.config.tar", tar({"config.json": b"{}"}))]
    model = of_docker(plain, *shards, *more, *packed)
    weighbridge.pull(f"oci://{plain.host}/{model['name']}:v1", tmp_path / "out")
    assert read(tmp_path / "out") == {
        "model-00001-of-00002.safetensors": b"one", "model-00002-of-00002.safetensors": b"two",
        "LICENSE": b"MIT", "template.jinja": b"{{ x }}", "model.mmproj": b"p",
        "config.json": b"{}",
    }  # fmt: skip
    alone = of_docker(plain, ("gguf.v3", b"GGUF"))
    weighbridge.pull(f"oci://{plain.host}/{alone['name']}:v1", tmp_path / "alone")
    assert read(tmp_path / "alone") == {"model.gguf": b"GGUF"}
    other = of_docker(plain, ("gguf.v3", b"GGUF"), ("novel", b""))
    with pytest.raises(RegistryRejected, match="layer 2 of its manifest names no file"):
        weighbridge.pull(f"oci://{plain.host}/{other['name']}:v1", tmp_path / "other")


def test_the_one_model_of_an_index_is_pulled(plain: DockerRegistry, tmp_path: Path) -> None:
    model = of_docker(plain, ("gguf.v3", b"GGUF"))
    name = model.pop("name")
    image = of_docker(plain, ("something.else", b"x"), name=name)
    attests = of_docker(plain, ("gguf.v3", b"of another"), name=name) | {
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}  # fmt: skip
    inner = index(plain.host, name, "inner", model, image)
    index(plain.host, name, "outer", attests, inner, model)
    where = f"oci://{plain.host}/{name}"
    done = weighbridge.pull(f"{where}:outer", tmp_path / "out")
    assert read(tmp_path / "out") == {"model.gguf": b"GGUF"} and done.revision == model["digest"]
    with pytest.raises(ModelPacked, match=model["digest"]):
        on(plain.host, name=name, tag="outer").publish(FIRST)
    weighbridge.copy(f"{where}@{model['digest']}", str(on(plain.host).destination))

    other = of_docker(plain, ("gguf.v3", b"other"), name=name)
    index(plain.host, name, "two", model, other | {"platform": {"os": "linux"}})
    with pytest.raises(RegistryRejected, match=rf"2 models.*{model['digest']}.*linux, 1 files"):
        weighbridge.pull(f"{where}:two", tmp_path / "two")
    index(plain.host, name, "none", image)
    with pytest.raises(RegistryRejected, match="no model but an image"):
        weighbridge.pull(f"{where}:none", tmp_path / "none")


def test_nothing_else_is_done_with_it(plain: DockerRegistry, tmp_path: Path) -> None:
    place = stored(plain, [(CNCF + "tar", tar(FILES), {})])
    subject = on(plain.host, name=place.name)
    for attempt in (
        lambda: subject.publish(FIRST),
        lambda: weighbridge.copy(str(place), str(on(plain.host).destination)),
        lambda: weighbridge.copy(str(place), tmp_path / "shelf", name="acme/m"),
    ):
        with pytest.raises(ModelPacked, match="a pull takes them apart"):
            attempt()


def kind_of(kind: bytes, link: str = "") -> Change:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.size, member.linkname = kind, 0, link

    return change


HOSTILE = {
    "above": (tar({"../evil": b"x"}), "'..'"),
    "absolute": (tar({"/tmp/evil": b"x"}), "relative"),
    "deep above": (tar({"a/../../evil": b"x"}), "'..'"),
    "backslash": (tar({"a\\b": b"x"}), "control character or one of"),
    "git": (tar({"a/.Git/config": b"x"}), "from which git would run"),
    "link": (tar({"l": b""}, kind_of(tarfile.SYMTYPE, "/etc")), "no ordinary file"),
    "hard link": (tar({"l": b""}, kind_of(tarfile.LNKTYPE, "/etc/passwd")), "no ordinary file"),
    "fifo": (tar({"l": b""}, kind_of(tarfile.FIFOTYPE)), "no ordinary file"),
    "device": (tar({"l": b""}, kind_of(tarfile.CHRTYPE)), "no ordinary file"),
    "sparse": (tar({"l": b""}, kind_of(tarfile.GNUTYPE_SPARSE)), "no ordinary file"),
    "long words": (tar({"n" * 3_000_000: b""}, format=tarfile.GNU_FORMAT), "bytes of words"),
    "long pax": (tar({"n": b""}, pax_headers={"c": "w" * 3_000_000}), "bytes of words"),
    "cut": (tar(FILES)[:700_000], "ends within|more bytes"),
    "cut head": (tar(FILES)[:700], "cannot be unpacked"),
    "cut between": (tar({"a": b"", "b": b""})[:512], "is no end"),
    "broken later": (tar({"a": b""})[:512] + b"x" * 512, "is no end"),
    "nonsense": (b"nonsense" * 999, "cannot be unpacked"),
    "nothing": (b"", "cannot be unpacked"),
    "huge": (tar({"n": b""}, lambda m: setattr(m, "size", 1 << 50)), "more bytes than it can hold"),
    "everything": (
        tar({"n": b""}, lambda m: setattr(m, "size", -1)),
        "more bytes than it can hold",
    ),
    "negative": (tar({"n": b""}, lambda m: setattr(m, "size", -(1 << 40))), "more bytes"),
    "chain": (
        tar({"n" * 200: b""}, format=tarfile.GNU_FORMAT)[:1024] * 2000,
        "of words|cannot be unpacked",
    ),
}


@pytest.mark.parametrize(
    ("which", "form"),
    [*((each, "tar") for each in HOSTILE),
     *((each, "tar+gzip") for each in ("cut", "cut between", "huge", "nothing", "chain")),
     *((each, "tar+zstd") for each in ("cut", "huge", "nothing", "above"))],
)  # fmt: skip
def test_what_is_no_archive_of_ordinary_files(
    which: str, form: str, plain: DockerRegistry, tmp_path: Path
) -> None:
    content, words = HOSTILE[which]
    place = stored(plain, [(CNCF + form, PACK[form](content), {})])
    with pytest.raises(RegistryRejected, match=words):
        weighbridge.pull(str(place), tmp_path / "in" / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_twice(plain: DockerRegistry, tmp_path: Path) -> None:
    once = tar({"a": b"1"})
    twice = once[:1024] + tar({"a": b"2"})
    with pytest.raises(RegistryRejected, match="holds 'a' twice"):
        weighbridge.pull(str(stored(plain, [(CNCF + "tar", twice, {})])), tmp_path / "out")
    both = stored(plain, [(CNCF + "tar", once, {}), (CNCF + "tar", tar({"a": b"2"}), {})])
    with pytest.raises(WeighbridgeError, match="File exists"):
        weighbridge.pull(str(both), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_put_where_git_finds_its_commands(plain: DockerRegistry, tmp_path: Path) -> None:
    marks = {"org.cncf.model.filepath": ".git/config"}
    place = stored(plain, [(CNCF + "raw", b"[core]\n fsmonitor = evil", marks)])
    with pytest.raises(RegistryRejected, match=r"'\.git/config', from which git would run"):
        weighbridge.pull(str(place), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["tar+gzip", "tar+zstd"])
def test_a_bomb(form: str, plain: DockerRegistry, tmp_path: Path) -> None:
    bomb = PACK[form](tar({"w": bytes(40 << 20)}))
    with pytest.raises(RegistryRejected, match="more bytes than it can hold"):
        weighbridge.pull(str(stored(plain, [(KIT + form, bomb, {})])), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "a window of 512 MiB"])
def test_what_zstd_cannot_unpack(damage: str, plain: DockerRegistry, tmp_path: Path) -> None:
    content, words = zstd(tar(FILES))[:-9], "ended before"
    if damage != "cut":
        packer = _zstd().ZstdCompressor(options={_zstd().CompressionParameter.window_log: 29})
        content, words = packer.compress(tar(FILES)) + packer.flush(), "too much memory"
    place = stored(plain, [(CNCF + "tar+zstd", content, {})])
    with pytest.raises(RegistryRejected, match=f"cannot be unpacked: .*{words}"):
        weighbridge.pull(str(place), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_zstd_the_extra_is_named(
    plain: DockerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    place = stored(plain, [(CNCF + "tar+zstd", b"x", {})])
    with pytest.raises(MissingExtra, match=r"weighbridge\[oci\]"):
        weighbridge.pull(str(place), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("announced", [1, -1])
def test_an_archive_that_is_not_what_was_announced(
    announced: int, plain: DockerRegistry, tmp_path: Path
) -> None:
    place = stored(plain, [(CNCF + "tar", tar(FILES), {})], announced)
    with pytest.raises((ContentMismatch, RegistryRejected)):
        weighbridge.pull(str(place), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["raw", "tar"])
def test_more_than_the_disk_has_room_for(kind: str, plain: DockerRegistry, tmp_path: Path) -> None:
    annotations = {"org.cncf.model.filepath": "w"}
    place = stored(plain, [(CNCF + kind, b"x" * 9, annotations)], announced=1 << 60)
    before = len(plain.requests("GET", f"{place.name}/blobs/"))
    with pytest.raises(StorageFull, match=r"bytes are to come, and \d+ are free"):
        weighbridge.pull(str(place), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert len(plain.requests("GET", f"{place.name}/blobs/")) == before


def test_an_archive_that_was_tampered_with(plain: DockerRegistry, tmp_path: Path) -> None:
    content = tar(FILES)
    place = stored(plain, [(CNCF + "tar", content, {})])
    digest = hashlib.sha256(content).hexdigest()
    blob = plain.folder / f"storage/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    for at in (600, 1100, len(content) // 2):  # a header, a small file, a large one
        blob.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(ContentMismatch, match="layer 1 came as"):
            weighbridge.pull(str(place), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []

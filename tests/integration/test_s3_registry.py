"""The S3 adapter against a server that speaks S3's protocol, with skopeo as a witness."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import weighbridge
from tests.contracts.registry import FIRST, LARGE, SECOND, Subject, blobs_of
from tests.docker_registry import DockerRegistry
from tests.docker_registry.faulty import FaultyWay
from tests.integration.test_oci_tls import certificate
from tests.integration.test_silent_registries import server
from tests.s3_server import bucket_server, moto_bucket, weed
from weighbridge.adapters.oci_registry import OciRegistry
from weighbridge.adapters.s3_registry import S3Registry
from weighbridge.adapters.s3_registry.failures import translated
from weighbridge.application.ports import Blob
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import (
    ArtifactChanged,
    AuthenticationFailed,
    DestinationMissing,
    PermissionDenied,
    RateLimited,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    RevisionConflict,
    TooLarge,
    Unsupported,
    UsageError,
)
from weighbridge.domain.publication import OciRepo, PublicationPlan, S3Prefix
from weighbridge.entrypoints.container import Container
from weighbridge.entrypoints.settings import Settings

HUGE = bytes(range(251)) * 160_000  # three parts
KEY = "models/x"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with bucket_server(monkeypatch) as name:
        yield name


@pytest.fixture
def client(bucket: str) -> Any:
    import boto3

    return boto3.session.Session().client("s3")


def on(bucket: str, prefix: str = KEY, name: str = "main") -> Subject:
    return Subject(S3Registry(), S3Prefix(bucket, prefix, name))


def keys(client: Any, bucket: str) -> set[str]:
    found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {each["Key"] for each in found}


def blobs(client: Any, bucket: str) -> set[str]:
    return {key for key in keys(client, bucket) if "/blobs/" in key}


def test_what_is_stored_is_an_oci_layout(bucket: str, client: Any, tmp_path: Path) -> None:
    """Copied to a directory, skopeo takes it to a registry, where it has the same digest."""
    receipt = on(bucket).publish(FIRST)
    for key in keys(client, bucket):
        target = tmp_path / "layout" / key.removeprefix(f"{KEY}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, key, str(target))
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    with DockerRegistry(tmp_path / "registry") as registry:
        command = ["skopeo", "--policy", str(policy), "copy", "--preserve-digests",
                   "--dest-tls-verify=false", f"oci:{tmp_path / 'layout'}:main",
                   f"docker://{registry.host}/acme/m:main"]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        head = OciRegistry().head(OciRepo(registry.host, "acme/m", "main"))
        assert head is not None and head.revision == receipt.revision
        done = weighbridge.copy(f"s3://{bucket}/{KEY}", f"oci://{registry.host}/acme/m:main")
        assert done.plan.is_noop


def test_large_files_go_in_parts(bucket: str, client: Any, tmp_path: Path) -> None:
    place = on(bucket)
    place.publish({"w.safetensors": HUGE})
    [entry] = place.plan({"w.safetensors": HUGE}).manifest.entries
    stored = client.head_object(Bucket=bucket, Key=f"{KEY}/blobs/sha256/{entry.digests[0].value}")
    assert stored["ETag"].endswith('-3"')
    assert place.holds({"w.safetensors": HUGE})
    weighbridge.pull(f"s3://{bucket}/{KEY}", tmp_path / "out")
    assert (tmp_path / "out" / "w.safetensors").read_bytes() == HUGE


def test_a_bucket_that_locks_its_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only index.json is ever written over, which is then another version of it."""
    with moto_bucket(monkeypatch) as bucket:
        import boto3

        client = boto3.session.Session().client("s3")
        locked = f"locked-{bucket[-8:]}"
        client.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
        client.put_object_lock_configuration(
            Bucket=locked,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )
        place, later = on(locked), {**SECOND, "w.safetensors": HUGE}
        place.publish(FIRST)
        assert place.publish(later).created and place.holds(later)


@pytest.mark.parametrize("content", [HUGE[:-1] + b"?", HUGE + b"?", HUGE[:-1]])
def test_other_content_is_never_stored_under_a_digest(
    bucket: str, client: Any, content: bytes
) -> None:
    place = on(bucket)
    plan = place.plan({"w.safetensors": HUGE})
    [path] = blobs_of(plan, {"w.safetensors": HUGE})
    changed = Blob(plan.manifest.entries[0], lambda: io.BytesIO(content))
    with pytest.raises(ArtifactChanged):
        place.push(plan, {path: changed})
    assert not blobs(client, bucket)
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


class _Breaks(io.BytesIO):
    """A file whose reader is told to stop somewhere in it."""

    def __init__(self, content: bytes, at: int) -> None:
        super().__init__(content)
        self._at = at

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._at:
            raise KeyboardInterrupt
        return super().read(size)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all calls on S3 from now on."""
    from botocore.client import BaseClient

    made, real = list[str](), BaseClient._make_api_call

    def noted(self: Any, name: str, arguments: Any) -> Any:
        made.append(name)
        return real(self, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return made


def interrupted(bucket: str, at: int) -> tuple[Subject, PublicationPlan]:
    """A push of ``HUGE`` that stopped there."""
    place = on(bucket)
    plan = place.plan({"w.safetensors": HUGE})
    [path] = blobs_of(plan, {"w.safetensors": HUGE})
    broken = Blob(plan.manifest.entries[0], lambda: _Breaks(HUGE, at))
    with pytest.raises(KeyboardInterrupt):
        place.push(plan, {path: broken})
    return place, plan


def test_parts_that_arrived_are_not_sent_again(
    bucket: str, client: Any, calls: list[str], tmp_path: Path
) -> None:
    interrupted(bucket, len(HUGE) - 1000)
    assert calls.count("UploadPart") == 2
    assert not blobs(client, bucket)
    calls.clear()
    on(bucket).publish({"w.safetensors": HUGE})
    assert calls.count("UploadPart") == 1
    weighbridge.pull(f"s3://{bucket}/{KEY}", tmp_path / "out")
    assert (tmp_path / "out" / "w.safetensors").read_bytes() == HUGE
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


@pytest.mark.skipif(weed() is None, reason="moto fails when it is asked for what is gone")
def test_an_upload_that_somebody_else_ends(bucket: str, client: Any) -> None:
    """Two writers of the same content continue the same upload; the second finds it done."""
    place, plan = interrupted(bucket, 17 << 20)
    [path] = blobs_of(plan, {"w.safetensors": HUGE})
    first = iter([True])

    def opened() -> io.BytesIO:
        if next(first, False):
            on(bucket, name="other").publish({"w.safetensors": HUGE})
        return io.BytesIO(HUGE)

    assert place.push(plan, {path: Blob(plan.manifest.entries[0], opened)}).created
    assert place.holds({"w.safetensors": HUGE})


def test_only_missing_blobs_are_sent(bucket: str, client: Any) -> None:
    place = on(bucket)
    old = place.publish(FIRST).revision
    before = keys(client, bucket)
    place.publish({**FIRST, "config.json": b"{}"})
    # The config, its manifest, and the manifest's own config.
    assert len(keys(client, bucket) - before) == 3
    assert place.publish(FIRST).revision == old


def test_nobody_goes_back_to_what_is_not_whole(bucket: str, client: Any) -> None:
    place = on(bucket)
    old = place.publish({"config.json": b'{"n": 7}'}).revision
    new = place.publish(SECOND).revision
    [lost] = place.plan({"config.json": b'{"n": 7}'}).manifest.entries
    client.delete_object(Bucket=bucket, Key=f"{KEY}/blobs/sha256/{lost.digests[0].value}")
    with pytest.raises(RegistryRejected, match="missing"):
        weighbridge.rollback(place.destination, old)
    head = place.registry.head(place.destination)
    assert head is not None and head.revision == new


def test_names_in_one_prefix_do_not_meet(bucket: str) -> None:
    places = [on(bucket, name=f"v{n}") for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda place: place.publish(FIRST), places))
    assert all(place.holds(FIRST) for place in places)


def test_an_index_that_moves_while_the_blobs_go_up(bucket: str) -> None:
    place, other = on(bucket), on(bucket)
    place.publish(FIRST)
    plan = place.plan(SECOND)
    winner: list[str] = []

    def meddle(*_: object) -> None:
        if not winner:
            winner.append(other.publish({"config.json": b"{}"}).revision)

    with pytest.raises(RevisionConflict) as conflict:
        place.registry.push(plan, blobs_of(plan, SECOND), message="m", progress=meddle)
    assert conflict.value.actual == winner[0] and place.holds({"config.json": b"{}"})


def test_what_is_to_stay_and_is_gone_is_found_before_anything_is_sent(
    bucket: str, client: Any
) -> None:
    place = on(bucket)
    old = place.publish({"kept.json": b"[1]", "config.json": b"{}"})
    name = hashlib.sha256(b"[1]").hexdigest()
    client.delete_object(Bucket=bucket, Key=f"{KEY}/blobs/sha256/{name}")
    before = blobs(client, bucket)
    changed = {"kept.json": b"[1]", "config.json": b'{"n": 2}'}
    with pytest.raises(RegistryRejected, match=r"kept\.json is to stay"):
        place.publish(changed)
    head = place.registry.head(place.destination)
    assert head is not None and head.revision == old.revision and blobs(client, bucket) == before
    assert on(bucket, name="v2").publish(changed).created and on(bucket, name="v2").holds(changed)


def test_a_blob_of_another_size_shows_in_the_read_back(bucket: str, client: Any) -> None:
    place = on(bucket)
    receipt = place.publish(FIRST)
    entry = place.plan(FIRST).manifest.entries[0]
    client.put_object(
        Bucket=bucket, Key=f"{KEY}/blobs/sha256/{entry.digests[0].value}", Body=b"short"
    )
    read = place.registry.manifest(place.destination, receipt.revision)
    assert entry.path not in {e.path for e in read.manifest.entries}


@pytest.mark.skipif(weed() is None, reason="moto keeps no sums")
def test_other_content_of_the_same_size_shows_in_the_read_back(bucket: str, client: Any) -> None:
    """By the sum that the store made itself; and the next publication of the file repairs it."""
    place = on(bucket)
    receipt = place.publish(FIRST)
    path = ArtifactPath("model.safetensors")
    entry = place.plan(FIRST).manifest.find(path)
    assert entry is not None
    other = bytes(reversed(FIRST[path.text]))
    sha256 = base64.b64encode(hashlib.sha256(other).digest()).decode()
    key = f"{KEY}/blobs/sha256/{entry.digests[0].value}"
    client.put_object(Bucket=bucket, Key=key, Body=other, ChecksumSHA256=sha256)
    read = place.registry.manifest(place.destination, receipt.revision)
    assert {e.path.text for e in read.manifest.entries} == set(FIRST) - {path.text}
    on(bucket, name="again").publish(FIRST)
    assert place.holds(FIRST)


def test_a_digest_is_for_reading(bucket: str, tmp_path: Path) -> None:
    old = on(bucket).publish(FIRST).revision
    on(bucket).publish(SECOND)
    where = f"s3://{bucket}/{KEY}@{old}"
    weighbridge.pull(where, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == FIRST["config.json"]
    assert weighbridge.diff(where, f"s3://{bucket}/{KEY}").revisions[0] == old
    with pytest.raises(UsageError, match="publish to a name"):
        weighbridge.copy(f"s3://{bucket}/{KEY}", where)
    with pytest.raises(UsageError, match="or a digest"):
        weighbridge.pull(f"s3://{bucket}/{KEY}@sha256:abc", tmp_path / "other")


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"manifests": 1}', b'{"manifests": [1]}',
                b'{"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "main"}}]}']
)  # fmt: skip
def test_an_index_that_is_none(bucket: str, client: Any, content: bytes) -> None:
    client.put_object(Bucket=bucket, Key=f"{KEY}/index.json", Body=content)
    with pytest.raises(RegistryRejected, match=r"index\.json"):
        on(bucket).publish(FIRST)
    assert keys(client, bucket) == {f"{KEY}/index.json"}


@pytest.mark.parametrize("which", ["index.json", "the manifest"])
def test_a_stranger_s_endless_index(
    which: str, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = on(bucket)
    place.publish({f"{n}.json": b"{}" for n in range(9)})
    limit = 100 if which == "index.json" else 2000  # of what is larger by far
    monkeypatch.setattr("weighbridge.adapters.s3_registry.store._MOST_BYTES", limit)
    with pytest.raises(RegistryRejected, match=f"{which}.* has more than {limit} bytes"):
        weighbridge.pull(str(place.destination), tmp_path / "out")


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    with pytest.raises(DestinationMissing, match="NoSuchBucket"):
        on("no-such-bucket").publish(FIRST)


def test_a_revision_cannot_lead_elsewhere(bucket: str) -> None:
    place = on(bucket)
    place.publish(FIRST)
    for revision in ("sha256:../../index.json", "other", "sha256:" + "0" * 64, "md5:x"):
        with pytest.raises(DestinationMissing):
            place.registry.open(place.destination, revision, ArtifactPath("config.json"))


# --- trouble on the way --------------------------------------------------------------------------


@pytest.fixture
def way(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyWay]:
    with FaultyWay(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{running.host}")
        yield running


@pytest.mark.parametrize("what", ["drop", "lost", 503])
@pytest.mark.parametrize(("method", "path"), [("PUT", r"index\.json"), ("PUT", "/blobs/")])
def test_trouble_that_passes(
    what: Any, method: str, path: str, bucket: str, way: FaultyWay
) -> None:
    """A write whose answer was lost is tried again by boto3, and must not conflict with itself."""
    place = on(bucket, uuid4().hex)
    place.publish(FIRST)
    trouble = way.trouble(what, method, path)
    assert place.publish(SECOND).created and place.holds(SECOND)
    assert trouble.hits == 1


@pytest.mark.parametrize("what", ["drop", "lost", 503])
@pytest.mark.parametrize(("method", "path"), [("POST", "uploads"), ("PUT", "partNumber=2"),
                                              ("POST", "uploadId=")])  # fmt: skip
def test_trouble_with_a_file_in_parts(
    what: Any, method: str, path: str, bucket: str, way: FaultyWay, client: Any
) -> None:
    """Tried again; and if the answer about the whole was lost, there is no such upload any more."""
    trouble = way.trouble(what, method, path)
    place, files = on(bucket), {"w.safetensors": HUGE}
    assert place.publish(files).created and place.holds(files) and trouble.hits == 1


def parts_sent(way: FaultyWay) -> list[str]:
    """The numbers of the parts that went up."""
    sent = (p for m, p, _ in way.seen if m == "PUT" and "partNumber=" in p)
    return [p.split("partNumber=")[1].split("&")[0] for p in sent]


def test_after_a_broken_connection_only_the_other_parts_are_sent(
    bucket: str, way: FaultyWay, client: Any
) -> None:
    place, files = on(bucket), {"w.safetensors": HUGE}
    trouble = way.trouble("drop", "PUT", "partNumber=3", 100)
    with pytest.raises(RegistryUnreachable):
        place.publish(files)
    assert place.registry.head(place.destination) is None
    way.troubles.remove(trouble)
    way.seen.clear()
    assert place.publish(files).created and place.holds(files)
    assert parts_sent(way) == ["3"]
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_parts_of_something_else_are_sent_again(bucket: str, way: FaultyWay, client: Any) -> None:
    """Nothing is taken for what it should be by its number."""
    place, files = on(bucket), {"w.safetensors": HUGE}
    [entry] = place.plan(files).manifest.entries
    target = {"Bucket": bucket, "Key": f"{KEY}/blobs/sha256/{entry.digests[0].value}"}
    upload = client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256")["UploadId"]
    for number, body in ((1, HUGE[: 16 << 20]), (2, bytes(16 << 20)), (9, bytes(5 << 20))):
        sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
        client.upload_part(
            **target, UploadId=upload, PartNumber=number, Body=body, ChecksumSHA256=sha256
        )
    way.seen.clear()
    assert place.publish(files).created and place.holds(files)
    assert parts_sent(way) == ["2", "3"]
    with place.registry.open(place.destination, "main", entry.path) as stream:
        assert stream.read() == HUGE


@pytest.mark.skipif(weed() is None, reason="moto fails when it is asked for what is gone")
@pytest.mark.parametrize("request_", ["partNumber=2", "uploadId="])
def test_a_second_writer_of_the_same_file_takes_the_parts_over(
    request_: str, bucket: str, way: FaultyWay
) -> None:
    place, other, files = on(bucket), on(bucket, name="other"), {"w.safetensors": HUGE}
    method = "PUT" if "part" in request_ else "POST"
    way.meanwhile("before", method, request_, lambda: other.publish(files))
    assert place.publish(files).created and place.holds(files) and other.holds(files)


def test_trouble_that_stays_leaves_the_old_revision(bucket: str, way: FaultyWay) -> None:
    place = on(bucket)
    place.publish(FIRST)
    way.trouble("drop", "PUT", r"index\.json", 100)
    with pytest.raises(RegistryUnreachable) as failed:
        place.publish(SECOND)
    assert failed.value.applied is False
    way.troubles.clear()
    assert place.holds(FIRST) and place.publish(SECOND).created and place.holds(SECOND)


def test_a_broken_download_asks_for_the_rest(bucket: str, way: FaultyWay, tmp_path: Path) -> None:
    on(bucket).publish({"w.safetensors": LARGE})
    [entry] = on(bucket).plan({"w.safetensors": LARGE}).manifest.entries
    trouble = way.trouble("cut", "GET", entry.digests[0].value, 2)
    weighbridge.pull(f"s3://{bucket}/{KEY}", tmp_path / "out")
    assert (tmp_path / "out" / "w.safetensors").read_bytes() == LARGE and trouble.hits == 2


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "oci-layout"), ("POST", "[?]uploads$"), ("HEAD", "/blobs/")]
)
def test_a_store_that_does_not_know_our_sums(
    method: str, path: str, bucket: str, way: FaultyWay
) -> None:
    """As R2 was of uploads in parts, and others are of all; HEAD is answered without a word."""
    said = b"<Error><Code>NotImplemented</Code><Message>Header 'x-amz-checksum-algorithm' with "
    said += b"value 'SHA256' not implemented</Message></Error>"
    trouble = way.trouble(501, method, path, said=b"" if method == "HEAD" else said)
    place, files = on(bucket), {**FIRST, "w.safetensors": HUGE}
    assert place.publish(files).created and place.holds(files) and trouble.hits == 1
    assert place.publish(SECOND).created and place.holds(SECOND)


# --- what boto3 says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InvalidAccessKeyId", 403, AuthenticationFailed),
        ("ExpiredToken", 400, AuthenticationFailed),
        ("AccessDenied", 403, PermissionDenied),
        ("SlowDown", 503, RateLimited),
        ("InternalError", 500, RegistryUnreachable),
        ("NoSuchBucket", 404, DestinationMissing),
        ("ConditionalRequestConflict", 409, RevisionConflict),
        ("EntityTooLarge", 400, TooLarge),
        ("XMinioStorageFull", 507, TooLarge),
        ("RequestTimeTooSkewed", 403, AuthenticationFailed),
        ("InvalidObjectState", 403, RegistryRejected),
        ("KMS.DisabledException", 400, RegistryRejected),
        ("PermanentRedirect", 301, RegistryRejected),
    ],
)
def test_errors_by_their_code(code: str, status: int, kind: type[Exception]) -> None:
    from botocore.exceptions import ClientError

    told = {"Error": {"Code": code, "Message": "no\nway"},
            "ResponseMetadata": {"HTTPStatusCode": status}}  # fmt: skip
    with pytest.raises(kind) as failed, translated("s3://b/p", "writing"):
        raise ClientError(told, "PutObject")  # type: ignore[arg-type]
    assert f"{code}: no way" in failed.value.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "operation", "said", "told"),
    [
        ("RequestTimeTooSkewed", "GetObject", "", "clock of this machine"),
        ("PermanentRedirect", "HeadObject", "", "AWS_DEFAULT_REGION"),
        ("InvalidObjectState", "GetObject", "", "restore it"),
        ("AccessDenied", "GetObject", "Access Denied.", "Denied; without the right s3:ListBucket"),
        ("AccessDenied", "GetObject", "x is not authorized to perform: kms:Decrypt", "Decrypt$"),
        ("AccessDenied", "AssumeRole", "x is not authorized to perform: sts:AssumeRole", "Role$"),
    ],
)
def test_what_helps_is_said(code: str, operation: str, said: str, told: str) -> None:
    from botocore.exceptions import ClientError

    response = {"Error": {"Code": code, "Message": said},
                "ResponseMetadata": {"HTTPStatusCode": 403}}  # fmt: skip
    with pytest.raises(RegistryError, match=told) as failed, translated("s3://b/p", "reading x"):
        raise ClientError(response, operation)  # type: ignore[arg-type]
    assert isinstance(failed.value, AuthenticationFailed) == (
        operation == "AssumeRole" or code == "RequestTimeTooSkewed"
    )


def test_a_page_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    with moto_bucket(monkeypatch), server(page, b"") as (host, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
        with pytest.raises(RegistryRejected, match="no store that speaks S3"):
            on("bucket").publish(FIRST)


def test_how_it_is_encrypted_and_who_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    surroundings = {"WEIGHBRIDGE_S3_ENCRYPTION": "aws:kms:arn:aws:kms:eu-west-1:1:key/k",
                    "WEIGHBRIDGE_S3_REQUEST_PAYER": "requester"}  # fmt: skip
    payers: set[str | None] = set()
    with moto_bucket(monkeypatch) as name:
        registry = Container(settings=Settings.from_environment(surroundings)).s3_registry()
        place = Subject(registry, S3Prefix(name, KEY, "main"))
        place.publish({"w.safetensors": HUGE})
        registry._client.meta.events.register(
            "before-send.s3",
            lambda request, **_: payers.add(request.headers["x-amz-request-payer"]),
        )
        assert place.holds({"w.safetensors": HUGE}) and payers == {b"requester"}
        for key in keys(registry._client, name):
            stored = registry._client.head_object(Bucket=name, Key=key)
            assert stored["SSEKMSKeyId"] == "arn:aws:kms:eu-west-1:1:key/k"
    for said in ("AES256", "aws:kms", "aws:kms:dsse"):
        settings = Settings.from_environment({"WEIGHBRIDGE_S3_ENCRYPTION": said})
        assert settings.s3 == {"ServerSideEncryption": said}
    with pytest.raises(UsageError, match="WEIGHBRIDGE_S3_ENCRYPTION"):
        Settings.from_environment({"WEIGHBRIDGE_S3_ENCRYPTION": "yes"})


def test_without_the_right_to_list(bucket: str, way: FaultyWay) -> None:
    way.trouble(403, "GET", r"index\.json")
    with pytest.raises(PermissionDenied, match="s3:ListBucket"):
        on(bucket).publish(FIRST)


def test_without_a_login(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(AuthenticationFailed):
        on(bucket).publish(FIRST)


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_store_without_conditional_writes_is_found_out_before_anything_is_sent(
    header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto_bucket(monkeypatch) as bucket, FaultyWay(os.environ["AWS_ENDPOINT_URL"][7:]) as way:
        there = on(bucket)
        old = there.publish(FIRST)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{way.host}")
        way.unknown = {header.lower()}
        place = on(bucket)
        for attempt in (
            lambda: place.publish(SECOND),
            lambda: on(bucket, "new").publish(FIRST),
            lambda: place.registry.tag(place.destination, "v1", old.revision),
        ):
            with pytest.raises(Unsupported, match=header.replace("-", "")):
                attempt()
        assert not [p for m, p, _ in way.seen if m not in ("GET", "HEAD") and "layout" not in p]
        assert there.holds(FIRST)


def test_a_store_without_conditions_is_known_before_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, bucket: str, client: Any
) -> None:
    on(bucket).registry.check(S3Prefix(bucket, KEY), writing=False)  # one that knows them
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    with moto_bucket(monkeypatch) as other, FaultyWay(os.environ["AWS_ENDPOINT_URL"][7:]) as way:
        kept = S3Registry()
        kept.check(S3Prefix(other, KEY))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{way.host}")
        way.unknown = {"if-match"}
        place = on(other)
        with pytest.raises(Unsupported, match="IfMatch"):
            place.registry.check(place.destination, writing=False)
        assert kept.head(S3Prefix(other, KEY)) is None
        assert [m for m, _, _ in way.seen if m in ("PUT", "DELETE")] == ["PUT", "DELETE"]
        way.trouble(403, "PUT", "oci-layout", 9)
        place.registry.check(place.destination, writing=False)  # who only plans
        with pytest.raises(PermissionDenied):
            place.registry.check(place.destination)


def test_of_two_that_publish_the_same_one_has_made_it(bucket: str, client: Any) -> None:
    place, other = on(bucket), on(bucket)
    made = list[bool]()

    def meanwhile(**_: object) -> None:
        if not made:
            made.append(True)
            made.append(other.publish(FIRST).created)

    store = place.registry._store(place.destination)  # type: ignore[attr-defined]
    store.client.meta.events.register("before-send.s3.PutObject", meanwhile)
    assert [place.publish(FIRST).created, *made[1:]] == [False, True]


def test_a_store_that_says_that_it_knows_no_conditions(bucket: str, way: FaultyWay) -> None:
    said = (
        b"<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"
    )
    way.trouble(501, "PUT", "oci-layout", 99, {"Content-Type": "application/xml"}, said)
    with pytest.raises(Unsupported, match="NotImplemented"):
        on(bucket).publish(FIRST)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("AWS_ENDPOINT_URL", "localhost:9000", RegistryRejected),
        ("AWS_MAX_ATTEMPTS", "many", RegistryRejected),
        ("AWS_SESSION_TOKEN", "planted-token\nof two lines", AuthenticationFailed),
        ("AWS_CONFIG_FILE", "process", RegistryRejected),
    ],
)
def test_settings_that_boto3_cannot_use(
    name: str, value: str, kind: type[Exception], bucket: str, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    if value == "process":
        value = str(tmp_path / "config")
        Path(value).write_text("[default]\ncredential_process = /bin/echo nonsense\n")
        for each in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(each)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv(name, value)
    with pytest.raises(kind) as failed:
        on(bucket).publish(FIRST)
    shown = "".join(traceback.format_exception(failed.value))
    assert "planted-token" not in shown


@pytest.mark.parametrize("trusted", [None, "/no/such/file"])
def test_a_certificate_that_nobody_here_trusts(
    trusted: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = certificate(tmp_path, "own")
    if trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", trusted)
    with DockerRegistry(tmp_path, tls=made) as secure, moto_bucket(monkeypatch) as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{secure.host}")
        with pytest.raises(RegistryRejected, match=r"SSL.*AWS_CA_BUNDLE"):
            S3Registry().head(S3Prefix(bucket, KEY))


def test_a_bug_is_no_failure_of_the_store() -> None:
    with pytest.raises(KeyError), translated("s3://b/p", "writing"):
        raise KeyError("x")


def test_without_boto3_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['boto3'] = None\n"
        "from weighbridge.entrypoints.cli import main\n"
        f"main(['pull', 's3://bucket/model', '-o', {str(tmp_path / 'out')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'weighbridge[s3]'" in done.stderr

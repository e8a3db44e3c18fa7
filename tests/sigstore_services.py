"""Fulcio and Rekor on this machine: certificates for identities, and a log of what they signed.

As much of both as a client of Sigstore speaks with: https://github.com/sigstore/fulcio (v2 API),
https://github.com/sigstore/rekor (v1 API, entries of kind dsse). Each entry is the only one of its
log. The trust config makes clients believe in these keys and no others.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

GITHUB = "https://token.actions.githubusercontent.com"
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SINCE = "2020-01-01T00:00:00Z"
_ORIGIN = "rekor.test"


def identity_token(issuer: str, *, lifetime: int = 86400, **claims: str) -> str:
    """What an identity provider gives out for Sigstore; nobody here checks its signature.

    ``lifetime`` is in seconds: longer than a provider's, for a whole run of the tests.
    """
    now = int(time.time())
    ends = now + lifetime
    said = {"aud": "sigstore", "iss": issuer, "iat": now, "exp": ends, "sub": "1", **claims}
    head = {"alg": "RS256", "typ": "JWT"}
    return ".".join([*(_url64(json.dumps(each).encode()) for each in (head, said)), "c2lnbmF0dXJl"])


def _url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_der(key)).digest()


def _signed(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@define
class Services:
    """The keys of one Sigstore, what it logged, and how it is to misbehave.

    ``refusal`` is the status with which Fulcio, or with ``log_refuses`` Rekor, answers; ``delay``
    is in seconds.
    """

    url: str = ""
    refusal: int | None = None
    log_refuses: bool = False
    delay: float = 0.0
    entries: list[dict[str, Any]] = field(factory=list)
    _root_key: ec.EllipticCurvePrivateKey = field(factory=_key)
    _log_key: ec.EllipticCurvePrivateKey = field(factory=_key)
    _certificates_key: ec.EllipticCurvePrivateKey = field(factory=_key)
    _root: x509.Certificate = field(init=False)

    def __attrs_post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sigstore.test")])
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        public = self._root_key.public_key()
        self._root = (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(name).public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._root_key, hashes.SHA256())
        )  # fmt: skip

    def trust_config(self) -> dict[str, Any]:
        """What a client of this Sigstore is told, as ``ClientTrustConfig`` in JSON."""
        service = {"url": self.url, "majorApiVersion": 1, "operator": "test",
                   "validFor": {"start": _SINCE}}  # fmt: skip
        raw = _b64(self._root.public_bytes(serialization.Encoding.DER))
        authority = {
            "subject": {"organization": "test", "commonName": "sigstore.test"}, "uri": self.url,
            "certChain": {"certificates": [{"rawBytes": raw}]}, "validFor": {"start": _SINCE},
        }  # fmt: skip
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [self._log(self._log_key)],
                "certificateAuthorities": [authority],
                "ctlogs": [self._log(self._certificates_key)],
                "timestampAuthorities": [],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [service], "oidcUrls": [service], "rekorTlogUrls": [service],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaUrls": [], "tsaConfig": {"selector": "ANY"},
            },
        }  # fmt: skip

    def _log(self, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _b64(_der(key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": _SINCE},
            },
            "logId": {"keyId": _b64(_id(key))},
        }

    def certify(self, token: str, request: bytes) -> list[str]:
        """A certificate, in PEM with its chain, for whoever the token names."""
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        who: x509.GeneralName
        if "job_workflow_ref" in claims:
            who = x509.UniformResourceIdentifier(f"https://github.com/{claims['job_workflow_ref']}")
        else:
            who = x509.RFC822Name(claims["email"])
        key = x509.load_pem_x509_csr(request).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        plain = self._builder(who, claims["iss"], key)
        unlogged = plain.sign(self._root_key, hashes.SHA256())
        stamps = x509.UnrecognizedExtension(
            _SCT_LIST, self._time_stamp(unlogged.tbs_certificate_bytes)
        )
        leaf = plain.add_extension(stamps, critical=False).sign(self._root_key, hashes.SHA256())
        return [
            each.public_bytes(serialization.Encoding.PEM).decode() for each in (leaf, self._root)
        ]

    def _builder(
        self, who: x509.GeneralName, issuer: str, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        signs_code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._root_key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([])).issuer_name(self._root.subject).public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(minutes=9))
            .add_extension(usage, critical=True)
            .add_extension(signs_code, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(above, critical=False)
            .add_extension(x509.SubjectAlternativeName([who]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer.encode()), critical=False)
        )  # fmt: skip

    def _time_stamp(self, unlogged: bytes) -> bytes:
        """The list of signed certificate timestamps, RFC 6962, section 3.3, with a single one."""
        at = struct.pack(">Q", int(time.time() * 1000))
        size = struct.pack(">I", len(unlogged))[1:]
        message = b"\0\0" + at + b"\0\1" + _id(self._root_key) + size + unlogged + b"\0\0"
        signature = _signed(self._certificates_key, message)
        one = b"\0" + _id(self._certificates_key) + at + b"\0\0" + b"\4\3"
        one += struct.pack(">H", len(signature)) + signature
        listed = struct.pack(">HH", len(one) + 2, len(one)) + one
        return bytes([4, len(listed)]) + listed

    def log(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """The entry of an envelope, with everything that proves it to be in the log."""
        content = proposed["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        payload = base64.b64decode(envelope["payload"])
        digests = (content["envelope"].encode(), payload)
        whole, inner = (
            {"algorithm": "sha256", "value": hashlib.sha256(each).hexdigest()} for each in digests
        )
        spec = {
            "envelopeHash": whole,
            "payloadHash": inner,
            "signatures": [
                {"signature": envelope["signatures"][0]["sig"], "verifier": content["verifiers"][0]}
            ],
        }
        text = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}).encode()
        root = hashlib.sha256(b"\0" + text).digest()
        note = f"{_ORIGIN} - 1\n1\n{_b64(root)}\n"
        seal = _b64(_id(self._log_key)[:4] + _signed(self._log_key, note.encode()))
        stated = {
            "body": _b64(text),
            "integratedTime": int(time.time()),
            "logID": _id(self._log_key).hex(),
            "logIndex": 0,
        }
        canonical = json.dumps(stated, separators=(",", ":"), sort_keys=True).encode()
        proof = {"checkpoint": f"{note}\n\u2014 {_ORIGIN} {seal}\n", "hashes": [], "logIndex": 0,
                 "rootHash": root.hex(), "treeSize": 1}  # fmt: skip
        verification = {
            "inclusionProof": proof,
            "signedEntryTimestamp": _b64(_signed(self._log_key, canonical)),
        }
        self.entries.append(spec)
        return {root.hex(): stated | {"verification": verification}}


@contextmanager
def sigstore() -> Iterator[Services]:
    """Both services, on one port."""
    services = Services()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(services.delay)
            certifies = self.path == "/api/v2/signingCert"
            if services.refusal is not None and certifies is not services.log_refuses:
                said = {"code": services.refusal, "message": f"no: {self.headers['Authorization']}"}
                self._answer(services.refusal, said)
            elif certifies:
                token = self.headers["Authorization"].removeprefix("Bearer ")
                request = base64.b64decode(body["certificateSigningRequest"])
                chain = {"certificates": services.certify(token, request)}
                self._answer(200, {"signedCertificateEmbeddedSct": {"chain": chain}})
            else:
                self._answer(201, services.log(body))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            raw = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    services.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield services
    finally:
        server.shutdown()
        server.server_close()

"""The OpenSSF Model Signing format: what of a release is signed, and how a signature is written.

A Sigstore bundle around a DSSE envelope around an in-toto statement that lists every file with its
sha256. Sources: https://github.com/sigstore/model-transparency,
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from attrs import frozen

from weighbridge.domain.artifact import Digest, Manifest, ManifestEntry
from weighbridge.domain.provenance import SIGNATURE
from weighbridge.domain.strict_json import StrictJsonError, parse_object

_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
# What the format's own tools leave out when nothing else is said.
_IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
#: No release has a larger one; what is larger is not read.
MOST_BYTES = 16 << 20


class NoSignature(ValueError):
    """Bytes that are no such signature; the text is the reason."""


@frozen
class Identity:
    """Whom a certificate names (an e-mail address, a CI job's workflow), and who vouches for it:
    the address of the identity provider."""

    name: str
    issuer: str


@frozen
class Signed:
    """A signature that was read, not yet verified: ``payload`` is what ``signature`` signs, and
    ``key`` the sha256 of the public key's PEM; '' if the bundle does not say, None if it is not by
    a key but by a certificate."""

    payload: bytes
    signature: bytes
    key: str | None

    @property
    def message(self) -> bytes:
        """The bytes that were signed."""
        return signed_message(self.payload)


def render_payload(name: str, files: Iterable[ManifestEntry]) -> bytes:
    """What is signed of a release called ``name``: every file, whose sha256 must be known."""
    resources, root = [], sha256()
    for entry in sorted(files, key=lambda e: e.path):
        known = entry.digest("sha256")
        assert known is not None  # all that is sent was hashed
        root.update(bytes.fromhex(known.value))
        resources.append({"name": entry.path.text, "digest": known.value, "algorithm": "sha256"})
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted((*_IGNORED, SIGNATURE.text)),
            },
            "resources": resources,
        },
    }
    return json.dumps(statement, separators=(",", ":")).encode()


def signed_message(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def render_bundle(signed: Signed) -> bytes:
    """``model.sig`` as written."""
    bundle = {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signed.key}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(signed.payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signed.signature).decode(), "keyid": ""}],
        },
    }
    return (json.dumps(bundle) + "\n").encode()


def parse_bundle(raw: bytes) -> Signed:
    """By whatever it is signed. Raises NoSignature for anything but a DSSE envelope with one
    signature."""
    try:
        bundle = parse_object(raw)
        envelope = bundle["dsseEnvelope"]
        key = bundle["verificationMaterial"].get("publicKey")
        if envelope["payloadType"] != _PAYLOAD_TYPE or len(envelope["signatures"]) != 1:
            raise NoSignature("its envelope is not of one in-toto statement with one signature")
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        return Signed(payload, signature, None if key is None else str(key.get("hint", "")))
    except StrictJsonError as error:
        raise NoSignature(str(error)) from error
    except (KeyError, TypeError, AttributeError, IndexError, binascii.Error) as error:
        raise NoSignature("it is no Sigstore bundle with a DSSE envelope") from error


def signed_differences(payload: bytes, files: Manifest) -> tuple[str, ...]:
    """What of a release is not as it was signed. Raises NoSignature for another kind of statement.

    ``files`` must know the sha256 of every file.
    """
    stated = _stated(payload)
    ignored = frozenset((*_IGNORED, SIGNATURE.text))
    there = {e.path.text: e for e in files.entries if e.path.text not in ignored}
    problems = []
    for name, digest in sorted(stated.items()):
        entry = there.pop(name, None)
        if entry is None or entry.digest("sha256") != Digest("sha256", digest):
            problems.append(
                f"{name}: {'is missing' if entry is None else 'is not what was signed'}"
            )
    return (*problems, *(f"{name}: was not signed" for name in sorted(there)))


def _stated(payload: bytes) -> dict[str, str]:
    try:
        statement = parse_object(payload)
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT_TYPE, _PREDICATE_TYPE):
            raise NoSignature("what is signed is no list of a model's files")
        predicate: Mapping[str, Any] = statement["predicate"]
        resources = predicate["resources"]
        if predicate["serialization"]["method"] != "files" or any(
            r["algorithm"] != "sha256" for r in resources
        ):
            raise NoSignature("what is signed is not files by their sha256")
        found = {str(r["name"]): str(r["digest"]) for r in resources}
    except StrictJsonError as error:
        raise NoSignature(str(error)) from error
    except (KeyError, TypeError) as error:
        raise NoSignature("what is signed is no list of a model's files") from error
    if len(found) != len(resources):
        raise NoSignature("what is signed has a file twice")
    return found

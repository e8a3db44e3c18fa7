"""Releases signed by who publishes them, by the real client against a Sigstore on this machine."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, evolve

import weighbridge
from tests.builders import lora_files, write
from tests.integration.test_releases import keys
from tests.sigstore_services import GITHUB, Services, identity_token, sigstore
from weighbridge.adapters.sigstore_identities import SigstoreIdentities
from weighbridge.application.publish import PublishOutcome
from weighbridge.application.verify_release import ReleaseVerdict
from weighbridge.domain.errors import (
    ArtifactChanged,
    AuthenticationFailed,
    RateLimited,
    RegistryError,
    RegistryRejected,
    RegistryUnreachable,
    ServerSilent,
    TagTaken,
    UsageError,
)
from weighbridge.entrypoints.saved_plans import SavedPlan
from weighbridge.entrypoints.settings import Settings

pytest.importorskip("sigstore")

DEX = "https://oauth2.sigstore.dev/auth"
ADA = identity_token(DEX, email="ada@lovelace.org")
WORKFLOW = "acme/bot/.github/workflows/release.yml@refs/heads/main"
JOB = identity_token(GITHUB, sub="repo:acme/bot:ref:refs/heads/main", job_workflow_ref=WORKFLOW)


@define
class Desk:
    """A run, a registry and a Sigstore."""

    room: Path
    services: Services
    settings: Settings

    def publish(self, token: str | None = ADA, **options: object) -> PublishOutcome:
        return weighbridge.publish(
            self.room / "run", self.room / "shelf", name="acme/bot", base_model="acme/base",
            sign_keyless=True, settings=evolve(self.settings, identity_token=token),
            **options,  # type: ignore[arg-type]
        )  # fmt: skip

    def verify(self, who: str = "ada@lovelace.org", issuer: str = DEX) -> ReleaseVerdict:
        return weighbridge.verify_release(
            self.room / "shelf", name="acme/bot", identity=who, identity_issuer=issuer,
            settings=self.settings,
        )  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    write(tmp_path / "run", lora_files())
    with sigstore() as services:
        config = tmp_path / "sigstore.json"
        config.write_text(json.dumps(services.trust_config()))
        yield Desk(tmp_path, services, Settings(sigstore_config=str(config), timeout=20))


def test_whoever_publishes_has_signed(desk: Desk) -> None:
    done = desk.publish()
    assert done.receipt is not None and len(desk.services.entries) == 1
    assert desk.verify().signature == "valid" and desk.verify().sound
    (problem,) = desk.verify("bob@lovelace.org").problems
    assert "bob@lovelace.org" in problem
    assert not desk.verify(issuer="https://accounts.example").sound
    assert weighbridge.verify_release(Path(done.receipt.url)).signature == "unverified"
    assert weighbridge.validate(Path(done.receipt.url)).overall_valid


def test_the_formats_own_verifier_accepts_it(desk: Desk) -> None:
    done = desk.publish(JOB)
    assert done.receipt is not None

    def verdict(workflow: str) -> int:
        command = [sys.executable, "-m", "model_signing", "verify", "sigstore", done.receipt.url]
        command += ["--signature", f"{done.receipt.url}/model.sig", "--allow_symlinks"]
        command += ["--trust_config", str(desk.settings.sigstore_config)]
        command += ["--identity", f"https://github.com/{workflow}", "--identity_provider", GITHUB]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert verdict(WORKFLOW) == 0 and verdict("acme/other") == 1
    assert desk.verify(f"https://github.com/{WORKFLOW}", GITHUB).signature == "valid"


@pytest.mark.parametrize("token", [ADA, JOB])
def test_publishing_again_signs_nothing_and_changes_nothing(desk: Desk, token: str) -> None:
    first, second = desk.publish(token), desk.publish(token)
    assert first.receipt and second.receipt and not second.receipt.created
    assert len(desk.services.entries) == 1
    # Another one's signature is another one's, and so is what somebody put in its place.
    assert desk.publish(identity_token(DEX, email="eve@lovelace.org")).receipt
    assert desk.publish(token).receipt
    assert len(desk.services.entries) == 3


def test_a_file_that_is_another_now(desk: Desk, tmp_path: Path) -> None:
    done = desk.publish()
    assert done.receipt is not None
    release = tmp_path / "release"
    weighbridge.pull(tmp_path / "shelf", release, name="acme/bot")
    for path, problem in (("README.md", "is not what was signed"), ("new.txt", "was not signed")):
        with (release / path).open("ab") as file:
            file.write(b" ")
        verdict = weighbridge.verify_release(
            release, identity="ada@lovelace.org", identity_issuer=DEX, settings=desk.settings
        )
        assert verdict.signature == "invalid"
        assert f"model.sig: {path}: {problem}" in verdict.problems


def test_a_key_is_no_identity_and_an_identity_no_key(desk: Desk, tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    desk.publish()
    verdict = weighbridge.verify_release(tmp_path / "shelf", name="acme/bot", key=public)
    assert verdict.problems == (
        "model.sig: it is by a certificate and not by a key; verify it with --identity",
    )
    weighbridge.publish(tmp_path / "run", tmp_path / "shelf", name="acme/bot",
                        base_model="acme/base", sign_key=private)  # fmt: skip
    assert not desk.verify().sound


@pytest.mark.parametrize("log_refuses", [False, True])
@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationFailed), (429, RateLimited), (500, RegistryRejected)],
)
def test_what_the_services_refuse_is_not_published(
    desk: Desk, status: int, error: type[RegistryError], log_refuses: bool
) -> None:
    desk.services.refusal, desk.services.log_refuses = status, log_refuses
    with pytest.raises(error, match=f"Sigstore: {status}") as raised:
        desk.publish()
    assert ADA not in str(raised.value) and not (desk.room / "shelf").exists()


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (identity_token(DEX, lifetime=-60, email="ada@lovelace.org"), "Signature has expired"),
        (identity_token(DEX, email="ada@lovelace.org", aud="npm"), "Audience doesn't match"),
    ],
)
def test_a_token_that_is_not_good_is_found_before_any_work(
    desk: Desk, token: str, said: str
) -> None:
    (desk.room / "run" / "adapters.safetensors").unlink()  # which work would come upon
    with pytest.raises(AuthenticationFailed, match=said) as raised:
        desk.publish(token)
    assert token not in str(raised.value) and not (desk.room / "shelf").exists()


def test_a_token_that_runs_out_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SigstoreIdentities, "require", lambda _: None)
    with pytest.raises(AuthenticationFailed, match="Signature has expired"):
        desk.publish(identity_token(DEX, lifetime=-60, email="ada@lovelace.org"))
    assert not (desk.room / "shelf").exists()


def test_services_that_say_nothing(desk: Desk) -> None:
    desk.services.delay = 3
    desk.settings = evolve(desk.settings, timeout=0.5)
    with pytest.raises(ServerSilent, match=r"0\.5 seconds"):
        desk.publish()


def test_services_that_are_not_there(desk: Desk) -> None:
    config = Path(str(desk.settings.sigstore_config))
    config.write_text(config.read_text().replace(desk.services.url, "http://127.0.0.1:9"))
    with pytest.raises(RegistryUnreachable) as raised:
        desk.publish()
    assert raised.value.applied is False


def test_nothing_is_logged_of_what_is_refused(desk: Desk) -> None:
    weighbridge.publish(desk.room / "run", desk.room / "shelf", name="acme/bot",
                        base_model="acme/other", tags=["v1"])  # fmt: skip
    with pytest.raises(TagTaken):
        desk.publish(tags=["v1"])
    assert desk.services.entries == []


def test_a_plan_is_carried_out_and_signed(desk: Desk) -> None:
    def planned() -> SavedPlan:
        return weighbridge.plan(
            desk.room / "run", desk.room / "shelf", name="acme/bot", base_model="acme/base"
        )

    def publish(plan: SavedPlan) -> PublishOutcome:
        settings = evolve(desk.settings, identity_token=ADA)
        return weighbridge.publish(plan=plan, sign_keyless=True, settings=settings)

    first = planned()
    assert publish(first).receipt and desk.verify().signature == "valid"
    again = publish(planned()).receipt
    assert again and not again.created and len(desk.services.entries) == 1
    write(desk.room / "run", lora_files(iters=8))
    with pytest.raises(ArtifactChanged):
        publish(first)
    assert len(desk.services.entries) == 1


def test_who_signs_has_to_be_known(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine of a cloud has an identity of its own.
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    (desk.room / "run" / "adapters.safetensors").unlink()  # which is not looked at
    with pytest.raises(UsageError, match="SIGSTORE_IDENTITY_TOKEN"):
        desk.publish(None)
    with pytest.raises(AuthenticationFailed, match="no identity to sign as"):
        desk.publish("not.a.token")


def test_what_cannot_be_said_together(desk: Desk, tmp_path: Path) -> None:
    private, _ = keys(tmp_path)
    with pytest.raises(UsageError, match="only plans"):
        desk.publish(dry_run=True)
    with pytest.raises(UsageError, match="not both"):
        desk.publish(sign_key=private)
    with pytest.raises(UsageError, match="both"):
        weighbridge.verify_release(tmp_path, identity="ada@lovelace.org")
    desk.settings = evolve(desk.settings, sigstore_config=str(private))
    with pytest.raises(UsageError, match="no trust config"):
        desk.publish()


def test_from_the_command_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGSTORE_IDENTITY_TOKEN", ADA)
    monkeypatch.setenv("WEIGHBRIDGE_SIGSTORE_CONFIG", str(desk.settings.sigstore_config))

    def ran(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "weighbridge", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=desk.room)
        return done.returncode, done.stdout + done.stderr

    code, said = ran("publish", "run", "shelf", "--name", "acme/bot", "--base-model", "acme/base",
                     "--sign-keyless")  # fmt: skip
    assert code == 0 and ADA not in said
    who = ("--identity", "ada@lovelace.org", "--identity-issuer", DEX)
    code, said = ran("verify-release", "shelf", "--name", "acme/bot", *who)
    assert code == 0 and "valid" in said

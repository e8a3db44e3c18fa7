"""Where a token comes from, and that no text shows it: the installed command on a Hub.

The desk's fixture searches everything that was printed and written for every token that the server
or its CI gave out.
"""

from __future__ import annotations

import pytest

from tests.e2e.test_cli_hub import DEST, REPO, Desk, desk
from tests.hub_server import Fault

__all__ = ["desk"]
TOKEN = "hf_" + "Zq9" * 12


def test_a_trusted_job_needs_no_token(desk: Desk) -> None:
    desk.hub.create_repo(REPO, private=True)
    job = desk.hub.trusted_job(REPO)
    desk.run("publish", "run", DEST, more=job | {"HF_TOKEN": ""})
    assert desk.hub.repo(REPO).commits()[0].author == "acme/training/release.yml"
    # Whoever asks for it gets it, as with the client itself: a stored token is not fallen back on.
    desk.run("log", DEST, more=job, token="hf_stored_and_wrong")
    assert "403" in desk.run("publish", "run", "hf://acme/other", more=job, code=4)
    assert not desk.hub.has_repo("acme/other")


def test_a_job_that_is_not_trusted(desk: Desk) -> None:
    desk.hub.create_repo(REPO, private=True)
    job = desk.hub.trusted_job(REPO)
    for changed, words in (
        ({"HF_OIDC_RESOURCE": "acme/other"}, "no trusted publisher of acme/other"),
        ({"ACTIONS_ID_TOKEN_REQUEST_TOKEN": ""}, "id-token: write"),
        ({"GITHUB_ACTIONS": ""}, "HF_OIDC_ID_TOKEN is not set"),
    ):
        said = desk.document("publish", "run", DEST, more=job | changed, code=4)
        assert said["error"] == "AuthenticationFailed"
        assert words in said["message"] and "trusted publishing failed" in said["message"]
    assert len(desk.hub.repo(REPO).commits()) == 1


def test_another_ci_brings_its_own_identity(desk: Desk) -> None:
    desk.hub.create_repo(REPO, private=True)
    job = desk.hub.trusted_job(REPO)
    secret = job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    given = {
        "HF_OIDC_RESOURCE": REPO,
        "HF_OIDC_ID_TOKEN": desk.hub.hub.publishers.vouch(secret, desk.hub.url),
        "HF_TOKEN": "",
    }
    assert "initial commit" in desk.run("log", DEST, more=given)
    echo = f"cannot read {given['HF_OIDC_ID_TOKEN']}"
    desk.hub.inject(Fault(path="/oauth/token", status=400, message=echo))
    assert "cannot read [token]" in desk.run("log", DEST, more=given, code=4)


@pytest.mark.parametrize("where", ["environment", "old name", "file"])
def test_the_client_s_own_login(desk: Desk, where: str) -> None:
    """A line end is no part of it, and a server that repeats it is not repeated."""
    token = desk.hub.token
    more = {"HF_TOKEN": ""}
    if where == "file":
        # Below the place where the fixture looks: here it belongs.
        home = desk.folder.parent / f"{desk.folder.name}-home"
        home.mkdir()
        (home / "token").write_text(f"{token}\n")
        more["HF_HOME"] = str(home)
    else:
        more |= {"HF_TOKEN" if where == "environment" else "HUGGING_FACE_HUB_TOKEN": f"{token}\n"}
    desk.run("publish", "run", DEST, more=more)
    desk.hub.inject(Fault(path="/revision/", status=400, times=None, message=f"a token {token}"))
    for form in ((), ("-v",), ("--format", "json")):
        assert "a token [token]" in desk.run("plan", "run", DEST, *form, more=more, code=4)


@pytest.mark.parametrize(
    "arguments",
    [
        (f"hf://user:{TOKEN}@acme/bot",),
        ("hf://user:some-password@acme/bot",),
        (f"hf://{TOKEN}@huggingface.co/acme/bot",),
        (f"https://user:{TOKEN}@huggingface.co/acme/bot",),
        (f"hf://acme/bot@{TOKEN}",),
        (f"oci://user:{TOKEN}@localhost/acme/bot",),
        (f"oci://localhost/acme/bot:{TOKEN}",),
        (f"s3://{TOKEN}:some-password@bucket/prefix",),
        (DEST, "--branch", TOKEN),
        (DEST, "--tag", TOKEN),
        ("registry", "--name", f"acme/{TOKEN}"),
    ],
)
def test_a_login_is_no_name(desk: Desk, arguments: tuple[str, ...]) -> None:
    for form in ("text", "json"):
        said = desk.run("plan", "run", *arguments, "-o", "p.json", "--format", form, code=2)
        assert TOKEN not in said and "some-password" not in said
    assert not (desk.folder / "p.json").exists()


def test_a_login_in_the_endpoint(desk: Desk) -> None:
    address = desk.hub.url.replace("://", "://user:some-password@")
    for said in (
        desk.run("publish", "run", DEST, more={"HF_ENDPOINT": address}, code=4),
        desk.run("log", DEST, more={"HF_ENDPOINT": address.replace("127", "0")}, code=4),
    ):
        assert "some-password" not in said


def test_a_verbose_client(desk: Desk) -> None:
    """Whatever the client is told to print of itself, it is not the token."""
    desk.run("publish", "run", DEST, "-v", more={"HF_HUB_VERBOSITY": "debug", "HF_DEBUG": "1"})

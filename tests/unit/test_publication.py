"""Destinations as people spell them, plans as values, and the comparison of the read-back."""

from __future__ import annotations

import pytest
from attrs import evolve

from weighbridge.domain.artifact import ArtifactPath, Digest, Manifest, ManifestEntry
from weighbridge.domain.errors import RevisionConflict, UsageError
from weighbridge.domain.logins import public_message
from weighbridge.domain.publication import (
    Change,
    HubRepo,
    LocalRegistry,
    OciRepo,
    PublicationPlan,
    RemoteHead,
    S3Prefix,
    parse_destination,
    plan_publication,
    read_back_differences,
    require_same_ground,
    tag_name,
)

HUB = HubRepo("acme/bot")


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("hf://acme/bot", None, HUB),
        ("hf://acme/bot@v1.0", None, HubRepo("acme/bot", "v1.0")),
        ("hf://acme/bot@feature/x", None, HubRepo("acme/bot", "feature/x")),
        ("oci://reg.lan:5000/team/bot:v1", None, OciRepo("reg.lan:5000", "team/bot", "v1")),
        ("oci://reg.lan/bot", None, OciRepo("reg.lan", "bot", "latest")),
        ("oci://[::1]:5000/a/b/c", None, OciRepo("[::1]:5000", "a/b/c", "latest")),
        (
            f"oci://reg.lan/bot:v1@sha256:{'0' * 64}",
            None,
            OciRepo("reg.lan", "bot", f"sha256:{'0' * 64}"),
        ),
        (
            f"oci://reg.lan/bot@sha256:{'0' * 64}",
            None,
            OciRepo("reg.lan", "bot", f"sha256:{'0' * 64}"),
        ),
        ("s3://bucket/team/bot", None, S3Prefix("bucket", "team/bot")),
        ("s3://bucket/team/bot/@v2", None, S3Prefix("bucket", "team/bot", "v2")),
        ("./registry", "acme/bot", LocalRegistry("./registry", "acme/bot")),
        ("/srv/models", "acme/bot@dev", LocalRegistry("/srv/models", "acme/bot", "dev")),
        ("file:///srv/models", "acme/bot", LocalRegistry("/srv/models", "acme/bot")),
    ],
)
def test_spellings(text: str, name: str | None, wanted: object) -> None:
    assert parse_destination(text, name) == wanted


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf://acme", None),
        ("hf://acme/bot/more", None),
        ("hf://acme/bot", "acme/bot"),
        ("hf:///bot", None),
        ("hf://acme/-bot", None),
        ("hf://acme/a--b", None),
        ("hf://acme/a..b", None),
        ("hf://acme/bot.git", None),
        ("hf://acme/bot@../up", None),
        ("hf://acme/bot@-x", None),
        ("hf://acme/bot@", None),
        ("hf://acme/bot\n", None),
        ("s3://bucket/x", "acme/bot"),
        ("oci://reg.lan/bot", "acme/bot"),
        ("oci://reg.lan", None),
        ("oci://reg.lan:65536/bot", None),
        ("oci://reg.lan/bot@v1", None),
        ("oci://reg.lan/Bot", None),
        ("oci://reg.lan/bot:", None),
        ("oci://reg.lan/bot:a b", None),
        ("oci://reg.lan/../bot", None),
        ("oci://user:word@reg.lan/bot", None),
        ("oci://reg.lan/bot@sha256:0", None),
        ("oci:///bot", None),
        ("s3://bucket", None),
        ("s3://bucket/", None),
        ("s3://B/x", None),
        ("s3://bucket/../x", None),
        ("s3://bucket/a//b", None),
        ("s3://bucket/x@", None),
        ("s3://bucket/a b", None),
        ("./registry", None),
        ("", "acme/bot"),
        ("file://", "acme/bot"),
        ("./registry", "bot"),
        ("./registry", "../../x"),
        ("./registry", "acme/bot@a b"),
        ("./registry", "acme/bot@"),
    ],
)
def test_refusals(text: str, name: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        parse_destination(text, name)
    assert caught.value.problem


@pytest.mark.parametrize(
    "revision", ["x.lock", "x.lock/y", "a//b", "a/", "a.", "a/.b", "a..b", "-x", "a b", "~1", ""]
)
def test_what_git_takes_for_no_branch(revision: str) -> None:
    """A server would refuse it, but only after the upload."""
    for text, name in ((f"hf://acme/bot@{revision}", None), ("registry", f"acme/bot@{revision}")):
        with pytest.raises(UsageError, match="is not a branch name"):
            parse_destination(text, name)


def test_the_ground_of_a_plan() -> None:
    def planned(parent: str | None, start: str | None = None) -> PublicationPlan:
        return PublicationPlan(HUB, Manifest(()), parent, (), start=start)

    require_same_ground(planned("a"), planned("a"))
    # A branch that somebody made just where it was to begin.
    require_same_ground(planned(None, "a"), planned("a"))
    for before, now in (
        (planned("a"), planned("b")),
        (planned("a"), planned(None)),
        (planned("a"), planned(None, "a")),
        (planned(None, "a"), planned("b")),
        (planned(None, "a"), planned(None, "b")),
    ):
        # What would do nothing is no conflict, so there must be something to do.
        change = Change("add", ArtifactPath("x"), 1)
        with pytest.raises(RevisionConflict, match=r"planned on revision (a|none)") as lost:
            require_same_ground(before, evolve(now, changes=(change,)))
        assert (lost.value.actual or "gone") in str(lost.value)


def test_what_is_not_understood_names_all_that_is() -> None:
    for text in ("ftp://x/y", "", "oras://x/y"):
        with pytest.raises(UsageError) as caught:
            parse_destination(text)
        assert all(s in caught.value.problem for s in ("hf://", "oci://", "s3://", "--name"))


def test_destinations_as_text() -> None:
    assert str(HUB) == "hf://acme/bot"
    assert str(HubRepo("acme/bot", "dev")) == "hf://acme/bot@dev"
    for text in ("oci://reg.lan/bot:v1", f"oci://reg.lan/bot@sha256:{'0' * 64}", "s3://b-1/x@v2"):
        assert str(parse_destination(text)) == text
    assert str(parse_destination("s3://bucket/x/")) == "s3://bucket/x"
    assert "acme/bot@main" in str(LocalRegistry("/srv", "acme/bot"))


def entry(name: str, value: str = "0", size: int = 1, algorithm: str = "sha256") -> ManifestEntry:
    return ManifestEntry(ArtifactPath(name), size, (Digest(algorithm, value),))


def head(*entries: ManifestEntry) -> RemoteHead:
    return RemoteHead("r1", Manifest(entries))


def test_a_first_publication_adds_everything() -> None:
    plan = plan_publication(HUB, Manifest([entry("b", size=3), entry("a", size=4)]), None)
    assert [(c.action, c.path.text) for c in plan.changes] == [("add", "a"), ("add", "b")]
    assert plan.parent is None and not plan.is_noop and plan.upload_bytes == 7 and plan.private


def test_add_change_keep_remove() -> None:
    there = head(entry("keep"), entry("change"), entry("gone", size=9), entry(".gitattributes"))
    plan = plan_publication(
        HUB, Manifest([entry("add", size=5), entry("keep"), entry("change", "1", 2)]), there
    )
    actions = {c.path.text: c.action for c in plan.changes}
    assert actions == {"add": "add", "keep": "keep", "change": "change", "gone": "remove"}
    assert plan.upload_bytes == 7 and plan.parent == "r1" and not plan.is_noop
    assert [c.size for c in plan.of("remove")] == [9]


def test_the_same_again_is_a_noop() -> None:
    plan = plan_publication(HUB, Manifest([entry("a")]), head(entry("a"), entry(".gitattributes")))
    assert plan.is_noop and plan.upload_bytes == 0


def test_without_a_common_digest_nothing_is_kept() -> None:
    plan = plan_publication(HUB, Manifest([entry("a")]), head(entry("a", algorithm="git-sha1")))
    assert [c.action for c in plan.changes] == ["change"]


def test_read_back_of_what_was_sent() -> None:
    sent = Manifest([entry("a"), entry("b")])
    assert read_back_differences(sent, Manifest([*sent.entries, entry(".gitattributes")])) == ()


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ([], "a: missing"),
        ([entry("a", "1")], "sha256:1"),
        ([entry("a", size=2)], "stored 2 bytes"),
        ([entry("a", algorithm="git-sha1")], "git-sha1:0"),
        ([ManifestEntry(ArtifactPath("a"), 1, ())], "without digest"),
        ([entry("a"), entry("x")], "x: not sent"),
    ],
)
def test_read_back_differences(stored: list[ManifestEntry], words: str) -> None:
    problems = read_back_differences(Manifest([entry("a")]), Manifest(stored))
    assert len(problems) == 1 and words in problems[0]


@pytest.mark.parametrize(
    ("message", "words"),
    [("", "is empty"), (" \n", "is empty"), (f"with hf_{'aB3' * 12}", "a login in the message")],
)
def test_what_the_history_must_not_keep(message: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as told:
        public_message(message)
    assert "aB3" not in str(told.value)


def test_a_message_of_several_lines() -> None:
    assert public_message("v2\n\nbetter") == "v2\n\nbetter"


@pytest.mark.parametrize("name", ["0" * 40, "main", "HEAD", "", "a b", "-v"])
def test_no_name_of_a_tag(name: str) -> None:
    with pytest.raises(UsageError, match="tag's name"):
        tag_name(name)

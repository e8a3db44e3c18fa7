"""A release from plan to roll back with the installed command, on a Hub with the real client.

Everything that is printed or written on the way is searched for the token.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.builders import fused_files, lora_files, write
from tests.hub_server import Fault, HubServer, clone_with_lfs

WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")
REPO = "acme/bot"
DEST = f"hf://{REPO}"


class Desk:
    """A directory from which commands are run, with a token."""

    def __init__(self, hub: HubServer, folder: Path) -> None:
        self.hub, self.folder, self.told = hub, folder, ""

    def run(
        self,
        *arguments: str,
        code: int = 0,
        token: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """What it printed, on both streams; ``more`` is set in its environment."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        env = kept | {
            "HF_ENDPOINT": self.hub.url,
            "HF_TOKEN": token or self.hub.token,
            "HF_HOME": str(self.folder / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            **(more or {}),
        }
        done = subprocess.run(
            [WEIGHBRIDGE, *arguments],
            cwd=self.folder, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        self.told += said
        assert done.returncode == code, said
        assert "Traceback" not in said
        return said

    def document(
        self, *arguments: str, code: int = 0, more: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON document that it printed."""
        said = self.run(*arguments, "--format", "json", code=code, more=more)
        return json.loads(said[said.index("{") : said.rindex("}") + 1])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with HubServer(xet=False) as hub:
        write(tmp_path / "run", lora_files("adapters"))
        made = Desk(hub, tmp_path)
        yield made
        written = [p for p in tmp_path.rglob("*") if p.is_file()]
        texts = [made.told, *(p.read_bytes().decode("latin-1") for p in written)]
        for token in hub.secrets:
            assert not any(token in text for text in texts)
        assert made.told


def test_a_release_from_plan_to_roll_back(desk: Desk, tmp_path: Path) -> None:
    said = desk.run(
        "plan", "run", DEST, "--tag", "v1", "-o", "plan.json", "--detailed-exitcode", code=6
    )
    assert "next: weighbridge publish --plan plan.json" in said
    desk.run("publish", "--plan", "plan.json")
    desk.run("publish", "--plan", "plan.json", "--format", "json")  # a pipeline that runs again
    first = desk.document("publish", "run", DEST, "--tag", "v1")["receipt"]
    assert first["created"] is False
    said = desk.run("plan", "run", DEST, "--tag", "v1", "-o", "no.json", "--detailed-exitcode")
    assert "nothing to do" in said and "next:" not in said

    (tmp_path / "run" / "LICENSE").write_text("MIT")
    assert "new plan" in desk.run("publish", "--plan", "plan.json", code=1)
    assert "--move-tag" in desk.run("publish", "run", DEST, "--tag", "v1", code=4)
    desk.run("plan", "run", DEST, "--tag", "v2", "-o", "plan.json")
    second = desk.document("publish", "--plan", "plan.json")["receipt"]
    assert second["created"] is True

    told = desk.document("log", DEST)["revisions"]
    assert [each["tags"] for each in told[:2]] == [["v2"], ["v1"]]
    differs = desk.document("diff", f"{DEST}@v1", f"{DEST}@v2")
    assert [c["path"] for c in differs["changes"] if c["action"] == "add"] == ["LICENSE"]
    desk.run("rollback", DEST, "--to", "v1")
    assert desk.document("diff", f"{DEST}@v1", DEST)["changes"]
    tree = clone_with_lfs(desk.hub.repo(REPO), tmp_path / "clone")
    assert not (tree / "LICENSE").exists() and (tree / "adapter_model.safetensors").exists()


def test_a_plan_needs_no_right_to_write_and_publishing_does(desk: Desk) -> None:
    desk.run("publish", "run", DEST)
    (desk.folder / "run" / "LICENSE").write_text("MIT")
    reader = desk.hub.read_token
    desk.run("plan", "run", DEST, "-o", "plan.json", token=reader)
    desk.hub.clear_log()
    desk.run("publish", "--plan", "plan.json", code=4, token=reader)
    assert {each.method for each in desk.hub.log} <= {"GET", "HEAD"}


def test_a_branch_and_a_proposal(desk: Desk) -> None:
    desk.run("publish", "run", DEST)
    (desk.folder / "run" / "LICENSE").write_text("MIT")
    planned = desk.document("plan", "run", DEST, "--branch", "staging")["plan"]
    assert planned["parent"] is None and planned["start"]
    actions = {c["path"]: c["action"] for c in planned["changes"]}
    assert (actions.pop("LICENSE"), actions.pop("weighbridge.json")) == ("add", "change")
    assert set(actions.values()) == {"keep"}
    desk.run("publish", "run", DEST, "--branch", "staging")
    assert "proposed" in desk.run("publish", "run", DEST, "--pull-request")
    assert len(desk.hub.repo(REPO).commits()) == 2


def test_somebody_published_meanwhile(desk: Desk) -> None:
    desk.run("publish", "run", DEST)
    (desk.folder / "run" / "LICENSE").write_text("MIT")
    desk.run("plan", "run", DEST, "-o", "plan.json")
    write(desk.folder / "other", lora_files("adapters") | {"NOTICE": b"theirs"})
    desk.run("publish", "other", DEST)
    error = desk.document("publish", "--plan", "plan.json", code=4)
    assert error["error"] == "RevisionConflict"


def test_a_rate_limit_is_seen_in_a_pipe_too(desk: Desk) -> None:
    desk.hub.inject(Fault.rate_limit(1, "/preupload/", times=1))
    said = desk.run("publish", "run", DEST)
    assert "waiting for the registry's rate limit, 1 s" in said
    assert "?sig=" not in said and "preupload" not in said
    (desk.folder / "run" / "LICENSE").write_text("MIT")
    desk.hub.inject(Fault.rate_limit(7200, "/commit/", times=None))
    assert "in 7200 seconds" in desk.run("publish", "run", DEST, code=4)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.refuse(503, "/commit/main", times=None), 4),
        (Fault.refuse(413, "/commit/main", times=None), 4),
        (Fault.lost_answer("/commit/main"), 0),
        (Fault.cut_answer("/commit/main"), 0),
        (Fault.unreachable("/commit/main", times=None), 4),
        (Fault.wrong_bytes("adapter_model"), 4),
    ],
    ids=["503", "413", "lost answer", "cut answer", "cut before", "other bytes"],
)
def test_what_the_user_sees_and_what_the_hub_holds(desk: Desk, fault: Fault, code: int) -> None:
    desk.hub.inject(fault)
    said = desk.run("publish", "run", DEST, code=code)
    commits = len(desk.hub.repo(REPO).commits())
    if code == 0:
        assert "read back and equal" in said and commits == 2
    elif fault.corrupt:
        assert "adapter_model.safetensors: sent" in said
    else:
        assert DEST in said and commits == 1
    desk.hub.clear_faults()
    assert "read back and equal" in desk.run("publish", "run", DEST)


@pytest.mark.parametrize(
    ("has_xet", "transfer", "by_lfs"),
    [
        (True, "auto", False),
        (True, "xet", False),
        (True, "lfs", True),
        (False, "auto", True),
        (False, "xet", None),
    ],
)
def test_each_way_of_transfer_in_a_process_of_its_own(
    tmp_path: Path, has_xet: bool, transfer: str, by_lfs: bool | None
) -> None:
    """The client reads what it is told of Xet when it is imported."""
    with HubServer(xet=has_xet) as hub:
        write(tmp_path / "run", fused_files())
        made, way = Desk(hub, tmp_path), {"WEIGHBRIDGE_TRANSFER": transfer}
        if by_lfs is None:
            said = made.run("publish", "run", DEST, more=way, code=4)
            assert "this server has no Xet" in said and "WEIGHBRIDGE_TRANSFER" in said
            assert len(hub.repo(REPO).commits()) == 1
            return
        made.run("publish", "run", DEST, more=way)
        assert bool(hub.requests("POST", "lfs/objects/batch")) is by_lfs
        tree = clone_with_lfs(hub.repo(REPO), tmp_path / "clone") if by_lfs else None
        assert (
            tree is None
            or (tree / "model.safetensors").read_bytes()
            == (tmp_path / "run" / "model.safetensors").read_bytes()
        )
        made.run("pull", DEST, "-o", "back")
        assert (tmp_path / "back" / "config.json").exists()


def test_unchanged_files_are_not_read_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """To be sent: the check reads them once, and nothing after it opens the weights."""
    write(desk.folder / "fused", fused_files())
    desk.run("publish", "fused", "hf://acme/fused")
    trace = desk.folder / "counted.txt"
    script = desk.folder / "count.py"
    script.write_text(
        "import sys\n"
        "from weighbridge.adapters.local_files import LocalFiles\n"
        "opened = []\n"
        "before = LocalFiles.open_stream\n"
        "def counted(self, root, path):\n"
        "    opened.append(path.text)\n"
        "    return before(self, root, path)\n"
        "LocalFiles.open_stream = counted\n"
        "from weighbridge.entrypoints.cli import main\n"
        "try:\n"
        "    main(['publish', 'fused', 'hf://acme/fused'])\n"
        "finally:\n"
        f"    open({str(trace)!r}, 'w').write(' '.join(opened))\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env = kept | {"HF_ENDPOINT": desk.hub.url, "HF_TOKEN": desk.hub.token,
                  "HF_HOME": str(desk.folder / "home"), "NO_PROXY": "127.0.0.1"}  # fmt: skip
    done = subprocess.run([sys.executable, script], cwd=desk.folder, env=env, check=False)
    assert done.returncode == 0
    assert "model.safetensors" not in trace.read_text().split()

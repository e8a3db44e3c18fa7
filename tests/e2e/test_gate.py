"""The straight line with the installed command, on what mlx-lm really wrote."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import HubServer, clone_with_lfs
from tests.mlx_artifacts import tiny_base, tiny_lora

WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")
LOAD = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained("acme/tiny")
ids = torch.tensor([[3, 5, 7, 11]])
plain = base(ids).logits
model = PeftModel.from_pretrained(base, "acme/bot")
print(float((model(ids).logits - plain).abs().max()))
"""


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", **environ}
    return subprocess.run(
        [WEIGHBRIDGE, *arguments], capture_output=True, text=True, check=False, env=env
    )


def good(*arguments: str, **environ: str) -> str:
    done = run(*arguments, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(directory: Path) -> dict[str, tuple[str, int]]:
    return {
        str(p.relative_to(directory)): (
            hashlib.sha256(p.read_bytes()).hexdigest(),
            p.stat().st_mtime_ns,
        )
        for p in directory.rglob("*")
        if p.is_file()
    }


@pytest.fixture(scope="module")
def base() -> Path:
    return tiny_base("llama")


@pytest.fixture(scope="module")
def lora(base: Path) -> Path:
    adapters = tiny_lora(base, model_name="acme/tiny")
    return adapters.parent if adapters.name == "adapters" else adapters


@pytest.mark.slow
def test_from_training_to_peft_by_name(base: Path, lora: Path, tmp_path: Path) -> None:
    registry, out = str(tmp_path / "registry"), str(tmp_path / "out")
    before = contents(base)
    found = json.loads(good("inspect", str(lora), "--format", "json"))
    assert (found["kind"], found["rank"], found["scale"]) == ("lora", [8], 20.0)
    assert "good" in good("validate", str(lora), "--base", str(base))
    good("convert", str(lora), "-o", out)
    proof = json.loads(good("verify", str(lora), out, "--base", str(base), "--format", "json"))
    assert proof["level"] == "logits"
    fused = run("publish", str(base), registry, "--name", "acme/tiny")
    assert fused.returncode == 0 and "adapter" not in fused.stdout + fused.stderr
    assert contents(base) == before
    published = json.loads(
        good("--format", "json", "publish", str(lora), registry, "--name", "acme/bot",
             "--base", str(base), "--require-proof", "logits")
    )  # fmt: skip
    assert published["receipt"]["created"] and published["proof"]["level"] == "logits"
    again = good("publish", str(lora), registry, "--name", "acme/bot", "--base", str(base))
    assert f"up to date {registry}" in again and published["receipt"]["revision"] in again
    env = {**os.environ, "HF_HUB_CACHE": registry, "HF_HUB_OFFLINE": "1"}
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD], env=env, capture_output=True, text=True
    )
    assert loaded.returncode == 0, loaded.stderr
    assert float(loaded.stdout.split()[-1]) > 0.1


@pytest.mark.slow
def test_a_base_that_the_stacks_read_differently_is_named(tmp_path: Path) -> None:
    base = tiny_base("llama", agreeing_rope=False)
    run_dir, out = tiny_lora(base, model_name="acme/tiny"), str(tmp_path / "out")
    good("convert", str(run_dir), "-o", out)
    done = run("verify", str(run_dir), out, "--base", str(base))
    assert done.returncode == 1
    assert "the base model differs between MLX and transformers" in done.stdout
    assert "rope_theta" in done.stdout and "proved algebra" in done.stdout


def test_refusals_leave_nothing(lora: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    local = run("convert", str(lora), "-o", str(out), "--base-model", "/Users/me/model")
    assert local.returncode == 1 and "--base-model" in local.stderr and not out.exists()
    good("convert", str(lora), "-o", str(out))
    kept = contents(out)
    existing = run("convert", str(lora), "-o", str(out))
    assert existing.returncode == 2 and "--force" in existing.stderr and contents(out) == kept
    good("convert", str(lora), "-o", str(out), "--force")
    insist = run("publish", str(lora), str(tmp_path / "r"), "--name", "a/b",
                 "--require-proof", "logits", HF_HUB_CACHE=str(tmp_path / "none"))  # fmt: skip
    assert insist.returncode == 1 and "not attempted" in insist.stderr
    dry = good("publish", str(lora), str(tmp_path / "r"), "--name", "a/b", "--dry-run")
    assert "dry run" in dry and not (tmp_path / "r").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("fine_tune_type", ["dora", "full"])
def test_what_is_no_plain_lora_is_refused_by_name(
    base: Path, fine_tune_type: str, tmp_path: Path
) -> None:
    run_dir = tiny_lora(base, fine_tune_type=fine_tune_type, model_name="acme/tiny")
    done = run("convert", str(run_dir), "-o", str(tmp_path / "out"))
    assert done.returncode == 1, done.stdout + done.stderr
    wanted = {"dora": "weighbridge fuse", "full": "a trained weight, no LoRA"}[fine_tune_type]
    assert wanted in done.stderr and not (tmp_path / "out").exists()


def _hub(server: HubServer, home: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": server.token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    }


def test_the_hub_gets_one_private_commit(lora: Path, tmp_path: Path) -> None:
    with HubServer() as server:
        env: dict[str, Any] = _hub(server, tmp_path)
        plan = run("publish", str(lora), "hf://acme/bot", "--dry-run", **env)
        assert plan.returncode == 0 and all(e.method == "GET" for e in server.log)
        done = run("publish", str(lora), "hf://acme/bot", **env)
        assert done.returncode == 0, done.stderr
        repo = server.repo("acme/bot")
        assert repo.private and len(repo.commits()) == 2  # the Hub's own initial one, and ours
        assert set(repo.files()) == {
            ".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors",
            "weighbridge.json",
        }  # fmt: skip
        assert b"/" not in repo.files()["adapter_config.json"].replace(b"acme/tiny", b"")
        assert server.token not in done.stdout + done.stderr
        clone_with_lfs(repo, tmp_path / "clone")


def test_a_public_repository_is_refused(lora: Path, tmp_path: Path) -> None:
    with HubServer() as server:
        server.create_repo("acme/open", private=False, files={"a.txt": b"1"})
        done = run("publish", str(lora), "hf://acme/open", **_hub(server, tmp_path))
        assert done.returncode == 4 and "public" in done.stderr
        assert all(e.method == "GET" for e in server.log)
        allowed = run("publish", str(lora), "hf://acme/open", "--public", **_hub(server, tmp_path))
        assert allowed.returncode == 0, allowed.stderr

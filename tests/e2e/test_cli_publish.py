"""What `publish` does at the edges, with the installed command on what mlx-lm really wrote.

The straight line itself is in ``test_gate``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.hub_server import HubServer
from tests.mlx_artifacts import fuse, tiny_base, tiny_lora

WEIGHBRIDGE = str(Path(sys.prefix) / "bin" / "weighbridge")
NAME = "acme/tiny"
PLANTED = "hf_plantedPlantedPlantedPlantedPlanted"


def run(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env = {**kept, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1,localhost", **environ}
    command = [WEIGHBRIDGE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def told(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def snapshot(directory: Path) -> dict[str, tuple[str, int]]:
    return {
        str(p.relative_to(directory)): (
            hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "",
            p.lstat().st_mtime_ns,
        )
        for p in [directory, *directory.rglob("*")]
    }


@pytest.fixture(scope="module")
def base() -> Path:
    return tiny_base("llama")


@pytest.fixture(scope="module")
def lora(base: Path) -> Path:
    return tiny_lora(base, model_name=NAME)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


def blocked(code: int, registry: Path, *arguments: object, **environ: str) -> str:
    """The words of a refusal, which must leave no registry behind."""
    done = run("publish", *arguments, registry, "--name", "acme/bot", **environ)
    assert done.returncode == code, told(done)
    assert "Traceback" not in told(done) and not registry.exists()
    return told(done)


@pytest.mark.slow
def test_a_fused_model_of_mlx_is_published_as_it_is(
    base: Path, lora: Path, registry: Path, tmp_path: Path
) -> None:
    fused = fuse(base, lora, tmp_path / "fused")
    before = snapshot(fused)
    judged = run("validate", fused)
    done = run("publish", fused, registry, "--name", "acme/fused")
    for each in (judged, done):
        assert each.returncode == 0, told(each)
        assert "adapter" not in told(each).lower() and "proved" not in told(each)
    assert snapshot(fused) == before
    refs = registry / "models--acme--fused" / "refs" / "main"
    published = registry / "models--acme--fused" / "snapshots" / refs.read_text()
    for name in ("model.safetensors", "config.json"):
        assert (published / name).read_bytes() == (fused / name).read_bytes()
    converted = run("convert", fused, "-o", tmp_path / "out")
    assert converted.returncode != 0 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "words"), [("dora", "DoRA"), ("full", "full fine-tuning")])
def test_what_cannot_be_converted_is_not_published(
    base: Path, registry: Path, kind: str, words: str
) -> None:
    source = tiny_lora(base, fine_tune_type=kind, model_name=NAME)
    assert words.lower() in blocked(1, registry, source).lower()


def test_a_base_of_other_shapes(lora: Path, registry: Path) -> None:
    other = tiny_base("llama", hidden_size=32)
    assert "q_proj" in blocked(1, registry, lora, "--base", other)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(
    lora: Path, registry: Path, tmp_path: Path, value: float
) -> None:
    poisoned = shutil.copytree(lora, tmp_path / "poisoned")
    tensors = load_file(poisoned / "adapters.safetensors")
    next(iter(tensors.values()))[0, 0] = value
    save_file(tensors, poisoned / "adapters.safetensors")
    words = blocked(1, registry, poisoned)
    assert next(iter(tensors)) in words


def test_a_base_model_that_is_a_path_of_this_machine(base: Path, registry: Path) -> None:
    source = tiny_lora(base)
    assert "--base-model" in blocked(1, registry, source)
    named = run("publish", source, registry, "--name", "acme/bot", "--base-model", NAME)
    assert named.returncode == 0, told(named)
    shipped = [p.read_bytes() for p in registry.rglob("*") if p.is_file()]
    assert not any(str(base).encode() in content for content in shipped)


def test_two_models_in_one_directory(
    base: Path, lora: Path, registry: Path, tmp_path: Path
) -> None:
    both = shutil.copytree(base, tmp_path / "both")
    shutil.copytree(lora, both / "adapters")
    assert "--as" in blocked(3, registry, both)
    for kind, file in (("lora", "adapter_model.safetensors"), ("fused", "model.safetensors")):
        name = f"acme/{kind}"
        done = run("publish", both, registry, "--name", name, "--as", kind, "--format", "json")
        assert done.returncode == 0, told(done)
        paths = {each["path"] for each in json.loads(done.stdout)["plan"]["files"]}
        assert (
            file in paths and len({"adapter_model.safetensors", "model.safetensors"} & paths) == 1
        )


def test_force_replaces_the_whole_output(lora: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "other.txt").write_text("of somebody else")
    assert run("convert", lora, "-o", out).returncode == 2
    assert [p.name for p in out.iterdir()] == ["other.txt"]
    assert run("convert", lora, "-o", out, "--force").returncode == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_registry_that_cannot_be_written(lora: Path, registry: Path) -> None:
    registry.mkdir(mode=0o500)
    done = run("publish", lora, registry, "--name", "acme/bot")
    assert done.returncode == 4 and "Traceback" not in told(done), told(done)
    assert not list(registry.iterdir())


@pytest.mark.parametrize("below", ["", "registry", "a/b"])
def test_a_registry_in_the_run_itself_is_refused(lora: Path, tmp_path: Path, below: str) -> None:
    """The next ``validate`` would take it for a part of the run."""
    run_dir = shutil.copytree(lora, tmp_path / "run" / "adapters").parent
    before = snapshot(run_dir)
    done = run("publish", run_dir, run_dir / below, "--name", "acme/bot")
    assert done.returncode == 2 and "lies in what is published" in done.stderr, told(done)
    assert snapshot(run_dir) == before
    beside = run("publish", run_dir, tmp_path, "--name", "acme/bot")
    assert beside.returncode == 0, told(beside)


def test_a_file_that_was_damaged_in_the_registry_is_found_and_can_be_put_right(
    lora: Path, registry: Path
) -> None:
    arguments = ("publish", lora, registry, "--name", "acme/bot")
    assert run(*arguments).returncode == 0
    (weights,) = registry.glob("models--*/snapshots/*/adapter_model.safetensors")
    blob = weights.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    found = run(*arguments)
    assert found.returncode == 4 and "Delete there what differs" in found.stderr, told(found)
    blob.unlink()
    repaired = run(*arguments)
    assert repaired.returncode == 0 and blob.exists(), told(repaired)


def test_storage_that_takes_no_more(lora: Path, registry: Path) -> None:
    limited = f"ulimit -f 8; exec {WEIGHBRIDGE} publish {lora} {registry} --name acme/bot"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 4 and "Traceback" not in told(done), told(done)
    assert not list(registry.glob("models--*/refs/*"))


@pytest.mark.parametrize("options", [(), ("-v",), ("--format", "json"), ("--dry-run",)])
def test_a_refused_token_is_never_shown(
    lora: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with HubServer() as server:
        server.create_repo("acme/bot", private=True)
        env = {"HF_ENDPOINT": server.url, "HF_TOKEN": PLANTED, "HF_HOME": str(tmp_path)}
        done = run("publish", lora, "hf://acme/bot", *options, HF_HUB_DISABLE_XET="1", **env)
        assert done.returncode == 4, told(done)
        assert PLANTED not in told(done) and "Traceback" not in told(done)
        assert len(server.repo("acme/bot").commits()) == 1


def test_publishing_again_to_the_hub_makes_no_commit(lora: Path, tmp_path: Path) -> None:
    with HubServer() as server:
        env = {"HF_ENDPOINT": server.url, "HF_TOKEN": server.token, "HF_HOME": str(tmp_path)}
        arguments = ("publish", lora, "hf://acme/bot", "--format", "json")
        first = run(*arguments, HF_HUB_DISABLE_XET="1", **env)
        server.clear_log()
        second = run(*arguments, HF_HUB_DISABLE_XET="1", **env)
        assert first.returncode == second.returncode == 0, told(first) + told(second)
        receipts = [json.loads(each.stdout)["receipt"] for each in (first, second)]
        assert [r["created"] for r in receipts] == [True, False]
        assert receipts[0]["revision"] == receipts[1]["revision"]
        assert len(server.repo("acme/bot").commits()) == 2  # the Hub's own initial one, and ours
        assert len(server.requests(path="acme/bot")) <= 6


def test_a_card_that_was_written_on_the_hub_is_kept(lora: Path, tmp_path: Path) -> None:
    """And one that Weighbridge wrote and nobody edited follows what is published."""
    with HubServer() as server:
        env = {"HF_ENDPOINT": server.url, "HF_TOKEN": server.token, "HF_HOME": str(tmp_path)}

        def published(*options: object) -> bytes:
            done = run("publish", lora, "hf://acme/bot", *options, HF_HUB_DISABLE_XET="1", **env)
            assert done.returncode == 0, told(done)
            return server.repo("acme/bot").files()["README.md"]

        card = published()
        assert b"base_model: acme/tiny" in card
        again = published("--base-model", "acme/other")
        assert b"base_model: acme/other" in again
        edited = again + b"\nMeant for the yard.\n"
        server.repo("acme/bot").push({"README.md": edited})
        assert published("--base-model", "acme/tiny") == edited
        config = server.repo("acme/bot").files()["adapter_config.json"]
        assert b"acme/tiny" in config  # all else was published

        server.repo("acme/bot").push({"README.md": b"# Bot\n"})
        (lora / "README.md").write_text("# Bot, by its author\n")
        done = run("publish", lora, "hf://acme/bot", HF_HUB_DISABLE_XET="1", **env)
        # What the client warns of is told as any hint is, without its source.
        assert "empty or missing yaml metadata" in done.stderr and ".py" not in done.stderr

"""What is private and in a file that ships is refused; where it stays, it is a warning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load, save

import weighbridge
from tests.builders import fused_files, lora_files, peft_files, write
from weighbridge.domain.errors import PublicationBlocked

HOME = "/Users/zebulon/models"
CARD = b"---\nlicense: mit\nbase_model: acme/base\n---\n# Bot\n\nMade in " + HOME.encode() + b"/x\n"


def _noted(weights: bytes, note: str) -> bytes:
    return bytes(save(load(weights), {"note": note}))


SHIPS = {
    "a config": fused_files(_name_or_path=HOME),
    "a text": fused_files() | {"LICENSE": HOME.encode()},
    "a template": fused_files() | {"chat_template.jinja": HOME.encode()},
    "the card": fused_files() | {"README.md": CARD},
    "the card of a LoRA": lora_files("adapters") | {"README.md": CARD},
    "notes in weights": {
        **peft_files(),
        "adapter_model.safetensors": _noted(peft_files()["adapter_model.safetensors"], HOME),
    },
}
STAYS = {
    "data of a LoRA": lora_files("adapters", data=HOME, adapter_path=HOME),
    "notes in weights of a LoRA": {
        **lora_files(),
        "adapters.safetensors": _noted(lora_files()["adapters.safetensors"], HOME),
    },
    "a log": fused_files() | {"train.log": HOME.encode()},
}


def publish(tmp_path: Path, files: dict[str, bytes], **said: Any) -> Path:
    done = weighbridge.publish(
        write(tmp_path / "run", files), tmp_path / "shelf", name="acme/bot", **said
    )
    return Path(done.receipt.url)


@pytest.mark.parametrize("where", SHIPS)
def test_a_home_in_what_ships(tmp_path: Path, where: str) -> None:
    with pytest.raises(PublicationBlocked) as blocked:
        publish(tmp_path, SHIPS[where])
    assert {f.code for f in blocked.value.report.blocking} == {"SC003"}
    said = str(blocked.value)
    assert "--severity SC003=warning" in said and "zebulon" not in said
    assert not (tmp_path / "shelf").exists()
    assert weighbridge.validate(tmp_path / "run").overall_valid
    allowed = weighbridge.load_policy(severity="SC003=warning")
    assert (publish(tmp_path, SHIPS[where], policy=allowed) / "weighbridge.json").exists()


@pytest.mark.parametrize("where", STAYS)
def test_a_home_in_what_stays(tmp_path: Path, where: str) -> None:
    shipped = publish(tmp_path, STAYS[where])
    assert not any(b"zebulon" in p.read_bytes() for p in shipped.iterdir())


#: Values of a trainer's config, each under a key of its own.
_KEYS = ("data", "test", "config", "resume_adapter_file", "hf_dataset", "report_to", "seed",
         "optimizer", "optimizer_config", "lr_schedule", "unknown")  # fmt: skip


@pytest.mark.parametrize(
    "value", [HOME, [HOME], {"path": HOME}, {HOME: 1}, HOME.replace("/", "\\")]
)
def test_no_statement_holds_a_path(tmp_path: Path, value: Any) -> None:
    """Whatever the trainer wrote, and where the run and the registry are."""
    planted = lora_files("adapters", **dict.fromkeys(_KEYS, value), model=HOME, **{HOME: 1})
    shipped = publish(tmp_path, planted, base_model="acme/base")
    for file in shipped.iterdir():
        for path in ("zebulon", str(tmp_path), str(Path.home())):
            assert path.encode() not in file.read_bytes()
    said = json.loads((shipped / "weighbridge.json").read_text())
    training = said["predicate"]["buildDefinition"]["internalParameters"]["training"]
    assert training["fine_tune_type"] == "lora" and "data" not in training

"""What ships, and under which name: chat templates that have a name keep their directory."""

from __future__ import annotations

from tests.builders import fused_files, lora_files, peft_files
from tests.unit.subjects import of
from weighbridge.domain.models import LoraModel
from weighbridge.domain.shipping import documents, shipped, target_of

TEMPLATES = {
    "additional_chat_templates/tool_use.jinja": b"x",
    "additional_chat_templates/notes.txt": b"x",
    "additional_chat_templates/deep/er.jinja": b"x",
    "templates/other.jinja": b"x",
}


def _targets(files: dict[str, bytes]) -> set[str]:
    subject = of(files)()
    assert subject.model is not None
    listed = shipped(subject.model, subject.artifact.scan)
    return {target_of(subject.model, entry).text for entry in listed}


def test_named_templates_of_a_whole_model_ship_where_they_are() -> None:
    files = fused_files() | TEMPLATES
    assert _targets(files) == {*fused_files(), "README.md",
                               "additional_chat_templates/tool_use.jinja"}  # fmt: skip
    taken_over = {e.path.text for e in documents(of(files)().artifact.scan)}
    assert taken_over == {"tokenizer.json", "additional_chat_templates/tool_use.jinja"}


def test_an_adapter_takes_none_along() -> None:
    assert _targets(peft_files() | TEMPLATES) == {*peft_files(), "README.md"}


def test_the_texts_of_a_run_lose_its_directory() -> None:
    files = lora_files("adapters") | {"adapters/LICENSE": b"x", "COPYING": b"x"} | TEMPLATES
    subject = of(files)()
    assert isinstance(subject.model, LoraModel) and subject.model.directory == "adapters"
    assert _targets(files) == {"LICENSE", "COPYING", "README.md"}

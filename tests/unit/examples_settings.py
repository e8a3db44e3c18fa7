"""Examples for the rules on adapters' settings."""

from __future__ import annotations

from attrs import evolve

from tests.builders import LORA_CONFIG, LORA_SPECS, lora_files, peft_files, tensors
from tests.fakes.memory_files import MemoryFiles
from tests.unit.subjects import Build, of
from weighbridge.application.load import Extent, read_artifact
from weighbridge.domain.findings import Subject

GOOD_LORA, GOOD_PEFT = of(lora_files()), of(peft_files())
TWO_LAYERS = LORA_SPECS + tuple(
    evolve(s, name=s.name.replace("layers.0", "layers.1")) for s in LORA_SPECS
)


def half(missing: str) -> Build:
    """A LoRA without one of its two files, which is of no kind."""

    def build() -> Subject:
        memory = MemoryFiles()
        memory.seed("run", {k: v for k, v in lora_files().items() if k != missing}, ())
        return Subject(read_artifact(memory, "run", extent=Extent.EVERYTHING))

    return build


def chosen(*keys: str) -> Build:
    """A LoRA of modules that were chosen by name."""
    parameters = LORA_CONFIG["lora_parameters"] | {"keys": list(keys)}
    return of(lora_files(lora_parameters=parameters))


EXAMPLES: dict[str, tuple[Build, Build]] = {
    "AD001": (half("adapter_config.json"), GOOD_LORA),
    "AD002": (half("adapters.safetensors"), GOOD_LORA),
    "AD007": (
        of(lora_files() | {"adapters.safetensors": tensors(TWO_LAYERS)}),
        of(lora_files(num_layers=-1) | {"adapters.safetensors": tensors(TWO_LAYERS)}),
    ),
    "AD008": (of(lora_files(fine_tune_type="full")), of(lora_files(fine_tune_type="dora"))),
    "AD012": (of(peft_files(revision="main")), GOOD_PEFT),
    "AD013": (
        of(peft_files(auto_mapping={"parent_library": "evil"})),
        of(peft_files(auto_mapping=None, megatron_core="megatron.core", megatron_config=None)),
    ),
    "AD014": (
        of(peft_files(target_modules=r"(a+)+$")),
        of(peft_files(target_modules=r".*\.(q|v)_proj")),
    ),
    "AD029": (
        of(lora_files(iters=300, save_every=100) | {"0000100_adapters.safetensors": b""}),
        of(lora_files(iters=150, save_every=100) | {"0000100_adapters.safetensors": b""}),
    ),
    "AD030": (chosen("q_proj"), chosen("self_attn.q_proj")),
    "AD015": (
        of(lora_files(data="/Users/ada/notes")),
        of(lora_files(data="mlx-community/wikisql")),
    ),
}

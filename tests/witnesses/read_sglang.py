"""SGLang's own reader of a LoRA; a script for a process of its own.

``python read_sglang.py TREE ANSWER`` reads {"directory": ..., "config": the base's config.json}
from standard input. It does what ``LoRAManager.load_lora_adapter`` does up to the memory pool:
config, validation, weights as its loader finds them, normalisation. Writes to ANSWER the scaling,
the normalised targets and weights of every layer with their shapes; or {"refused": the error}.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from stand_ins import install

TREE, ANSWER = Path(sys.argv[1]), Path(sys.argv[2])
REAL = ("sglang", "sglang.srt", "sglang.srt.lora", "sglang.srt.layers", "sglang.srt.layers.utils",
        "sglang.srt.layers.utils.common", "sglang.srt.lora.lora", "sglang.srt.lora.lora_config",
        "sglang.srt.lora.lora_manager", "sglang.srt.lora.utils")  # fmt: skip
install(TREE, "sglang", [name for name in REAL if name.count(".") > 2])

from sglang.srt.lora.lora import LoRAAdapter  # noqa: E402
from sglang.srt.lora.lora_config import LoRAConfig  # noqa: E402
from sglang.srt.lora.lora_manager import LoRAManager  # noqa: E402
from sglang.srt.lora.utils import get_normalized_target_modules  # noqa: E402


def load(job):
    directory, base = Path(job["directory"]), SimpleNamespace(**job["config"])
    config = LoRAConfig(str(directory), base_vocab_size=base.vocab_size)
    manager = SimpleNamespace(attn_dp_enabled=False, lora_refs={})
    named = SimpleNamespace(lora_name="toy", lora_path=str(directory), pinned=False)
    LoRAManager.validate_new_adapter(manager, config, named)
    adapter = LoRAAdapter("toy", config, base, SimpleNamespace(), SimpleNamespace())
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):  # as DefaultModelLoader lists them
        tensors |= load_file(path)
    adapter.initialize_weights_from_tensors(tensors)
    return {
        "scaling": adapter.scaling,
        "targets": sorted(get_normalized_target_modules(config.target_modules)),
        "layers": [described(layer.weights) for layer in adapter.layers],
        "embeddings": described(adapter.embedding_layers),
    }


def described(weights):
    return {
        name: [list(tensor.shape), tensor.to(torch.float64).sum().item()]
        for name, tensor in sorted(weights.items())
    }


try:
    answer = load(json.load(sys.stdin))
except (ValueError, KeyError, AssertionError) as error:
    answer = {"refused": f"{type(error).__name__}: {error}"}
ANSWER.write_text(json.dumps(answer))

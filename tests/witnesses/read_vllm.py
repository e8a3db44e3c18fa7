"""vLLM's own reader of a LoRA; a script for a process of its own.

``python read_vllm.py TREE ANSWER`` reads {"directory": ..., "modules": [...], "max_rank": ...}
from standard input. It does what ``WorkerLoRAManager._load_adapter`` does, on the CPU: ``modules``
are the names that the model serves, packed ones taken apart. Writes to ANSWER the modules with
scaling, and sums of A and B as a check that they are the file's; or {"refused": the error}.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from stand_ins import install

TREE, ANSWER = Path(sys.argv[1]), Path(sys.argv[2])
REAL = ("vllm.lora", "vllm.lora.peft_helper", "vllm.lora.utils", "vllm.lora.lora_model",
        "vllm.lora.lora_weights")  # fmt: skip
install(TREE, "vllm", REAL)

from vllm.lora.lora_model import LoRAModel  # noqa: E402
from vllm.lora.peft_helper import PEFTHelper  # noqa: E402


def load(job):
    helper = PEFTHelper.from_local_dir(job["directory"], None)
    helper.validate_legal(SimpleNamespace(max_lora_rank=job["max_rank"]))
    loaded = LoRAModel.from_local_checkpoint(
        job["directory"], set(job["modules"]), helper, lora_model_id=1, device="cpu", dtype=None
    )
    return {
        name: {
            "scaling": each.scaling,
            "rank": each.rank,
            "a": [list(each.lora_a.shape), each.lora_a.double().sum().item()],
            "b": [list(each.lora_b.shape), each.lora_b.double().sum().item()],
        }
        for name, each in loaded.loras.items()
    }


try:
    answer = load(json.load(sys.stdin))
except ValueError as error:
    answer = {"refused": str(error)}
ANSWER.write_text(json.dumps(answer))

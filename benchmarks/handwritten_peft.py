"""The conversion as it is usually written by hand: `handwritten_peft.py LORA OUTPUT`.

Loads everything, transposes, saves; checks nothing. Lives here as a peer to be measured against.
"""

import json
import sys
from pathlib import Path

from safetensors.torch import load, save_file

source, output = Path(sys.argv[1]), Path(sys.argv[2])
output.mkdir()
config = json.loads((source / "adapter_config.json").read_text())
try:
    from safetensors.torch import load_file

    weights = load_file(source / "adapters.safetensors")
except Exception:
    # safetensors may refuse mlx's null metadata when it maps the file.
    weights = load((source / "adapters.safetensors").read_bytes())
converted = {}
for name, tensor in weights.items():
    stem, _, leaf = name.rpartition(".")
    target = f"base_model.model.{stem}.lora_{leaf[-1].upper()}.weight"
    converted[target] = tensor.T.contiguous()
save_file(converted, output / "adapter_model.safetensors", metadata={"format": "pt"})
parameters = config["lora_parameters"]
peft = {
    "peft_type": "LORA",
    "base_model_name_or_path": config["model"],
    "r": parameters["rank"],
    "lora_alpha": parameters["scale"] * parameters["rank"],
    "target_modules": sorted({name.split(".")[-2] for name in weights}),
    "task_type": "CAUSAL_LM",
}
(output / "adapter_config.json").write_text(json.dumps(peft))

"""Fusing as it is usually written by hand: `handwritten_fuse.py BASE RUN OUTPUT`.

Loads everything, adds, saves; checks nothing. Lives here as a peer to be measured against.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

base, run, output = map(Path, sys.argv[1:])
output.mkdir()
scale = json.loads((run / "adapter_config.json").read_text())["lora_parameters"]["scale"]
factors = load_file(run / "adapters.safetensors")
weights = {}
for path in sorted(base.glob("*.safetensors")):
    weights |= load_file(path)
for name in list(weights):
    module = name.removesuffix(".weight")
    if f"{module}.lora_a" in factors:
        delta = scale * (factors[f"{module}.lora_b"].T @ factors[f"{module}.lora_a"].T)
        weights[name] = (weights[name].to(torch.float32) + delta).to(weights[name].dtype)
save_file(weights, output / "model.safetensors", metadata={"format": "pt"})
for path in base.glob("*.json"):
    if "index" not in path.name:
        shutil.copy(path, output)

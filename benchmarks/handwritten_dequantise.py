"""Unpacking 4 bits as it is usually written by hand: `handwritten_dequantise.py MODEL OUTPUT`.

Loads everything, unpacks, saves; knows one mode and one number of bits. A peer to be measured
against.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

model, output = map(Path, sys.argv[1:])
output.mkdir()
config = json.loads((model / "config.json").read_text())
group = config.pop("quantization")["group_size"]
config.pop("quantization_config")
packed = {}
for path in sorted(model.glob("*.safetensors")):
    packed |= load_file(path)
shifts = torch.arange(0, 32, 4, dtype=torch.int32)
weights = {}
for name, tensor in packed.items():
    module, _, leaf = name.rpartition(".")
    if f"{module}.scales" not in packed:
        weights[name] = tensor
    elif leaf == "weight":
        codes = (tensor.view(torch.int32).unsqueeze(-1) >> shifts) & 15
        scales, biases = packed[f"{module}.scales"], packed[f"{module}.biases"]
        groups = codes.reshape(*scales.shape, group).to(scales.dtype)
        floats = groups * scales.unsqueeze(-1) + biases.unsqueeze(-1)
        weights[name] = floats.reshape(tensor.shape[0], -1)
save_file(weights, output / "model.safetensors", metadata={"format": "pt"})
(output / "config.json").write_text(json.dumps(config))
for path in model.glob("tokenizer*"):
    shutil.copy(path, output)

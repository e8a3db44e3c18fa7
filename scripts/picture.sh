#!/usr/bin/env bash
# Draws docs/picture.svg again: a real refusal and a real publication, of what `make demo` left.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
work=.build/demo/picture
test -d .build/demo/base || { echo "run make demo first" >&2; exit 1; }
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TERM=xterm

rm -rf "$work"
mkdir -p "$work/runs"
cp -r .build/demo/support-bot "$work/runs/support-bot"
cp -r .build/demo/support-bot "$work/runs/broken"
ln -s ../base "$work/base"
cd "$work"
python - runs/broken/adapters <<'END'
import json, sys
from pathlib import Path
from safetensors.numpy import load_file, save_file

adapters = Path(sys.argv[1])
tensors = load_file(adapters / "adapters.safetensors")
tensors["model.layers.22.mlp.down_proj.lora_a"][0, 0] = float("nan")
save_file(tensors, adapters / "adapters.safetensors")
config = json.loads((adapters / "adapter_config.json").read_text())
(adapters / "adapter_config.json").write_text(json.dumps({**config, "model": "/Users/ada/base"}))
END
python "$root/scripts/picture.py" "$root/docs/picture.svg" \
  'weighbridge validate runs/broken' \
  'weighbridge publish runs/support-bot ./registry --name acme/support-bot --base ./base'

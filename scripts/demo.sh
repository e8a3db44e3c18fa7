#!/usr/bin/env bash
# The main job from end to end, on a real model and a real mlx-lm run. Everything stays in .build/demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=.build/demo
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false
export HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error

step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

rm -rf "$work"
mkdir -p "$work"
echo "Training a LoRA with mlx-lm on SmolLM2-135M-Instruct (about a minute) ..."
python scripts/demo_train.py "$work" >"$work/training.log" 2>&1 || { tail -20 "$work/training.log"; exit 1; }
grep -E '^Iter' "$work/training.log" || true

step weighbridge inspect "$work/support-bot"
step weighbridge validate "$work/support-bot" --base "$work/base"
step weighbridge publish "$work/base" "$work/registry" --name HuggingFaceTB/SmolLM2-135M-Instruct
step weighbridge -v publish "$work/support-bot" "$work/registry" --name acme/support-bot --base "$work/base"

echo
echo "PEFT loads it by name from the registry, which is a Hugging Face cache:"
HF_HUB_CACHE="$work/registry" step python -W ignore scripts/demo_load.py

"""Computes logits with transformers: of the base model, and of the base with PEFT's LoRA on it.

Request: ``base`` and ``converted`` (directories), ``tokens`` (rows of ids), ``output`` (a
directory for base.npy and lora.npy, float32 of shape rows x columns x vocabulary), ``answer``.

transformers fills weights that it does not find with random numbers and says so in a report
only; the answer carries that report.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from weighbridge.adapters.workers.stages import begin


def compute(request: dict[str, Any]) -> dict[str, Any]:
    """Write both arrays and return the answer. Raises what the vendors raise."""
    # Imported by name, so that type checking needs no vendor; Any is confined to these files.
    begin(request, "importing PEFT")
    torch, peft = import_module("torch"), import_module("peft")
    started = time.monotonic()
    output, tokens = Path(request["output"]), torch.tensor(request["tokens"])
    begin(request, "the base model in transformers")
    model, loading = load_base(request["base"])
    save_logits(model, tokens, output / "base.npy")
    begin(request, "the LoRA in PEFT")
    model = peft.PeftModel.from_pretrained(model, request["converted"])
    save_logits(model, tokens, output / "lora.npy")
    return {
        "missing": sorted(loading["missing_keys"]),
        "mismatched": sorted(str(key) for key in loading["mismatched_keys"]),
        "seconds": time.monotonic() - started,
        "versions": {
            name: str(import_module(name).__version__) for name in ("peft", "transformers", "torch")
        },
    }


def load_base(base: str) -> tuple[Any, dict[str, Any]]:
    """The base model in float32 and transformers' report of what it did not find."""
    transformers, torch = import_module("transformers"), import_module("torch")
    loaded: tuple[Any, dict[str, Any]] = model_class(base).from_pretrained(
        base,
        dtype=torch.float32,
        # The plain formula; the fused ones differ from it, and lack some architectures' soft caps.
        attn_implementation="eager",
        trust_remote_code=False,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    transformers.logging.set_verbosity_error()
    return loaded


def model_class(base: str) -> Any:
    """The class that config.json names if transformers has it, else the causal model's."""
    transformers = import_module("transformers")
    config = json.loads((Path(base) / "config.json").read_text(encoding="utf-8"))
    named = getattr(transformers, (config.get("architectures") or [""])[0], None)
    if inspect.isclass(named) and issubclass(named, transformers.PreTrainedModel):
        return named
    return transformers.AutoModelForCausalLM


def save_logits(model: Any, tokens: Any, path: Path) -> None:
    """Run the model without dropout or gradients, and save its logits as float32."""
    torch, numpy = import_module("torch"), import_module("numpy")
    model.eval()
    with torch.inference_mode():
        numpy.save(path, model(input_ids=tokens, use_cache=False).logits.float().numpy())


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    Path(request["answer"]).write_text(json.dumps(compute(request)), encoding="utf-8")


if __name__ == "__main__":
    main()

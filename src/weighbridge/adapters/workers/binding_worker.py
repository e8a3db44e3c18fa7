"""Binds a PEFT LoRA to a base model that has no weights, and says what PEFT did with it.

Request: ``base`` (directory with config.json), ``converted`` (directory of the PEFT LoRA),
``answer``. All parameters are on torch's meta device, so the cost is that of the LoRA alone.

PEFT is silent about most defects: it warns of missing tensors, drops unexpected ones without a
word, and lets a tensor whose name is one of the base's *replace* that weight. So the answer
lists all three, and the scaling that PEFT derived for every module; the caller judges.
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


def bind(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request. Raises what the vendors raise, a shape mismatch for instance."""
    # Imported by name, so that type checking needs no vendor; Any is confined to these files.
    begin(request, "importing PEFT")
    torch, peft = import_module("torch"), import_module("peft")
    base, converted = request["base"], request["converted"]
    started = time.monotonic()
    begin(request, "an empty base model")
    with torch.device("meta"):
        model = empty_model(base)
    begin(request, "attaching the LoRA")
    config = peft.PeftConfig.from_pretrained(converted)
    config.inference_mode = True
    model = peft.get_peft_model(model, config, low_cpu_mem_usage=True, autocast_adapter_dtype=False)
    tensors = peft.load_peft_weights(converted, device="cpu")
    outcome = peft.set_peft_model_state_dict(model, tensors, low_cpu_mem_usage=True)
    return {
        "tensors": sorted(tensors),
        # Without the adapter's name, which PEFT adds: as they would be called in the file.
        "missing": sorted(
            key.replace(".default", "", 1) for key in outcome.missing_keys if "lora_" in key
        ),
        "unexpected": sorted(outcome.unexpected_keys),
        "replaced": replaced_weights(model),
        "scalings": scalings(model),
        "seconds": time.monotonic() - started,
        "versions": versions(),
    }


def empty_model(base: str) -> Any:
    """A model of the base's architecture; of its weights nothing is read.

    The class is the one that config.json names if transformers has it (a multimodal wrapper has
    other module paths than its language model), else the causal language model of that type.
    """
    transformers = import_module("transformers")
    config = transformers.AutoConfig.from_pretrained(
        base, trust_remote_code=False, local_files_only=True
    )
    # MLX's own scheme, which transformers does not know; it changes no module's name or shape.
    config.__dict__.pop("quantization_config", None)
    named: Any = getattr(transformers, (config.architectures or [""])[0], None)
    known = inspect.isclass(named) and issubclass(named, transformers.PreTrainedModel)
    if known:
        return named._from_config(config)
    return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def replaced_weights(model: Any) -> list[str]:
    """The base's parameters that are no longer on the meta device: the file overwrote them."""
    return sorted(
        name
        for name, parameter in model.named_parameters()
        if parameter.device.type != "meta" and "lora_" not in name
    )


def scalings(model: Any) -> dict[str, float]:
    """PEFT's multiplier of every adapted module, by the module's path."""
    layer = import_module("peft.tuners.tuners_utils").BaseTunerLayer
    return {
        name: float(module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, layer) and "default" in getattr(module, "scaling", {})
    }


def versions() -> dict[str, str]:
    """The versions of the vendors that took part."""
    vendors = ("peft", "transformers", "torch")
    return {name: str(import_module(name).__version__) for name in vendors}


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    Path(request["answer"]).write_text(json.dumps(bind(request)), encoding="utf-8")


if __name__ == "__main__":
    main()

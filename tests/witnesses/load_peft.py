"""transformers and PEFT of another year; a script for a process of its own.

``python load_peft.py TREE ANSWER`` reads {"packages": [...], "jobs": [...]} from standard input;
TREE is not looked at. The ``packages`` are directories to import from before all others. A job is
{"base": ..., "lora": ..., "tokens": [[...]], "output": ...}: the logits are written to ``output``
as plain.npy, lora.npy and merged.npy. ANSWER gets the versions, and for each job the warnings and
what of the LoRA PEFT did not place; or {"refused": the error}.
"""

import json
import sys
import warnings
from pathlib import Path

ANSWER = Path(sys.argv[2])
question = json.load(sys.stdin)
sys.path[:0] = question["packages"]

import numpy as np  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402


def load(job):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job["base"], attn_implementation="eager"
    ).eval()
    assert model.dtype is torch.float32
    write(job, "plain", model)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        adapted = peft.PeftModel.from_pretrained(model, job["lora"])
    write(job, "lora", adapted)
    unplaced = loose_ends(adapted, job["lora"])
    write(job, "merged", adapted.merge_and_unload())
    return {"warnings": [str(each.message) for each in seen], "unplaced": unplaced}


def write(job, name, model):
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor(job["tokens"]), use_cache=False).logits
    np.save(Path(job["output"], f"{name}.npy"), logits.double().numpy())


def loose_ends(adapted, lora):
    """Factors that the file lacks, or has too many: ``from_pretrained`` keeps that to itself."""
    found = adapted.load_adapter(lora, "again")
    missing = [name for name in found.missing_keys if ".again" in name]
    adapted.delete_adapter("again")
    return [*missing, *found.unexpected_keys]


def outcome(job):
    try:
        return load(job)
    except (TypeError, ValueError, RuntimeError) as error:
        return {"refused": f"{type(error).__name__}: {error}"}


transformers.logging.set_verbosity_error()
versions = {each.__name__: each.__version__ for each in (peft, transformers)}
outcomes = [outcome(job) for job in question["jobs"]]
ANSWER.write_text(json.dumps({"versions": versions, "outcomes": outcomes}))

"""Runs llama.cpp's converter; a script for a process of its own.

``python convert.py TREE ANSWER`` reads a JSON list of jobs from standard input and writes one
outcome for each to ANSWER: "ok", or what went wrong. A job is {"kind": "lora", "arguments": [...]}
for ``convert_lora_to_gguf.py``, or {"kind": "base", "base": ..., "output": ...} for the base
model, of which the command line tool would refuse our toy tokenizer.
"""

import contextlib
import json
import runpy
import sys
from pathlib import Path

TREE, ANSWER = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[:0] = [str(TREE), str(TREE / "gguf-py")]


def convert_lora(arguments):
    sys.argv = ["convert_lora_to_gguf.py", *arguments]
    runpy.run_path(str(TREE / sys.argv[0]), run_name="__main__")


def convert_base(base, output):
    import gguf
    import torch
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    found = get_model_class(
        get_model_architecture(ModelBase.load_hparams(base, False), ModelType.TEXT)
    )
    found.no_mtp = True
    vocabulary = {
        "model_arch": found.model_arch,
        "set_vocab": lambda self: self._set_vocab_gpt2(),
        "get_vocab_base_pre": lambda self, tokenizer: "gpt-2",
    }
    model = type("WithToyVocabulary", (found,), vocabulary)
    with torch.inference_mode():
        # llama.cpp has special cases for some model names
        model(base, gguf.LlamaFileType.ALL_F32, output, model_name="toy").write()


@contextlib.contextmanager
def raw_fields_kept():
    """transformers 5 drops fields of config.json that the converter of bases still asks for."""
    from conversion import ModelBase

    load = ModelBase.load_hparams

    def with_raw(directory, is_mistral_format):
        raw = json.loads(Path(directory, "config.json").read_text())
        return {**raw, **load(directory, is_mistral_format)}

    ModelBase.load_hparams = staticmethod(with_raw)
    yield
    ModelBase.load_hparams = staticmethod(load)


def outcome(job):
    try:
        if job["kind"] == "lora":
            convert_lora(job["arguments"])
        else:
            with raw_fields_kept():
                convert_base(Path(job["base"]), Path(job["output"]))
    except SystemExit as stop:
        return f"exit {stop.code}"
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return "ok"


ANSWER.write_text(json.dumps([outcome(job) for job in json.load(sys.stdin)]))

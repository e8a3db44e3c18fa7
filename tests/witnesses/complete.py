"""Runs llama.cpp itself; a script for a process of its own, for an assertion there is an abort.

``python complete.py TREE ANSWER`` reads {"base": GGUF, "lora": GGUF or null, "prompts": [[token]]}
from standard input and writes to ANSWER, for each prompt, the log-probability of every next token
by its number; null where llama.cpp gives none, which is when it would end the text.
"""

import json
import sys
from pathlib import Path

TREE, ANSWER = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(TREE))

import xllamacpp as llama  # noqa: E402


def parameters(base, lora):
    made = llama.CommonParams()
    made.model.path = base
    made.n_ctx = 256
    made.cpuparams.n_threads = 1
    made.warmup = False
    made.verbosity = -1
    # Its defaults round keys and values to half precision, which is no part of the question.
    made.cache_type_k = made.cache_type_v = llama.ggml_type.GGML_TYPE_F32
    made.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if lora is not None:
        adapter = llama.CommonAdapterLoraInfo()
        adapter.path = lora
        adapter.scale = 1.0
        made.lora_adapters = [adapter]
    return made


def distribution(server, prompt):
    asked = {"n_predict": 1, "n_probs": 1_000_000, "temperature": 0.0, "samplers": []}
    answer = server.handle_completions({"prompt": prompt, "cache_prompt": False, **asked})
    found = answer["choices"][0]["logprobs"]
    if found is None:
        return None
    return {each["id"]: each["logprob"] for each in found["content"][0]["top_logprobs"]}


job = json.load(sys.stdin)
running = llama.Server(parameters(job["base"], job["lora"]))
ANSWER.write_text(json.dumps([distribution(running, prompt) for prompt in job["prompts"]]))

"""Load what was published by its plain name with PEFT, and let it answer with and without."""

from __future__ import annotations

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE, LORA = "HuggingFaceTB/SmolLM2-135M-Instruct", "acme/support-bot"
QUESTION = "What is weighed before it leaves the yard?"

tokenizer = AutoTokenizer.from_pretrained(BASE)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), LORA)
inputs = tokenizer(QUESTION, return_tensors="pt")


def answer() -> str:
    """The greedy continuation of the question."""
    with torch.no_grad():
        tokens = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    return str(tokenizer.decode(tokens[0][inputs["input_ids"].shape[1] :])).strip()


print(f"question        {QUESTION}")
print(f"with {LORA}  {answer()!r}")
with model.disable_adapter():
    print(f"base alone      {answer()!r}")

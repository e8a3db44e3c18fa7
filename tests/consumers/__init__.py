"""Does what consumes a PEFT LoRA take ours? Their own readers answer; see ``tests.witnesses``."""

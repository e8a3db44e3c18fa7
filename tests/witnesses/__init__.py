"""Other programs' own code as the judge of ours: llama.cpp, vLLM, SGLang, older PEFT.

Each runs in a process of its own, from sources that ``fetch`` brings. None of it is in the
repository.
"""

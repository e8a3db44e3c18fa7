"""Other programs' own code as the judge of ours: llama.cpp's converter and runtime, vLLM, SGLang.

Each runs in a process of its own, from sources that ``fetch`` brings. None of it is in the
repository.
"""

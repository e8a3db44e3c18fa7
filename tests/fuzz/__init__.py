"""Fuzzing of everything that reads a stranger's bytes: ``python -m tests.fuzz TARGET``.

With atheris, guided by the lines and comparisons that an input reaches; without it, by simple
mutations of the kept corpus. ``python -m tests.fuzz.seeds`` writes the corpus' first inputs.
"""

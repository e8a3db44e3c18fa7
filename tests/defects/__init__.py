"""Model directories with one thing wrong each, and what every checker says of them.

A defect is a function that spoils a good twin, a directory that mlx-lm or transformers wrote.
``python -m tests.defects`` installs the other checkers, runs all of them and writes
docs/defects.md; the test beside it runs weighbridge alone.
"""

from . import adapters, beside_base, configs, containers, contents, files, shards, tokens, values
from .kit import DEFECTS, Defect, Twin
from .twins import base, base_of, good_twin, spoiled

__all__ = [
    "DEFECTS",
    "Defect",
    "Twin",
    "adapters",
    "base",
    "base_of",
    "beside_base",
    "configs",
    "containers",
    "contents",
    "files",
    "good_twin",
    "shards",
    "spoiled",
    "tokens",
    "values",
]

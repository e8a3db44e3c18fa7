"""Fetch all witnesses: ``python -m tests.witnesses``."""

import sys

from .fetch import WITNESSES, FetchFailed, fetch

for name in WITNESSES:
    try:
        fetch(name)
    except FetchFailed as failure:
        sys.exit(str(failure))

"""Publishing as it is written by hand: `handwritten_commit.py DIRECTORY ORG/NAME`.

One commit with every file; checks nothing, reads nothing back. Lives here as a peer to be measured
against.
"""

import sys
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

directory, name = Path(sys.argv[1]), sys.argv[2]
api = HfApi()
api.create_repo(name, private=True, exist_ok=True)
operations = [CommitOperationAdd(path.name, str(path)) for path in sorted(directory.iterdir())]
api.create_commit(name, operations, commit_message="Publish")

"""Cloning with Debian's git and git-lfs: the witness that is not our code.

Decides that nothing is skipped silently: a missing git-lfs, a failed smudge or an object that
``git lfs fsck`` complains about is an error.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.hub_server.git import clean_environment
from tests.hub_server.storage import Repository


class WitnessError(Exception):
    """Git or git-lfs is missing, or does not accept the repository."""


def clone_with_lfs(repository: Repository, into: Path, revision: str = "main") -> Path:
    """Clone a repository with its large files, check all objects, return the work tree."""
    for tool in ("git", "git-lfs"):
        if shutil.which(tool) is None:
            raise WitnessError(f"{tool} is not installed (apt-get install {tool})")
    commit = repository.resolve(revision)
    env = clean_environment(
        {
            "GIT_CONFIG_COUNT": "4",
            "GIT_CONFIG_KEY_0": "filter.lfs.process",
            "GIT_CONFIG_VALUE_0": "git-lfs filter-process",
            "GIT_CONFIG_KEY_1": "filter.lfs.required",
            "GIT_CONFIG_VALUE_1": "true",
            "GIT_CONFIG_KEY_2": "filter.lfs.smudge",
            "GIT_CONFIG_VALUE_2": "git-lfs smudge -- %f",
            "GIT_CONFIG_KEY_3": "filter.lfs.clean",
            "GIT_CONFIG_VALUE_3": "git-lfs clean -- %f",
        }
    )
    source = f"file://{repository.git_dir}"
    _run(["git", "-c", "advice.detachedHead=false", "clone", "--quiet", source, str(into)], env)
    _run(["git", "-C", str(into), "checkout", "--quiet", "--detach", commit], env)
    _run(["git", "-C", str(into), "fsck", "--strict"], env)
    _run(["git", "-C", str(into), "lfs", "fsck"], env)
    _run(["git", "--git-dir", str(repository.git_dir), "fsck", "--strict"], env)
    return into


def _run(command: list[str], env: dict[str, str]) -> None:
    """Run one tool; a failure carries what it printed."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WitnessError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

"""What is fetched ahead of a look into files that come over the network."""

from __future__ import annotations

from collections import Counter

from tests.fakes.memory_files import MemoryFiles
from weighbridge.application.load import Extent, read_artifact
from weighbridge.domain.artifact import ArtifactPath

_REPOSITORY = "hf://acme/many"
_MIB = 1 << 20


class _Watched(MemoryFiles):
    """Counts the bytes of files that are read whole."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: Counter[str] = Counter()

    def read(self, root: str, path: ArtifactPath, offset: int = 0, length: int = -1) -> bytes:
        content = super().read(root, path, offset, length)
        self.whole[path.text] += len(content)
        return content


def test_no_more_is_fetched_ahead_than_is_kept() -> None:
    files = _Watched()
    files.seed(_REPOSITORY, {f"note-{n:03d}.bin": bytes(_MIB) for n in range(80)})
    read_artifact(files, _REPOSITORY, extent=Extent.SMALL)
    assert 60 * _MIB < files.whole.total() <= 64 * _MIB

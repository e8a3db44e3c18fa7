"""Products of thin factors, in pieces that the BLAS computes in the thread that asks.

OpenBLAS, which numpy's wheels carry, hands products of more than ``2**18`` multiplications to
threads of its own that spin while they wait: with a core for each of ours already, that made a
fusion ten times slower on a busy machine. In pieces, it is faster on an idle one as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from weighbridge.adapters.numpy_weights.floats import Floats

_MOST: Final = 1 << 18
#: Pieces are at least so high where possible, and so wide at most.
_ROWS, _COLUMNS = 16, 512


def product_into(left: Floats, right: Floats, out: Floats) -> None:
    """``out[...] = left @ right``; the rows of ``right`` should be contiguous."""
    rows, rank = left.shape
    columns = right.shape[1]
    wide = max(64, min(_COLUMNS, _MOST // (_ROWS * max(1, rank))))
    high = max(1, _MOST // (max(1, rank) * wide))
    for row in range(0, rows, high):
        part = left[row : row + high]
        for column in range(0, columns, wide):
            across = slice(column, column + wide)
            np.matmul(part, right[:, across], out=out[row : row + high, across])

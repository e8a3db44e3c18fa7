"""What one pass over the weights tells of each tensor."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen


@frozen
class TensorStats:
    """``finite``: no NaN or infinity. ``zero``: every element is 0. ``absmax``: the largest finite
    magnitude (NaN if not finite). A dtype that cannot be examined has ``examined`` False."""

    finite: bool
    zero: bool
    absmax: float
    examined: bool = True


@frozen
class WeightSurvey:
    """Statistics by file path and tensor name."""

    files: Mapping[str, Mapping[str, TensorStats]]

    def stats(self, path: str, tensor: str) -> TensorStats | None:
        """Statistics of one tensor, if it was examined."""
        found = self.files.get(path, {}).get(tensor)
        return found if found is not None and found.examined else None

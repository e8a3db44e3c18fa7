"""Does a fused model hold the run that was fused into it? Decided from measures of its weights.

What mlx-lm fuses into a quantised base is quantised again, and a change of less than half a step is
lost there. Nothing fails then: the outcome is the base under another name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from weighbridge.domain.checkpoints.fusion import shortened
from weighbridge.domain.measures import Measure, together
from weighbridge.domain.proof import ProofLevel, ProofStep

#: Of a change that was fused, at least this and at most that much is to be found in the outcome. In
#: an unquantised one all of it is; packed into few bits, weak changes lose a part by rounding.
LEAST_KEPT, MOST_KEPT = 0.5, 1.5
#: A module with less than this has lost its change.
ERASED = 0.1
#: Where rounding alone leaves a larger deviation, a sample tells nothing.
MOST_DOUBT = 0.1


def judged(measures: Sequence[Measure]) -> ProofStep:
    """The verdict with its figures: algebra, on a sample of rows and within the rounding."""
    whole = together(measures)
    told = [m for m in measures if m.change and not m.doubt > MOST_DOUBT]
    erased = [m for m in told if not m.kept >= ERASED]
    problems = []
    if not whole.change or whole.doubt > MOST_DOUBT:
        problems.append("the run's change is too small to be told from rounding")
    elif not LEAST_KEPT <= whole.kept <= MOST_KEPT:
        problems.append(f"the fused weights hold {whole.kept:.3g} of the run's change")
    problems += [f"{m.module}: holds {m.kept:.3g} of its change" for m in erased]
    figures = (
        ("modules", len(measures)),
        ("modules_told_from_rounding", len(told)),
        ("change_kept", whole.kept),
        ("least_change_kept", min((m.kept for m in told), default=math.nan)),
        ("modules_erased", len(erased)),
    )
    return ProofStep(ProofLevel.ALGEBRA, not problems, figures, shortened(problems))

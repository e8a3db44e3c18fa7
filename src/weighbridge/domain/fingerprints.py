"""Which finding is which: the same in two reports if rule, place and the words among its facts are.

Numbers are left out, since a size or a count may change while the defect stays.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable

from weighbridge.domain.findings import Finding

_LENGTH = 32


def fingerprints(findings: Iterable[Finding]) -> tuple[str, ...]:
    """A fingerprint for each finding, in their order; those that are alike are numbered."""
    seen: Counter[str] = Counter()
    found = []
    for finding in findings:
        words = {k: v for k, v in sorted(finding.facts.items()) if isinstance(v, str)}
        place = finding.location
        identity = json.dumps([finding.code, place.path, place.inside, words])
        seen[identity] += 1
        text = f"{identity}#{seen[identity]}"
        found.append(hashlib.sha256(text.encode("ascii")).hexdigest()[:_LENGTH])
    return tuple(found)

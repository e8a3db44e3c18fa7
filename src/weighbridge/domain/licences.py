"""Licences of models: which identifiers the Hub knows, and which bind what is made from a model.

The Hub's list: https://huggingface.co/docs/hub/repositories-licenses. It refuses other identifiers,
those of SPDX included, so a library of SPDX's would not decide the question. openmdw-1.1 is on no
copy of the page that could be read, but the Hub accepts it: poolside/Laguna-XS-2.1 and
nvidia/Nemotron-3-Diarization are published under it (2026-09).
"""

from __future__ import annotations

import re

_LISTED = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
    intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl open-mdw openmdw-1.0
    openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 grok2-community gemma unknown other
"""
HUB_LICENCES = frozenset(_LISTED.split())
#: Licences that ask for the same terms, or forbid some use, in whatever is made from the model.
_BINDING = re.compile(
    r"llama[\d.]+|gemma|.*openrail.*|.*bloom-rail.*|cc-by-(nc|sa|nd).*|a?gpl.*|lgpl.*|gfdl"
    r"|apple-amlr|h-research|intel-research|.*noncommercial.*|grok2-community|deepfloyd.*"
)
#: What says nothing of its terms.
_OPEN_ENDED = frozenset({"other", "unknown"})


def conflicts(licence: str, base: str) -> bool:
    """True if a model under ``licence`` cannot be made from one under ``base``."""
    licence, base = licence.lower(), base.lower()
    if licence == base or {licence, base} & _OPEN_ENDED:
        return False
    # A later version of the same family is a question for lawyers, not for a rule.
    same_family = re.split(r"[-\d.]", licence)[0] == re.split(r"[-\d.]", base)[0] != "cc"
    return _BINDING.fullmatch(base) is not None and not same_family

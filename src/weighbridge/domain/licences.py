"""Licences of models: which identifiers the Hub knows, and which bind what is made from a model.

The Hub's list: https://huggingface.co/docs/hub/repositories-licenses. It refuses other identifiers,
those of SPDX included, so a library of SPDX's would not decide the question. openmdw-1.1 is on no
copy of the page that could be read, but the Hub accepts it: poolside/Laguna-XS-2.1 and
nvidia/Nemotron-3-Diarization are published under it (2026-09).
"""

from __future__ import annotations

import re
from collections.abc import Collection

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
#: What a licence says of itself at its beginning, in small letters, and its identifiers.
_TITLES = tuple(
    (re.compile(said), re.compile(identifiers))
    for said, identifiers in (
        (rb"apache license,? version 2", r"apache-2\.0"),
        (rb"\bmit license|permission is hereby granted, free of charge", r"mit|ncsa|bsl-1\.0"),
        (rb"gnu affero general public license", r"agpl.*"),
        (rb"gnu (lesser|library) general public license", r"lgpl.*"),
        (rb"gnu general public license", r"gpl.*"),
        (rb"mozilla public license", r"mpl.*"),
        (rb"redistribution and use in source and binary forms", r"bsd.*|ncsa"),
        (rb"attribution-noncommercial-sharealike|cc-by-nc-sa", r"cc-by-nc-sa.*"),
        (rb"attribution-noncommercial-noderiv|cc-by-nc-nd", r"cc-by-nc-nd.*"),
        (rb"attribution-noncommercial( \d|\b(?!-))|cc-by-nc-\d", r"cc-by-nc-\d.*"),
        (rb"attribution-sharealike|cc-by-sa-\d", r"cc-by-sa.*"),
        (rb"creative commons attribution \d|cc-by-\d", r"cc-by-\d.*"),
        (rb"cc0 1\.0|creative commons zero", r"cc0.*"),
        (rb"llama ?[\d.]+ community license|meta llama \d", r"llama.*"),
        (rb"gemma terms of use", r"gemma"),
        (rb"openrail|rail license", r".*rail.*"),
        (rb"this is free and unencumbered software", r"unlicense"),
    )
)


def says_another(text: bytes, licences: Collection[str]) -> str | None:
    """The words by which the text of a licence is none of those; None if it is one of them, or
    nobody can tell."""
    begun = b" ".join(text[:4096].lower().split())
    found = [(match[0], ids) for said, ids in _TITLES if (match := said.search(begun))]
    known = {each.lower() for each in licences} & (HUB_LICENCES - _OPEN_ENDED)
    if not found or not known or any(ids.fullmatch(each) for _, ids in found for each in known):
        return None
    return found[0][0].decode("ascii", "replace")


def conflicts(licence: str, base: str) -> bool:
    """True if a model under ``licence`` cannot be made from one under ``base``."""
    licence, base = licence.lower(), base.lower()
    if licence == base or {licence, base} & _OPEN_ENDED:
        return False
    # A later version of the same family is a question for lawyers, not for a rule.
    same_family = re.split(r"[-\d.]", licence)[0] == re.split(r"[-\d.]", base)[0] != "cc"
    return _BINDING.fullmatch(base) is not None and not same_family

"""One base for all tests of a case: pytest groups them by it, so each is loaded once."""

from __future__ import annotations

import pytest

from .stacks import CASES, Base, directory_of, load_base


@pytest.fixture(scope="session", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def base(case: str) -> Base:
    return load_base(directory_of(case))

"""Fixtures that every test may ask for: an ordinary order, what is known, and what applies."""

from __future__ import annotations

import pytest

from tests import given


@pytest.fixture
def order():
    """Make an order: a limit buy of 1 BTC at 100 on the contract market, unless told otherwise."""
    return given.order


@pytest.fixture
def facts():
    """Make facts: everything known and fresh, nothing held, nothing waiting, unless told otherwise."""
    return given.facts


@pytest.fixture
def limits():
    """Make limits: nothing limited, unless told otherwise."""
    return given.limits

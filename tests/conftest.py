"""Fixtures that every test may ask for: an ordinary order, what is known, and what applies."""

from __future__ import annotations

import gc
import sys

import pytest

from tests import given


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking thousands of collected tests over and over.

    A proxy that starts goes through all there is once, which in a process of its own takes 20 ms. Here it
    would take 300 at each of hundreds of starts, so only the proxies in processes of their own do it.
    """
    gc.collect()
    gc.freeze()
    if app := sys.modules.get("proxy.app"):
        app.calm_collector = lambda: lambda: None


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

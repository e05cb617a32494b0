"""Fixtures that every test may ask for: an ordinary order, what is known, and what applies."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests import canary, given

# How long an example may take is no property of ours, and a crowded machine would fail it now and then.
settings.register_profile("riskgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("riskgate")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test fails whose captured output, answers or written files hold the canary that is in every secret."""
    report = yield
    if report.when == "teardown":
        leaks = [*canary.answered()]
        for name, content in report.sections:
            if (around := canary.found_in(content.encode("utf-8", "replace"))) is not None:
                leaks.append(f"{name}: ...{around}...")
        folder = getattr(item, "funcargs", {}).get("tmp_path")
        if folder is not None and folder.exists():
            leaks += canary.leaks_below(folder)
        if leaks and report.passed:
            report.outcome = "failed"
            report.longrepr = "a secret stands in an output:\n" + "\n".join(leaks)
    return report


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

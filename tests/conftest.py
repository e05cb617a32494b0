"""Fixtures that every test may ask for: an ordinary order, what is known, and what applies."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from tests import canary, given, stored
from tests.contracts.servers import Server

# How long an example may take is no property of ours, and a crowded machine would fail it now and then.
settings.register_profile("riskgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("riskgate")

STORED = pytest.StashKey[list[str]]()  # what stood in servers when the test itself ended


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--loop uvloop` runs every test on that loop; without it those that are marked run on both, others on asyncio."""
    parser.addoption("--loop", choices=sorted(LOOPS), help="run every asynchronous test on this event loop")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Which loops a test runs on: what carries and stops orders has to do so on each."""
    if (only := config.getoption("--loop")) is not None:
        return {only: LOOPS[only]}
    return LOOPS if item.get_closest_marker("both_loops") else {"asyncio": LOOPS["asyncio"]}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test fails whose captured output, answers, files or rows hold the canary that is in every secret."""
    report = yield
    if report.when == "call":  # its fixtures still stand, so nothing is dropped yet
        item.stash[STORED] = [*_leaks_in_servers(item)]
    if report.when == "teardown":
        leaks = [*canary.answered(), *item.stash.get(STORED, [])]
        for name, content in report.sections:
            if (around := canary.found_in(content.encode("utf-8", "replace"))) is not None:
                leaks.append(f"{name}: ...{around}...")
        if (folder := _folder_of(item)) is not None:
            leaks += canary.leaks_below(folder)
        told = "a secret stands in an output:\n" + "\n".join(leaks)
        if leaks and report.passed:
            report.outcome, report.longrepr = "failed", told
        elif leaks:
            report.sections.append(("secrets", told))
    return report


def _leaks_in_servers(item: pytest.Item) -> Iterator[str]:
    """What stands in each server that the test used."""
    folder = _folder_of(item)
    tokens = () if folder is None else tuple(canary.tokens_of(folder))
    servers = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Server)]
    for url in sorted(stored.used() | {server.url for server in servers}):
        yield from stored.leaks(url, tokens=tokens)


def _folder_of(item: pytest.Item) -> Path | None:
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    return folder if folder is not None and folder.exists() else None


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

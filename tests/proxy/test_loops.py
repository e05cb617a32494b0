"""uvloop where it is there and new enough, asyncio's own loop otherwise or where that is asked for."""

from __future__ import annotations

import sys

import pytest
import uvloop

from proxy import loops
from proxy.errors import ConfigError


async def on() -> str:
    """What it runs on."""
    return loops.running()


@pytest.fixture
def no_uvloop(monkeypatch):
    """An environment without the `speed` extra."""
    monkeypatch.setitem(sys.modules, "uvloop", None)


@pytest.fixture
def old_uvloop(monkeypatch):
    """An environment with a uvloop that keeps what is written until the end of the loop's round."""
    monkeypatch.setattr(loops, "version", lambda name: "0.22.1")


@pytest.mark.parametrize("choice", ["auto", "uvloop"])
def test_uvloop_is_used_where_it_is_installed(choice):
    """Nothing has to be set for it, and the loop says its version."""
    assert loops.run(on(), choice) == f"uvloop {uvloop.__version__}"


def test_asyncio_can_be_had_all_the_same():
    """Whoever asks for it gets it."""
    assert loops.run(on(), "asyncio") == "asyncio"


@pytest.mark.usefixtures("no_uvloop")
def test_without_uvloop_it_is_asyncio():
    """The extra is optional."""
    assert loops.run(on()) == "asyncio"


@pytest.mark.usefixtures("old_uvloop")
def test_a_uvloop_that_writes_late_is_not_used():
    """Before 0.23 the last look and the write would be in different steps."""
    assert loops.run(on()) == "asyncio"


@pytest.mark.parametrize(
    ("environment", "found"), [("no_uvloop", "found no uvloop"), ("old_uvloop", "found uvloop 0.22.1")]
)
def test_a_uvloop_that_is_asked_for_has_to_be_there(request, environment, found):
    """Not the other one silently: the sentence says what was found and how to get it."""
    request.getfixturevalue(environment)

    with pytest.raises(ConfigError, match=rf"event_loop: {found}.*expected uvloop 0\.23 or newer.*riskgate\[speed\]"):
        loops.run(on(), "uvloop")


@pytest.mark.parametrize(
    ("text", "is_older"), [("0.22.1", True), ("0.9", True), ("0.23.0", False), ("0.24rc1", False), ("1.0", False)]
)
def test_versions_are_compared_as_numbers(monkeypatch, text, is_older):
    """0.9 is older than 0.23, and 1.0 newer."""
    monkeypatch.setattr(loops, "version", lambda name: text)

    assert bool(loops.lacking()) == is_older


def test_outside_of_a_loop_there_is_none():
    """Whoever asks there is told nothing, not an error."""
    assert loops.running() == ""

"""What the service manager hears, on a real datagram socket."""

import asyncio
import os
import socket

import pytest

from proxy.cli.service_manager import ServiceManager
from proxy.tasks import Tasks


@pytest.fixture
def line(tmp_path):
    """The socket that a service manager listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(5)
        yield heard


def test_without_a_manager_nobody_is_told():
    """In a terminal there is no socket, no watchdog and no error."""
    manager = ServiceManager({})
    manager.ready("x")
    manager.stopping()

    assert (manager.listens, manager.watchdog_s) == (False, None)


def test_ready_and_stopping_are_told_in_the_managers_words(line):
    """One datagram each, as sd_notify(3) writes them."""
    manager = ServiceManager({"NOTIFY_SOCKET": line.getsockname()})
    manager.ready("bots connect to http://127.0.0.1:8080")
    manager.stopping()

    assert line.recv(1000) == b"READY=1\nSTATUS=bots connect to http://127.0.0.1:8080"
    assert line.recv(1000).startswith(b"STOPPING=1\n")


def test_an_abstract_name_starts_with_a_zero_byte():
    """`@name` is how the manager writes a socket that has no file."""
    name = f"riskgate-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        heard.settimeout(5)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert heard.recv(1000).startswith(b"STOPPING=1")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_if_this_process_was_asked(asked, expected):
    """A child that inherits the environment does not speak for its parent."""
    assert ServiceManager({"NOTIFY_SOCKET": "/nowhere", **asked}).watchdog_s == expected


async def test_the_watchdog_is_fed_several_times_a_period(line):
    """Two lost lines are no reason to restart."""
    tasks = Tasks()
    manager = ServiceManager({"NOTIFY_SOCKET": line.getsockname(), "WATCHDOG_USEC": "90000"})
    tasks.spawn(manager.feed(), name="watchdog")
    try:
        for _ in range(4):
            assert await asyncio.to_thread(line.recv, 100) == b"WATCHDOG=1"
    finally:
        await tasks.close()


def test_a_manager_that_went_away_stops_nothing(tmp_path):
    """Orders are judged whether or not somebody listens."""
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")

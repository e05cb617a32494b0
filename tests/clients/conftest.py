"""The house and the drivers: started when first asked for, ended with the session."""

from __future__ import annotations

import os

import pytest

from tests.clients.environments import is_made
from tests.clients.parts import SUBJECTS, Driver, Running, Subject

SKIP_VARIABLE = "RISKGATE_SKIP_CLIENTS"


def require(environment: str) -> None:
    """Fail without the environment, rather than skip: an untested client would look like a working one."""
    if is_made(environment):
        return
    if os.environ.get(SKIP_VARIABLE) == "1":
        pytest.skip(f"the environment of {environment} is not made, and {SKIP_VARIABLE}=1")
    pytest.fail(f"the environment of {environment} is missing or out of date: run `make clients`", pytrace=False)


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """Tap, proxy and exchange over plain http."""
    running = Running(tmp_path_factory.mktemp("house"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def tls_house(tmp_path_factory):
    """Proxy and exchange, the proxy with TLS under a domain of its own."""
    running = Running(tmp_path_factory.mktemp("house"), tls=True)
    yield running
    running.close()


@pytest.fixture(scope="session")
def _drivers():
    started: dict[tuple[str, Running], Driver] = {}
    yield started
    for driver in started.values():
        driver.close()


@pytest.fixture
def client_in(_drivers):
    """Makes a client in a house; its process is started once."""

    def made(running: Running, subject: Subject, mode: str, *, way: int = 1):
        require(subject.environment)
        key = (subject.environment, running)
        if key not in _drivers:
            _drivers[key] = Driver(subject, running)
        running.reset()
        used.append(running)
        return _drivers[key].client(subject, mode, way=way)

    used: list[Running] = []
    yield made
    assert [leak for running in used for leak in running.leaks()] == []


@pytest.fixture(params=SUBJECTS, ids=str)
def subject(request) -> Subject:
    """Every way of using every client."""
    return request.param


@pytest.fixture(params=["passthrough", "custody"])
def mode(request) -> str:
    """Both ways of holding keys."""
    return request.param


@pytest.fixture
def client(request, subject, mode, client_in):
    """A client configured by the printed snippet, in the plain house, with nothing left of the test before."""
    require(subject.environment)
    return client_in(request.getfixturevalue("house"), subject, mode)

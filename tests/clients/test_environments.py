"""A client that is not there must not look like one that works."""

from __future__ import annotations

import pytest

from tests.clients import conftest, environments
from tests.clients.parts import SUBJECTS


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Environments somewhere else, none made yet."""
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    return tmp_path


def _pretend(client: str) -> None:
    environments.python(client).parent.mkdir(parents=True)
    environments.python(client).touch()
    (environments.FOLDER / client / environments.STAMP).write_text(environments._stamp_of(client))


def test_every_subject_has_an_environment_and_a_driver():
    """What the tests drive is what `make clients` makes."""
    assert {subject.environment for subject in SUBJECTS} == set(environments.CLIENTS)
    assert all(subject.driver.is_file() for subject in SUBJECTS)


def test_every_version_is_pinned():
    """An environment made tomorrow is the one that was measured today."""
    for client in environments.CLIENTS:
        lines = environments.requirements(client).read_text().splitlines()
        assert lines
        assert all("==" in line for line in lines), client


def test_an_environment_counts_only_with_a_fitting_stamp(folder, monkeypatch, tmp_path):
    """Missing, half made, or made from other requirements: each is made again."""
    assert not environments.is_made("ccxt")
    _pretend("ccxt")
    assert environments.is_made("ccxt")

    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "ccxt.txt").write_text("ccxt==1.0\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path / "requirements")
    assert not environments.is_made("ccxt")


def test_a_failed_install_leaves_no_stamp(folder, monkeypatch, tmp_path):
    """What could not be installed fails the command and is tried again the next time."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "ccxt.txt").write_text("./is-not-there\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path / "requirements")
    monkeypatch.setattr(environments, "CLIENTS", ("ccxt",))

    assert environments.main() == 1
    assert not environments.is_made("ccxt")


def test_all_made_is_nothing_to_do(folder, monkeypatch):
    """A second run makes nothing."""
    for client in environments.CLIENTS:
        _pretend(client)
    monkeypatch.setattr(environments, "make", lambda client: pytest.fail(f"made {client} again"))

    assert environments.main() == 0


def test_a_missing_environment_fails_and_does_not_skip(folder, monkeypatch):
    """Skipping needs an explicit word; anything else fails, as in CI."""
    monkeypatch.delenv(conftest.SKIP_VARIABLE, raising=False)
    with pytest.raises(pytest.fail.Exception, match="make clients"):
        conftest.require("ccxt")

    monkeypatch.setenv(conftest.SKIP_VARIABLE, "yes")
    with pytest.raises(pytest.fail.Exception):
        conftest.require("ccxt")

    monkeypatch.setenv(conftest.SKIP_VARIABLE, "1")
    with pytest.raises(pytest.skip.Exception):
        conftest.require("ccxt")

"""apprise: handed each message, where it is installed."""

import sys
from types import SimpleNamespace

import pytest

from proxy.errors import ConfigError
from proxy.notifiers import AlertClass, Apprise, Message, NotifyFailed, Severity
from tests.proxy.notifiers.conftest import NOW


class FakeTarget:
    """What apprise.Apprise offers of itself here."""

    takes = True

    def __init__(self):
        self.urls = []
        self.sent = []

    def add(self, url):
        """apprise says False to a URL that it does not know."""
        self.urls.append(url)
        return url.startswith("json://")

    async def async_notify(self, **told):
        """Whether all services took it."""
        self.sent.append(told)
        return self.takes


@pytest.fixture
def library(monkeypatch):
    """A stand-in for the library, which is an extra."""
    monkeypatch.setitem(sys.modules, "apprise", SimpleNamespace(Apprise=FakeTarget))


async def test_a_message_is_handed_over_with_its_kind(library):
    """Title, text and apprise's word for the severity."""
    notifier = Apprise(["json://localhost"])
    await notifier.send(Message(Severity.CRITICAL, "t", "x", NOW, (AlertClass.ESS,)))

    assert notifier._target.sent == [{"title": "t", "body": "x", "notify_type": "failure"}]


async def test_a_service_that_refuses_counts_as_not_delivered(library, monkeypatch):
    """apprise answers False then."""
    monkeypatch.setattr(FakeTarget, "takes", False)
    with pytest.raises(NotifyFailed):
        await Apprise(["json://localhost"]).send(Message(Severity.INFO, "t", "", NOW, ()))


def test_a_url_that_is_none_stops_the_start_unnamed(library):
    """Which one is told by its number: the URL holds a secret."""
    with pytest.raises(ConfigError, match="number 2") as refused:
        Apprise(["json://localhost", "slakc://secret-token"])
    assert "secret-token" not in str(refused.value)


def test_without_the_extra_the_start_says_what_to_install(monkeypatch):
    """Nobody believes to be told by a service that is not there."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"riskgate\[apprise\]"):
        Apprise(["json://localhost"])

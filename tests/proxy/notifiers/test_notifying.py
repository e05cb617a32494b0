"""Everything together, as the settings ask for it, against a server on loopback."""

import json
import time

import pytest

from proxy.config import Notify, SettingsInvalid, from_mapping
from proxy.errors import ConfigError
from proxy.notifiers import Notifying
from rules import EssLevel, Stop
from tests.canary import marked
from tests.proxy.notifiers.conftest import NOW, until

BOT = {"token": "1:x", "users": {"7": {"name": "anna", "role": "admin"}}}


def watched(notifying):
    """Begin to look at a world that is well."""
    parts = {"audit": {"ready": True}, "policy": {}, "feeds": {}}
    notifying.watch(
        ready=lambda: (True, parts), losses=lambda _: (), bypasses=lambda _: 0, decisions=lambda: (0, 0), accounts=(),
    )  # fmt: skip


async def test_a_halt_is_at_the_webhook_and_at_telegram_within_five_seconds(server, clock):
    """And the start and the stop of the proxy are told around it."""
    settings = Notify.model_validate({
        "instance": "desk", "webhook": {"url": f"{server.url}/hook", "secret": marked("s")},
        "telegram": BOT | {"api": server.url, "commands": False},
    })  # fmt: skip
    notifying = Notifying(settings, clock=clock)
    watched(notifying)
    notifying.began("1.2.3", [Stop(level=EssLevel.CLEAR)])
    began = time.monotonic()
    notifying.stopped(Stop(level=EssLevel.HALT, actor="anna", reason="fills", source="api", since=NOW))
    await until(lambda: len(server.posted) == 4)
    took_s = time.monotonic() - began
    await notifying.close()

    assert took_s < 5
    titles = [json.loads(body)["title"] for path, _, body in server.posted if path == "/hook"]
    assert titles == ["[desk] started, version 1.2.3", "[desk] HALT global", "[desk] stopping"]
    texts = [json.loads(body)["text"] for body in server.sent("sendMessage")]
    assert texts[1] == "CRITICAL: [desk] HALT global\nby anna (api): fills"


async def test_a_stop_goes_on_when_telling_it_fails(clock, monkeypatch):
    """Whoever halts must not meet a notifier's fault."""
    notifying = Notifying(Notify(), clock=clock)
    watched(notifying)

    def fail(_):
        raise RuntimeError("no")

    monkeypatch.setattr(notifying._watch, "stopped", fail)
    notifying.stopped(Stop(level=EssLevel.HALT))
    await notifying.close()


async def test_a_start_that_is_refused_leaves_nothing_open(clock, monkeypatch):
    """apprise is asked for and not there: the error comes before anything is opened."""
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(ConfigError):
        Notifying(Notify.model_validate({"apprise": ["json://localhost"]}), clock=clock)


@pytest.mark.parametrize(
    ("notify", "key"),
    [
        ({"webhook": {"url": "http://hooks.example/x"}}, "notify.webhook.url"),
        ({"telegram": BOT | {"users": {}}}, "notify.telegram.users"),
        ({"telegram": BOT | {"users": {"anna": {"name": "anna"}}}}, "notify.telegram.users.anna"),
        ({"telegram": BOT | {"api": "http://bots.example"}}, "notify.telegram.api"),
        ({"digest_interval": "0s"}, "notify.digest_interval"),
        ({"events": {"ess": "loud"}}, "notify.events.ess"),
        ({"per_minute": "0"}, "notify.per_minute"),
    ],
)
def test_settings_that_would_tell_nobody_or_everybody_are_refused(tmp_path, notify, key):
    """Each names its key; no secret stands in the sentence."""
    with pytest.raises(SettingsInvalid) as refused:
        from_mapping({"notify": notify}, base=tmp_path)
    assert key in [problem.key for problem in refused.value.problems]
    assert "1:x" not in str(refused.value)

"""Alerts reach every notifier soon, in bounded numbers, and nothing is dropped without being said."""

import time
from datetime import timedelta

import pytest

from proxy.notifiers import AlertClass, Severity, Telling
from proxy.notifiers import telling as module
from tests.proxy.notifiers.conftest import NOW, Remembers, until

FEED, ESS = AlertClass.FEED, AlertClass.ESS


@pytest.fixture
async def told(clock):
    """A telling with one notifier, begun."""
    notifier = Remembers()
    telling = Telling([notifier], clock=clock, per_minute=3)
    telling.start()
    yield telling, notifier, clock
    await telling.close(timeout_s=0.5)


async def test_an_alert_arrives_within_five_seconds(told):
    """At once, with its class, its severity and its instant."""
    telling, notifier, _ = told
    began = time.monotonic()
    telling.tell(ESS, Severity.CRITICAL, "HALT global", "by anna")
    await until(lambda: notifier.messages)

    [message] = notifier.messages
    assert time.monotonic() - began < 5
    assert message == (Severity.CRITICAL, "[riskgate] HALT global", "by anna", NOW, (ESS,))


async def test_what_is_too_much_is_held_back_and_then_told_in_one(told):
    """Three a minute of a class; the other seven are counted and named in one message a minute later."""
    telling, notifier, clock = told
    for number in range(10):
        telling.tell(FEED, Severity.WARNING, f"feed {number}")
    await until(lambda: len(notifier.messages) == 3)
    clock.advance(to=NOW + timedelta(seconds=60))
    await until(lambda: len(notifier.messages) == 4)

    assert notifier.titles == ["feed 0", "feed 1", "feed 2", "7 more of feed held back"]
    assert [f"feed {number}" in notifier.messages[3].text for number in range(10)] == [False] * 3 + [True] * 7


async def test_a_flood_of_one_class_holds_back_no_other(told):
    """A halt is told at once however often a feed flaps."""
    telling, notifier, _ = told
    for number in range(1000):
        telling.tell(FEED, Severity.WARNING, f"feed {number}")
    telling.tell(ESS, Severity.CRITICAL, "HALT global")
    await until(lambda: "HALT global" in notifier.titles)

    assert len(notifier.messages) == 4


async def test_a_digest_gathers_and_off_says_nothing(clock):
    """Gathered classes come together in one message after the interval; switched off ones never."""
    notifier = Remembers()
    telling = Telling([notifier], clock=clock, modes={"policy": "digest", "feed": "off"}, digest_s=900)
    telling.start()
    for number in range(3):
        telling.tell(AlertClass.POLICY, Severity.INFO, f"policy revision {number}")
        telling.tell(FEED, Severity.CRITICAL, "feed")
    telling.tell(ESS, Severity.INFO, "released")
    await until(lambda: notifier.titles == ["released"])
    clock.advance(to=NOW + timedelta(seconds=900))
    await until(lambda: len(notifier.messages) == 2)
    await telling.close()

    assert notifier.titles == ["released", "3 gathered"]
    assert notifier.messages[1].classes == (AlertClass.POLICY,)
    assert notifier.messages[1].text.count("policy revision") == 3


async def test_a_notifier_that_hangs_delays_neither_the_caller_nor_another(clock):
    """Ten thousand alerts are taken in a moment, memory stays bounded, the other notifier hears."""
    stuck, well = Remembers("stuck"), Remembers("well")
    stuck.hangs = True
    telling = Telling([stuck, well], clock=clock, per_minute=60)
    telling.start()
    began = time.thread_time()  # nothing here waits: what it costs is what it delays
    for number in range(10_000):
        telling.tell(FEED, Severity.WARNING, f"feed {number}")
    took_s = time.thread_time() - began
    await until(lambda: len(well.messages) == 60)
    await telling.close(timeout_s=0.1)

    assert took_s < 1
    assert stuck.messages == []
    assert telling.report()[0]["waiting"] <= module.WAITING_MAX
    assert well.titles[60:] == ["9940 more of feed held back"]


async def test_a_failed_message_is_tried_again(told, monkeypatch):
    """Twice refused, it arrives with the third attempt, and in order."""
    monkeypatch.setattr(module, "TRY_AGAIN_AFTER_S", (0.01, 0.01, 0.01))
    telling, notifier, _ = told
    notifier.fails = 2
    telling.tell(ESS, Severity.CRITICAL, "first")
    telling.tell(ESS, Severity.CRITICAL, "second")
    await until(lambda: len(notifier.messages) == 2)

    assert notifier.titles == ["first", "second"]
    assert telling.report() == [{"name": "test", "sent": 2, "failed": 2, "waiting": 0, "lost": 0}]


async def test_what_could_not_be_delivered_is_said_with_the_next(told, monkeypatch):
    """A message that no attempt delivered is counted in the one that follows."""
    monkeypatch.setattr(module, "TRY_AGAIN_AFTER_S", (0.01,))
    telling, notifier, _ = told
    notifier.fails = 2
    telling.tell(ESS, Severity.CRITICAL, "first")
    await until(lambda: notifier.fails == 0)
    telling.tell(ESS, Severity.CRITICAL, "second")
    await until(lambda: notifier.messages)

    assert notifier.titles == ["second"]
    assert "1 older messages could not be delivered" in notifier.messages[0].text


async def test_the_queue_is_bounded_and_keeps_what_is_urgent(told):
    """Where too many wait the least urgent goes, never a halt before a remark."""
    telling, _, _ = told
    channel = telling._channels[0]
    halt = module.Message(Severity.CRITICAL, "halt", "", NOW, (ESS,))
    remark = module.Message(Severity.INFO, "remark", "", NOW, (FEED,))
    channel.notifier.hangs = True
    channel.put(halt)
    for _ in range(500):
        channel.put(remark)

    assert len(channel.waiting) == module.WAITING_MAX
    assert channel.waiting[0] is halt
    assert channel.lost == 501 - module.WAITING_MAX


async def test_closing_delivers_what_waits_and_what_was_held(clock):
    """The last words get out: what was held back and gathered too."""
    notifier = Remembers()
    telling = Telling([notifier], clock=clock, per_minute=1, modes={"policy": "digest"})
    telling.start()
    for number in range(3):
        telling.tell(FEED, Severity.WARNING, f"feed {number}")
    telling.tell(AlertClass.POLICY, Severity.INFO, "revision 2")
    await telling.close()

    assert notifier.titles == ["feed 0", "2 more of feed held back", "1 gathered"]


@pytest.mark.parametrize(
    "secret", ["signature=abcdef0123", "token: rgt_verysecret", "Bearer abc.def", "password=hunter2"]
)
async def test_what_looks_like_a_secret_is_not_told(told, secret):
    """In titles, texts and summaries alike."""
    telling, notifier, clock = told
    for _ in range(5):
        telling.tell(FEED, Severity.WARNING, f"title {secret}", f"detail {secret}")
    clock.advance(to=NOW + timedelta(seconds=60))
    await until(lambda: len(notifier.messages) == 4)

    told_text = " ".join(f"{message.title} {message.text}" for message in notifier.messages)
    assert "[redacted]" in told_text
    assert secret.replace("=", " ").replace(":", " ").split()[-1] not in told_text

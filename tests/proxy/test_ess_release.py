"""Who may release: one named person, and two where a person stopped everything."""

from datetime import UTC, datetime, timedelta

import pytest

from proxy.clock import ManualClock
from proxy.errors import RevisionConflict
from proxy.ess import EssLatch, StopRequestInvalid, initialise
from proxy.ess_release import CONFIRM_S, Asked, Releases
from rules import EssLevel

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def world(tmp_path):
    """A latch and who may release it."""
    clock = ManualClock(NOW)
    initialise(tmp_path / "ess", clock=clock)
    latch = EssLatch.open(tmp_path / "ess", clock=clock, drain=None)
    yield latch, Releases(latch, clock), clock
    latch.close()


async def stop(latch, source="api", scope="global", level=EssLevel.HALT, actor="ann"):
    """Engage."""
    await latch.engage(level=level, scope=scope, actor=actor, reason="drill", source=source)


async def release(world, actor="ann", scope="global", epoch=None, credential=""):
    """Release at the epoch in force."""
    latch, releases, _ = world
    epoch = latch.stop_of(scope).epoch if epoch is None else epoch
    return await releases.release(
        scope=scope, actor=actor, reason=f"{actor} looked", expected_epoch=epoch, credential=credential
    )


async def test_the_first_person_asks_and_the_second_releases(world):
    """Nothing is released by the first; what both said stands in the released stop."""
    latch, releases, _ = world
    await stop(latch)

    asked = await release(world, "ann")
    assert isinstance(asked, Asked)
    assert latch.governing("main").level is EssLevel.HALT
    assert releases.asked == asked

    released = await release(world, "bob")
    assert (released.level, released.actor) == (EssLevel.CLEAR, "ann and bob")
    assert released.reason == "ann looked; confirmed: bob looked"
    assert latch.governing("main").level is EssLevel.CLEAR
    assert releases.asked is None


@pytest.mark.parametrize("again", ["ann", "Ann", " ANN\t"])
async def test_one_person_never_releases_alone_however_the_name_is_spelt(world, again):
    """A hundred tries by the same person leave it engaged."""
    latch, _, _ = world
    await stop(latch)
    for _ in range(100):
        assert isinstance(await release(world, again), Asked)
    assert latch.governing("main").level is EssLevel.HALT


async def test_a_request_lasts_ten_minutes_by_a_clock_that_nobody_sets(world):
    """Just before the end it counts, at the end it does not; setting the wall clock back gives no more time."""
    latch, releases, clock = world
    await stop(latch)
    await release(world, "ann")
    clock.advance(to=clock.now() + timedelta(seconds=CONFIRM_S))
    assert releases.asked is None
    assert isinstance(await release(world, "bob"), Asked)

    clock.advance(to=clock.now() + timedelta(seconds=CONFIRM_S - 0.001))
    assert (await release(world, "cat")).level is EssLevel.CLEAR


async def test_an_engage_in_between_voids_the_request(world):
    """What was asked for was the stop of before."""
    latch, _, _ = world
    await stop(latch)
    seen = latch.stop_of("global").epoch
    await release(world, "ann")
    await stop(latch, actor="eve")

    with pytest.raises(RevisionConflict):
        await release(world, "bob", epoch=seen)
    assert isinstance(await release(world, "bob"), Asked)


@pytest.mark.parametrize(
    ("engaged_by", "two"),
    [
        (("api",), True),
        (("signal",), True),
        (("file",), True),
        (("cli",), True),
        (("telegram",), True),  # whatever is not known to be a rule is a person
        (("loss",), False),
        (("global_risk",), False),
        (("start",), False),
        (("loss", "api"), True),
        (("api", "loss"), True),
    ],
)
async def test_two_are_needed_where_a_person_had_a_hand_in_it(world, engaged_by, two):
    """A rule before or after the person changes nothing, at the same level or a stricter one."""
    latch, _, _ = world
    for number, source in enumerate(engaged_by):
        await stop(latch, source, actor=f"{source}{number}")

    assert isinstance(await release(world, "zoe"), Asked) is two


async def test_a_person_who_asked_for_less_than_the_rule_did_still_counts(world):
    """REDUCE_ONLY by a person, HALT by a rule: two are needed."""
    latch, _, _ = world
    await stop(latch, "api", level=EssLevel.REDUCE_ONLY)
    await stop(latch, "loss", level=EssLevel.HALT)

    assert isinstance(await release(world, "zoe"), Asked)


@pytest.mark.parametrize("scope", ["account:main", "symbol:BTCUSDT", "strategy:grid", "exchange:binance"])
async def test_a_narrower_stop_needs_one_person(world, scope):
    """Only what stops everything needs two."""
    latch, _, _ = world
    await stop(latch, scope=scope)

    assert (await release(world, scope=scope)).level is EssLevel.CLEAR


async def test_two_names_with_one_token_are_one_person(world):
    """Where tokens are personal, the second person's has to be another one."""
    latch, _, _ = world
    await stop(latch)
    await release(world, "ann", credential="token-1")
    with pytest.raises(StopRequestInvalid, match="same token"):
        await release(world, "bob", credential="token-1")
    assert latch.governing("main").level is EssLevel.HALT
    assert (await release(world, "bob", credential="token-2")).level is EssLevel.CLEAR


async def test_whoever_works_alone_may_say_so(world):
    """Then one person and a reason are enough."""
    latch, _, clock = world
    await stop(latch)
    alone = Releases(latch, clock, by_two=False)

    stopped = latch.stop_of("global")
    assert (
        await alone.release(scope="global", actor="ann", reason="r", expected_epoch=stopped.epoch)
    ).level is EssLevel.CLEAR


@pytest.mark.parametrize(("actor", "reason"), [("", "r"), (" ", "r"), ("ann", ""), ("ann", " "), ("", "")])
async def test_a_request_needs_a_name_and_a_reason(world, actor, reason):
    """Also the first of two."""
    latch, releases, _ = world
    await stop(latch)
    with pytest.raises(StopRequestInvalid):
        await releases.release(scope="global", actor=actor, reason=reason, expected_epoch=2)


async def test_a_restart_forgets_the_request_and_keeps_the_stop(world):
    """The next process asks for two persons again."""
    latch, _, clock = world
    await stop(latch)
    await release(world, "ann")
    again = EssLatch.open(latch.path, clock=clock, drain=None)
    try:
        assert again.stop_of("global").by_person
        releases = Releases(again, clock)
        answer = await releases.release(
            scope="global", actor="bob", reason="r", expected_epoch=again.stop_of("global").epoch
        )
        assert isinstance(answer, Asked)
    finally:
        again.close()

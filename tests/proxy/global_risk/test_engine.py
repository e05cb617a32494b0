"""The engine: from a book to a signal, on a timer and off the path of orders."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from structlog.testing import capture_logs

from proxy.book import AccountPlace, Quote
from proxy.clock import SystemClock
from proxy.errors import StoreUnavailable
from proxy.feeds import FeedFailed
from proxy.global_risk import engine as engine_module
from proxy.global_risk.engine import GlobalRiskEngine, benchmark_of
from proxy.global_risk.measures import Method
from proxy.global_risk.models import Tier
from proxy.tasks import Tasks
from rules import Filters, Position, RiskLevel
from tests.proxy.global_risk.conftest import LINEAR, SPOT, D, open_desk, place, series

INFO, WARNING, CRITICAL = RiskLevel.INFO, RiskLevel.WARNING, RiskLevel.CRITICAL


def walk(seed: int, days: int = 90, deviation: float = 0.02) -> list[float]:
    """Returns of one symbol."""
    pick = random.Random(seed)
    return [pick.gauss(0, deviation) for _ in range(days)]


def engine_of(desk, **more) -> GlobalRiskEngine:
    """An engine for a desk."""
    return GlobalRiskEngine(desk.book, desk.marks, lambda: desk.limits, desk.history, desk.clock, **more)


def known(desk):
    """A desk whose symbols have quiet histories of their own."""
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")):
        desk.know(symbol, walk(seed))
    return desk


async def test_nothing_is_known_before_the_first_evaluation(desk):
    """Missing, which blocks where the signal is required; not INFO."""
    engine = engine_of(desk)

    assert (engine.signal, engine.latest()) == (None, None)


async def test_what_orders_read_is_what_is_published(desk):
    """Level, tier, action, score and issues of the signal, as old as its evaluation."""
    known(desk)
    desk.hold(BTCUSDT="1.5")
    engine = engine_of(desk)
    signal = await engine.evaluate()
    fact = engine.latest()

    assert fact.as_of == desk.clock.now()
    assert (fact.value.level, fact.value.ess_tier) == (CRITICAL, signal.ess_tier_recommendation.value)
    assert fact.value.ess_action_required
    assert fact.value.issues == signal.critical_issues


async def test_a_small_first_position_without_any_history_is_a_warning_and_no_block(desk):
    """A fresh installation: VaR is absent and said to be, the level comes from the rest, nothing demands action."""
    desk.hold(BTCUSDT="0.05")
    signal = await engine_of(desk).evaluate()

    assert (signal.var_result, signal.es_result) == (None, None)
    assert (signal.risk_level, signal.ess_action_required) == (WARNING, False)
    assert "VaR and ES are not known" in signal.warnings
    assert "BTCUSDT has 0 daily returns, 30 are needed" in signal.unknown


async def test_nothing_held_is_info_also_without_history(desk):
    """The first order of all is judged by a signal that is there and calm."""
    signal = await engine_of(desk).evaluate()

    assert (signal.risk_level, signal.ess_tier_recommendation) == (INFO, Tier.NORMAL)
    assert signal.overall_risk_score == 0


async def test_the_level_follows_the_position(desk):
    """Small: INFO. Near a limit: WARNING. Over one: CRITICAL, and back."""
    known(desk)
    engine = engine_of(desk)
    levels = []
    for quantity in ("0.1", "0.45", "0.58", "0.1"):
        desk.hold(BTCUSDT=quantity)
        levels.append((await engine.evaluate()).risk_level)

    # At two percent a day, VaR 95 of 22,500 is over 8 % of the equity of 10,000, and of 29,000 over 10 %.
    assert levels == [INFO, WARNING, CRITICAL, INFO]


async def test_a_failed_evaluation_leaves_the_last_signal_with_its_age(desk):
    """It grows too old by itself: nothing fresh takes its place."""
    engine = engine_of(desk)
    await engine.evaluate()
    before = engine.latest()
    desk.forward(61)
    with pytest.raises(FeedFailed, match="older than 60 s"):
        await engine.evaluate()

    assert engine.latest() is before
    assert not await engine.read_once()
    assert "older than 60 s" in engine.health()[0].last_error


async def test_without_limits_there_is_no_signal(desk):
    """A policy that cannot be read judges nothing."""
    engine = engine_of(desk)

    def unreadable():
        raise StoreUnavailable("gone")

    engine._limits = unreadable
    with pytest.raises(FeedFailed, match="gone"):
        await engine.evaluate()


async def test_limits_are_read_at_every_evaluation(desk):
    """A changed policy is in force with the next one."""
    known(desk)
    desk.hold(BTCUSDT="0.1")
    engine = engine_of(desk)
    assert (await engine.evaluate()).risk_level is INFO
    desk.limits = desk.limits.model_copy(update={"position_money_max": D(5000)})

    assert (await engine.evaluate()).risk_level is CRITICAL


async def test_what_is_new_is_logged_once(desk):
    """A level, a breach and a systemic signal are told when they begin, and not at every evaluation."""
    known(desk)
    engine = engine_of(desk)
    with capture_logs() as told:
        for quantity in ("0.1", "1.5", "1.5", "1.5"):
            desk.hold(BTCUSDT=quantity)
            await engine.evaluate()

    events = [line["event"] for line in told]
    assert events.count("risk.level_changed") == 2
    assert events.count("risk.threshold_breach") == 1
    (alert,) = [line for line in told if line["event"] == "risk.systemic_alert"]
    assert (alert["type"], alert["level"]) == ("concentration_risk", "WARNING")


async def test_listeners_hear_every_signal(desk):
    """In order, and after orders could have read it."""
    engine = engine_of(desk)
    heard = []
    engine.listeners.append(lambda signal: heard.append((signal, engine.signal is signal)))
    signal = await engine.evaluate()

    assert heard == [(signal, True)]


async def test_history_is_wanted_of_what_is_held_and_of_the_benchmark(desk):
    """Coins without a market, and symbols nobody holds, are not."""
    desk.hold(ETHUSDT="1", XYZUSDT="4")
    engine = engine_of(desk, method=Method(benchmark="SOLUSDT"))

    assert set(engine.wanted()) == {series("ETHUSDT"), series("SOLUSDT")}
    assert benchmark_of("binance", {SPOT}, "BTCUSDT") == series("BTCUSDT", SPOT)
    assert benchmark_of("binance", {SPOT, LINEAR}, "BTCUSDT") == series("BTCUSDT", LINEAR)


async def test_a_large_book_is_calculated_in_a_thread_and_comes_to_the_same(desk, monkeypatch):
    """Orders do not wait for it; the figures are those of the loop."""
    known(desk)
    desk.hold(BTCUSDT="0.1", ETHUSDT="-1", SOLUSDT="3")
    engine = engine_of(desk)
    here = await engine.evaluate()
    threads = []
    calculate = engine._calculate

    def noted(*arguments):
        threads.append(threading.current_thread())
        return calculate(*arguments)

    monkeypatch.setattr(engine, "_calculate", noted)
    monkeypatch.setattr(engine_module, "THREAD_FROM", 3)

    assert await engine.evaluate() == here
    assert threads[0] is not threading.main_thread()


async def test_it_evaluates_on_a_timer_and_early_when_poked():
    """Once a second or so by itself; after a poke well before."""
    desk = open_desk(place("main"))
    desk.clock = SystemClock()
    desk.prices()
    desk.hold()
    engine = engine_of(desk, every_s=30.0, age_max_s=1000)
    engine._cycle._poke_min_s = 0.0
    heard = asyncio.Queue()
    engine.listeners.append(heard.put_nowait)
    tasks = Tasks()
    engine.start(tasks)
    async with asyncio.timeout(10):
        first = await heard.get()
        desk.hold(BTCUSDT="1")
        engine.poke()
        second = await heard.get()
    await engine.close()
    await tasks.close()

    assert (first.snapshot.total_notional, second.snapshot.total_notional) == (D(0), D(50000))


async def test_the_same_facts_make_the_same_signal(desk):
    """Nothing in it is drawn or read from a clock twice."""
    known(desk)
    desk.hold(BTCUSDT="0.1", ETHUSDT="-1")
    engine = engine_of(desk)

    assert await engine.evaluate() == await engine.evaluate()
    assert await engine_of(desk).evaluate() == engine.signal


async def test_a_coin_without_a_dollar_price_has_no_value_at_risk():
    """Its candles are in another coin: VaR is not known, which is said, and no candle is asked for."""
    desk = open_desk(AccountPlace(name="coins", exchange="binance", markets=frozenset({SPOT})))
    listed = {
        symbol: Filters(base_asset=base, quote_asset=quote, quantity_step=D("0.001"), quantity_min=D("0.001"))
        for symbol, base, quote in (("BTCUSDT", "BTC", "USDT"), ("ODDBTC", "ODD", "BTC"))
    }
    now = desk.clock.now()
    desk.book.apply_filters("binance", SPOT, listed, as_of=now)
    desk.book.apply_prices("binance", SPOT, {"BTCUSDT": Quote(D(50000)), "ODDBTC": Quote(D("0.001"))}, as_of=now)
    held = {"ODD": Position(both=D(10)), "USDT": Position(both=D(9000))}
    desk.book.apply_snapshot("coins", SPOT, as_of=now, positions=held, orders=[])
    engine = engine_of(desk)
    signal = await engine.evaluate()

    assert signal.snapshot.total_notional == D(500)
    assert signal.var_result is None
    assert "ODDBTC has 0 daily returns, 30 are needed" in signal.unknown
    assert set(engine.wanted()) == {series("BTCUSDT", SPOT)}

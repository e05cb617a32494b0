"""The engine in a whole deployment: positions move at the exchange, the level follows, and the next order's verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml

from proxy.app import App
from proxy.config import from_mapping
from proxy.simulator import SimExchange
from tests.canary import marked
from tests.runs import POLICY, READY_TIMEOUT_S, Run, RunAdmin, add_accounts, settings_tree, write_policy

WALLET = Decimal(100_000)
LIMITS = {"position_money_max": "60000"}  # one bitcoin at the simulated mark


def policy_text(**changes: Any) -> str:
    """Every limit out of the way but those of the whole book; the signal is required."""
    text = POLICY.replace("SCALING", "allowed").replace("SIZE", "{}").replace("symbols: any", "symbols: [BTCUSDT]")
    document = yaml.safe_load(text)
    document |= {"risk_source": {"kind": "required"}, "risk_limits": LIMITS} | changes
    return yaml.safe_dump(document)


@asynccontextmanager
async def open_gate(folder: Path, sim: SimExchange, *, policy: str = "", **risk: Any) -> AsyncIterator[Run]:
    """A riskgate before an exchange that runs already; `risk` are the settings under `global_risk`."""
    folder.mkdir()
    write_policy(folder, policy or policy_text())
    tree = settings_tree(folder, sim.url, account_interval="100ms", market_interval="100ms")
    tree["feeds"]["snapshot_interval"] = "100ms"
    tree["global_risk"] = {"interval": "100ms", **risk}
    app = App.from_settings(from_mapping(tree, base=folder, source="(a run)"))
    run: Run | None = None
    try:
        await app.start()
        token = app.settings.admin_token_path.read_text("utf-8").strip()
        run = Run(app, sim, app.proxy_url, app.admin_url, RunAdmin(app.admin_url, token), folder)
        run.clients.append(run.admin)
        await run.until(lambda: app.status.ready()[0], "ready", READY_TIMEOUT_S)
        yield run
    finally:
        for client in run.clients if run else ():
            await client.close()
        await app.stop()


@pytest.fixture
async def sim() -> AsyncIterator[SimExchange]:
    """An exchange with both accounts and little money."""
    sim = SimExchange()
    add_accounts(sim, wallet=WALLET)
    await sim.start()
    yield sim
    await sim.stop()


async def level_is(run: Run, level: str) -> dict[str, Any]:
    """Wait until the signal says so, with a history of what is held; the whole signal."""
    async with asyncio.timeout(20):
        while True:
            found = (await run.admin.call("GET", "/risk/global")).json
            if found.get("risk_level") == level and found["var_result"] is not None:
                return found
            await asyncio.sleep(0.02)


async def move(run: Run, quantity: str) -> None:
    """Trade at the exchange itself, past the proxy: the position really moves."""
    (bot,) = run.bots(1, direct_to_venue=True)
    side = "SELL" if quantity.startswith("-") else "BUY"
    reply = await bot.order(
        side=side, type="MARKET", quantity=quantity.removeprefix("-"), price=None, timeInForce=None
    )
    assert reply.status == 200, reply


def sent_last(sim: SimExchange) -> dict[str, str]:
    """The parameters of the last order that reached the exchange."""
    last = sim.orders_received[-1]
    return dict(parse_qsl((last.target.partition(b"?")[2] or last.body).decode()))


async def ask(run: Run, **changes: object) -> tuple[int, str]:
    """An order of a bot through the proxy: status, and the reason of a block or nothing."""
    reply = await run.bot("desk").order(**changes)
    return reply.status, "" if reply.status == 200 else reply.json["msg"]


async def test_the_level_follows_the_position_and_the_verdict_the_level(tmp_path, sim):
    """INFO passes whole, WARNING is scaled by its factor, CRITICAL is blocked; a way out brings the level back."""
    async with open_gate(tmp_path / "one", sim) as run:
        await level_is(run, "INFO")
        assert await ask(run) == (200, "")
        assert sent_last(sim)["quantity"] == "0.005"

        await move(run, "0.85")
        found = await level_is(run, "WARNING")
        assert found["warnings"] == ["BTCUSDT 51000.00 of at most 60000.00"]
        assert found["snapshot"]["positions"][0]["quantity"] == "0.850"
        assert await ask(run, quantity="0.008") == (200, "")
        assert sent_last(sim)["quantity"] == "0.004"

        await move(run, "0.2")
        found = await level_is(run, "CRITICAL")
        assert (found["ess_tier_recommendation"], found["ess_action_required"]) == ("REDUCED", True)
        sent = len(sim.orders_received)
        status, said = await ask(run)
        assert (status, len(sim.orders_received)) == (403, sent)
        assert "global risk level is CRITICAL" in said

        await move(run, "-0.9")
        await level_is(run, "INFO")
        assert await ask(run) == (200, "")


async def test_a_signal_that_grows_too_old_blocks_what_is_new(tmp_path, sim):
    """The engine cannot evaluate any more: its last word is believed for five seconds and not a moment longer."""
    async with open_gate(tmp_path / "one", sim) as run:
        assert (await ask(run, type="MARKET", price=None, timeInForce=None))[0] == 200
        await run.until(lambda: any(one.position.both for one in run.app.book.holdings("desk")), "held")
        await level_is(run, "INFO")
        await run.app.risk.engine.close()
        known = run.app.risk.engine._latest
        run.app.risk.engine._latest = known._replace(as_of=known.as_of.replace(year=known.as_of.year - 1))
        status, said = await ask(run)

        assert status == 403
        assert "global_risk" in said
        assert await ask(run, side="SELL", price="61000", reduceOnly="true") == (200, "")


async def test_a_second_riskgate_reads_the_first_one(tmp_path, sim):
    """Over its admin listener, with its token: level, block, and staleness when the first one is gone."""
    async with open_gate(tmp_path / "one", sim) as first:
        token = first.app.settings.admin_token_path.read_text("utf-8").strip()
        remote = {"source": "remote", "url": first.admin_url, "token": token}
        async with open_gate(tmp_path / "two", sim, **remote) as second:
            assert second.app.risk is None
            assert await ask(second) == (200, "")
            await move(first, "1.1")
            await level_is(first, "CRITICAL")
            signal = second.app.risk_signal
            await second.until(lambda: signal.latest().value.level == "CRITICAL", "the second one knows")
            assert signal.latest().value.issues == ("BTCUSDT 66000.00 of at most 60000.00",)
            status, said = await ask(second)
            assert status == 403
            assert "CRITICAL" in said

            reply = await second.admin.call("GET", "/risk/global")
            assert reply.status == 503
            await move(first, "-1.1")
            await level_is(first, "INFO")
            await second.until(lambda: signal.latest().value.level == "INFO", "the second one knows")
            await first.app.stop()
            signal._latest = signal._latest._replace(as_of=signal._latest.as_of.replace(year=2020))
            status, said = await ask(second)
            assert status == 403
            assert "global_risk" in said


async def test_a_wrong_token_is_no_signal(tmp_path, sim):
    """The first one refuses; the second one has nothing to go by and says so in its readiness."""
    async with open_gate(tmp_path / "one", sim) as first:
        folder = tmp_path / "two"
        folder.mkdir()
        write_policy(folder, policy_text())
        tree = settings_tree(folder, sim.url)
        wrong = marked("wrong")
        tree["global_risk"] = {"source": "remote", "url": first.admin_url, "token": wrong, "interval": "100ms"}
        app = App.from_settings(from_mapping(tree, base=folder, source="(a run)"))
        await app.start()
        try:
            async with asyncio.timeout(10):
                while not (error := app.status.ready()[1]["feeds"]["risk.global"]["error"]):
                    await asyncio.sleep(0.02)
            assert "status 401" in error
            assert "wrong" not in error
        finally:
            await app.stop()


async def test_a_demand_trips_the_stop_where_that_is_set(tmp_path, sim):
    """By tier: one critical issue engages REDUCE_ONLY, and it stays when the cause is gone."""
    async with open_gate(tmp_path / "one", sim, trip="by_tier") as run:
        await level_is(run, "INFO")
        await move(run, "1.1")
        await level_is(run, "CRITICAL")
        await run.until(lambda: run.app.latch.governing("").level.name == "REDUCE_ONLY", "tripped")
        await move(run, "-1.1")
        await level_is(run, "INFO")

        assert run.app.latch.governing("").level.name == "REDUCE_ONLY"
        assert run.app.latch.governing("").actor == "global risk"


async def test_a_fresh_installation_without_history_opens_its_first_position(tmp_path, sim):
    """Listed today: no VaR, a warning that says so, the order scaled and not blocked."""
    sim.candles.list_since("BTCUSDT", 0)
    async with open_gate(tmp_path / "one", sim) as run:
        assert await ask(run) == (200, "")
        await move(run, "0.1")
        async with asyncio.timeout(10):
            while not (found := (await run.admin.call("GET", "/risk/global")).json)["warnings"]:
                await asyncio.sleep(0.02)
        assert (found["risk_level"], found["var_result"]) == ("WARNING", None)
        assert any(line.startswith("BTCUSDT has 0 daily returns") for line in found["unknown"])
        assert await ask(run, quantity="0.008") == (200, "")

        assert sent_last(sim)["quantity"] == "0.004"
        reply = await run.admin.call("GET", "/risk/var")
        assert (reply.json["var_result"], reply.json["es_result"]) == (None, None)


async def test_var_comes_from_the_candles_of_the_exchange(tmp_path, sim):
    """A year of coin tosses of two percent: VaR 95 of 30,000 is 600 by history."""
    sim.candles.returns("BTCUSDT", [Decimal("0.02"), Decimal("-0.02")] * 100)
    async with open_gate(tmp_path / "one", sim) as run:
        await move(run, "0.5")
        found = await level_is(run, "INFO")
        while found["snapshot"]["total_notional"] == "0":
            found = await level_is(run, "INFO")

        assert float(found["var_result"]["historical"]["var_95"]) == pytest.approx(600, abs=0.01)
        assert float(found["es_result"]["historical"]) == pytest.approx(600, abs=0.01)
        assert float(found["var_result"]["parametric_ewma"]["var_99"]) == pytest.approx(2.32635 * 600, rel=1e-3)
        status = (await run.admin.call("GET", "/risk/status")).json
        assert status["daily_returns"] == {"binance.linear.BTCUSDT": 180}
        assert (await run.admin.call("GET", "/risk/health")).json["history"]["problems"] == {}

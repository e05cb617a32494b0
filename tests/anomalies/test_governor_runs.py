"""Governor, scaling and RiskGuard's names in a whole deployment: bots on sockets, a proxy, an exchange."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from decimal import Decimal

import orjson
import pytest
from typer.testing import CliRunner

from proxy import audit as audit_module
from proxy import logs
from proxy.cli.main import app
from proxy.feeds.income import WalletFeed
from rules import Market, Side
from tests.runs import Run, open_run

D = Decimal
GOVERNED = "defaults: {loss_daily_max: '2%', governor: {enabled: 'true'}, size: {order_notional_max: '400'}}\n"


async def lose(run: Run, account: str, amount: str, level: str) -> None:
    """A funding fee, and the wait until the governor has heard of it."""
    for feed in run.app.feeds._feeds:
        if isinstance(feed, WalletFeed):  # this exchange's histories are never late
            feed._lag, feed._history._poke_min_s = timedelta(0), 0.5
    run.sim.treasury.income(run.sim.accounts[account], "FUNDING_FEE", -D(amount))

    def holds() -> bool:
        return (run.app.governor.report(account) or {}).get("level") == level

    await run.until(holds, f"{level}: {run.app.governor.report(account)}", 30.0)


def explain(run: Run, decision_id: str) -> str:
    """What the command line says of a decision."""
    told = CliRunner().invoke(app, ["decisions", "show", decision_id, "--data-dir", str(run.folder / "data")])
    assert told.exit_code == 0, told.output
    return told.output


async def test_the_governor_slows_an_account_down_before_its_limit(tmp_path):
    """1.4 % of a 2 % limit lost: three quarters of the order cap are left, scaled where allowed; 2 % block."""
    async with open_run(tmp_path, wallet=D(10_000), scaling="to_limit", more_policy=GOVERNED) as run:
        bot = run.bot("desk")
        whole = await bot.order(quantity="0.006")  # worth 354 of 400
        assert (whole.status, whole.headers["x-risk-decision"]) == (200, "allow")
        assert (await bot.cancel(whole.json["clientOrderId"])).status == 200

        await lose(run, "desk", "140", "CAUTIOUS")
        scaled = await bot.order(quantity="0.006")  # of 300 now
        assert (scaled.status, scaled.headers["x-risk-decision"]) == (200, "scale_down")
        assert D(scaled.headers["x-risk-quantity"]) == D("0.005")
        assert scaled.headers["x-risk-reason"] == "order_notional_exceeds_limit"
        shown = (await run.admin.call("GET", "/admin/v1/status")).json["accounts"]["desk"]["governor"]
        assert (shown["directive"], shown["level"], shown["cause"]) == ("MODIFY", "CAUTIOUS", "drawdown")
        room = await run.admin.call(
            "GET", "/admin/v1/headroom?account=desk&symbol=BTCUSDT&side=buy&strategy=grid&type=limit&price=59000"
        )
        assert D(room.json["quantity"]) == D("0.005")
        asked = "/api/v2/policy/effective?account=desk&strategy=grid&symbol=BTCUSDT"
        effective = (await run.admin.call("GET", asked)).json
        found = {one["limit"]: one for one in effective["limits"]}
        assert (D(found["order_notional_max"]["value"]), effective["governor"]["level"]) == (300, "CAUTIOUS")
        assert found["order_notional_max"]["source"] == "safety governor MODIFY CAUTIOUS"
        assert found["governor"]["source"] == "defaults"
        explained = await asyncio.to_thread(explain, run, scaled.headers["x-risk-decision-id"])
        assert "defaults x safety governor CAUTIOUS" in explained
        metrics = (await run.admin.call("GET", "/metrics")).body.decode()
        assert 'riskgate_governor_level{account="desk"} 1.0' in metrics

        await lose(run, "desk", "61", "DEFENSIVE")
        blocked = await bot.order(quantity="0.001")
        assert blocked.status == 403
        assert (await bot.cancel(scaled.json["clientOrderId"])).status == 200
        assert (await run.bot("direct").order(quantity="0.006")).status == 200

        records = [one for one in audit_module.read(tmp_path / "data" / "audit") if one["kind"] == "decision"]
        governors = [one["governor"] for one in records if one["caller"]["account"] == "desk"]
        assert [one["level"] for one in governors] == ["NORMAL", "CAUTIOUS", "DEFENSIVE"]
        assert governors[1]["trace_id"] == shown["trace_id"]
        assert {one["profile_name"] for one in records} == {"OPEN"}


async def test_scaling_by_var_sends_what_the_account_may_still_risk(tmp_path):
    """The first order waits for candles; then it is cut to what VaR leaves, and a second one finds nothing left."""
    async with open_run(
        tmp_path, wallet=D(10_000), scaling="by_var", more_policy="risk_limits: {var_95_max: '1%'}\n"
    ) as run:
        bot, gate = run.bot("desk"), run.app
        asked = {"symbol": "ETHUSDT", "quantity": "2", "price": "2990"}
        first = await bot.order(**asked)
        assert (first.status, b"value_at_risk" in first.body) == (403, True)

        def room() -> Decimal | None:
            stored, place = gate.policies.last_known, (Market.LINEAR, "ETHUSDT")
            found = gate.risk.by_var.room("desk", "binance", [place], stored.policy.risk_limits, gate.clock.now())
            return found.largest_quantity(*place, Side.BUY, D(2))

        await run.until(lambda: room() is not None, "candles", 20.0)
        left = room()
        assert D("0.01") < left < D(2)
        scaled = await bot.order(**asked)
        assert (scaled.status, scaled.headers["x-risk-decision"]) == (200, "scale_down"), scaled
        sent = D(scaled.headers["x-risk-quantity"])
        # The mark may have moved a little between asking and sending.
        assert abs(sent - left) <= D("0.001") + left * D("0.01")
        assert scaled.headers["x-risk-reason"] == "value_at_risk_exceeds_limit"
        assert (await bot.order(**asked)).status == 403
        assert (await bot.cancel(scaled.json["clientOrderId"], "ETHUSDT")).status == 200


async def test_a_fixed_factor_halves_what_is_too_large(tmp_path):
    """0.006 over a cap of 300 goes out as 0.003."""
    async with open_run(tmp_path, scaling="fixed_factor", size={"order_notional_max": "300"}) as run:
        halved = await run.bot("desk").order(quantity="0.006")
        assert (halved.status, D(halved.headers["x-risk-quantity"])) == (200, D("0.003"))
        assert (await run.bot("desk").order(quantity="0.012")).status == 403


async def test_orders_are_told_under_the_names_of_risk_guard(tmp_path, monkeypatch):
    """Approved and denied, each beside ours with the same id and the profile's name."""
    file = os.open(tmp_path / "lines", os.O_CREAT | os.O_WRONLY)
    configure = logs.configure

    def to_file(**stated: object) -> logs.Logs:
        return configure(**stated | {"level": "info", "form": "json", "descriptor": file})

    monkeypatch.setattr(logs, "configure", to_file)
    async with open_run(tmp_path, size={"position_notional_max": "300"}) as run:
        passed = await run.bot().order(quantity="0.005")
        denied = await run.bot().order(quantity="0.005")
        assert (passed.status, denied.status) == (200, 403)
        await asyncio.sleep(0.1)
    os.close(file)
    lines = [orjson.loads(line) for line in (tmp_path / "lines").read_bytes().splitlines()]
    ours = {line["decision_id"]: line for line in lines if line["event"] == "order.decided"}
    beside = {line["event"]: line for line in lines if line["event"].startswith(("risk_guard_", "safety_governor_"))}
    for reply, event in ((passed, "risk_guard_trade_approved"), (denied, "risk_guard_denied_position_cap")):
        line = beside[event]
        assert line["trace_id"] == reply.headers["x-risk-decision-id"]
        assert line["trace_id"] in ours
        assert line["profile_name"] == ours[line["trace_id"]]["profile_name"] == "OPEN"
    assert beside["risk_guard_risk_profile_loaded"]["profile_name"] == "OPEN"
    assert all(line["trace_id"] for line in beside.values())
    assert "safety_governor_initialized" in beside


@pytest.mark.parametrize("stated", ["true", "false"])
async def test_the_kill_switch_of_an_older_installation_halts_at_the_start(tmp_path, monkeypatch, stated):
    """Nothing passes while a person has not released it, and that is on record; false does nothing."""
    monkeypatch.setenv("QT_KILL_SWITCH", stated)
    async with open_run(tmp_path) as run:
        reply = await run.bot().order()
        if stated == "false":
            assert reply.status == 200
            return
        assert (reply.status, b"ess_trading_halt_active" in reply.body) == (403, True)
        acts = [one for one in audit_module.read(tmp_path / "data" / "audit") if one["kind"] == "admin"]
        assert [(one["act"], one["reason"]) for one in acts] == [("ess.engage halt", "QT_KILL_SWITCH is set")]
        assert await run.admin.stops() == {"global": "halt"}

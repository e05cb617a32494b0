"""Permits of a whole proxy before a simulated exchange: settings, listeners, console, status and alerts together."""

from __future__ import annotations

from decimal import Decimal

import orjson

from proxy.cli.main import run as command
from tests.runs import RunAdmin, open_run

LARGE = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010",
         "price": "40000"}  # fmt: skip


async def person(run, name, role):
    """The hand of somebody with a token of their own, and the token."""
    made = await run.admin.call("POST", "/admin/v1/tokens", person=name, role=role)
    assert made.status == 201, made
    hand = RunAdmin(run.admin_url, made.json["token"])
    run.clients.append(hand)
    return hand


def sent(run):
    """How many orders the exchange has taken."""
    return len([one for one in run.sim.received if one.path == "/fapi/v1/order" and one.method == "POST"])


async def test_approval_and_override_from_settings_to_exchange(tmp_path):
    """A large order waits, passes once approved; one above the limit takes two persons; each step is told and shown."""
    size = {"order_notional_max": "500", "approval_notional_min": "300"}
    async with open_run(tmp_path, size=size, accounts={"override_notional_max": "1000"}) as run:
        told = []
        run.app.permits.listeners.append(lambda permit: told.append(f"{permit.kind} {permit.state}"))
        bot = run.bot("direct")
        ann, bob = await person(run, "ann", "operator"), await person(run, "bob", "admin")

        waits = await bot.request("POST", "/fapi/v1/order", **LARGE)
        assert (waits.status, waits.json["risk"]["reason"]) == (403, "approval_required"), waits
        path = f"/admin/v1/approvals/{waits.json['risk']['approval_id']}/approve"
        assert (await ann.call("POST", path, reason="seen")).json["state"] == "granted"
        assert [(await bot.request("POST", "/fapi/v1/order", **LARGE)).status for _ in range(2)] == [200, 403]

        larger = LARGE | {"quantity": "0.020"}
        blocked = await bot.request("POST", "/fapi/v1/order", **larger)
        assert blocked.json["risk"]["reason"] == "order_notional_exceeds_limit"
        decision_id = blocked.json["risk"]["decision_id"]
        asked = await ann.call("POST", "/admin/v1/overrides", decision_id=decision_id, reason="hedge")
        path = f"/admin/v1/overrides/{asked.json['id']}/confirm"
        said = [(await one.call("POST", path, reason="agreed")).status for one in (ann, run.admin, bob)]
        assert said == [403, 422, 200]
        status = await run.admin.call("GET", "/admin/v1/status")
        assert status.json["permits"]["granted"] == {"approval": 0, "override": 1}
        assert [(await bot.request("POST", "/fapi/v1/order", **larger)).status for _ in range(2)] == [200, 403]

        assert sent(run) == 2
        metrics = (await run.admin.call("GET", "/metrics")).body.decode()
        for kind in ("approval", "override"):
            assert f'risk_gate_permits_total{{account="direct",kind="{kind}",step="used"}} 1.0' in metrics
        assert told[:3] == ["approval asked", "approval granted", "approval used"]
        assert told[-3:] == ["override asked", "override granted", "override used"]
        kept = orjson.loads((tmp_path / "data" / "permits.json").read_bytes())["permits"]
        assert [(one["kind"], one["state"]) for one in kept] == [("approval", "used"), ("override", "used")]
        assert Decimal(kept[1]["notional"]) > 500


def test_the_commands_say_what_they_need(capsys):
    """Help names both groups, and each command its reason."""
    assert command(["approvals", "approve", "--help"]) == 0
    assert "--reason" in capsys.readouterr().out
    assert command(["override", "--help"]) == 0
    assert "two persons" in capsys.readouterr().out

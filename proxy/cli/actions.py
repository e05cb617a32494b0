"""`cancel-all`, `flatten`, `drill`: what the proxy does itself after a trip, followed to its end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from proxy.cli.admin_client import AdminClient
from proxy.cli.output import CommandFailed, Exit, say, say_json, tell
from proxy.cli.stopping import actor_named
from proxy.clock import SystemClock

ASK_EVERY_S = 0.5


def cancel_all(
    admin: AdminClient, *, scope: str, reason: str, actor: str, wait_s: float, as_json: bool
) -> Exit:
    """Cancel every working order but protective ones, and say how it ended."""
    body = {"scope": scope, "reason": _stated(reason), "actor": actor_named(actor)}
    return _follow(admin, admin.post("/admin/v1/actions/cancel-all", body), wait_s, as_json=as_json)


def flatten(
    admin: AdminClient, *, scope: str, reason: str, actor: str, spot: bool, confirmed: bool, wait_s: float,
    as_json: bool,
) -> Exit:  # fmt: skip
    """Halt, cancel, close every position, and say how it ended."""
    if not confirmed:
        raise CommandFailed(f"nothing was sent: add --yes to halt and close all positions of {scope}", Exit.REFUSED)
    body = {
        "scope": scope, "reason": _stated(reason), "actor": actor_named(actor), "spot": spot, "confirm": "flatten",
    }  # fmt: skip
    return _follow(admin, admin.post("/admin/v1/actions/flatten", body), wait_s, as_json=as_json)


def _stated(reason: str) -> str:
    if not reason.strip():
        raise CommandFailed("this needs a reason: --reason TEXT", Exit.USAGE)
    return reason


def _follow(admin: AdminClient, job: dict[str, Any], wait_s: float, *, as_json: bool) -> Exit:
    """Ask until it has ended. Waiting less long than it takes is not a failure of it, and is said."""
    clock = SystemClock()
    ends_at = clock.monotonic() + wait_s
    if not as_json:
        say(f"begun: {job['id']} ({job['scope']})")
    while job["state"] == "running" and clock.monotonic() < ends_at:
        time.sleep(ASK_EVERY_S)
        job = admin.get(f"/admin/v1/actions/{job['id']}")
    if as_json:
        say_json(job)
    else:
        for line in lines_of(job):
            say(line)
    if job["state"] == "running":
        tell(f"riskgate: it still runs: riskgate cancel-all or flatten again follows it, id {job['id']}")
    return Exit.OK if job["state"] == "done" else Exit.FAILED


def lines_of(job: dict[str, Any]) -> list[str]:
    """An action for people: each account, each order, each position."""
    found = []
    for run in job.get("accounts", []):
        times = ", ".join(f"{name} {took / 1000:.1f} s" for name, took in run["stopwatch_ms"].items())
        verdict = {"done": "done", "needs_person": "NEEDS A PERSON", "running": "running"}[run["state"]]
        flat = "flat" if run["flat"] else "not flat" if job["kind"] == "flatten" else ""
        head = ", ".join(part for part in (verdict, flat, times, run["problem"]) if part)
        found.append(f"account {run['account']}: {head}")
        for one in run["orders"]:
            line = f"  order {one['symbol']} {one['side']} {one['quantity']} ({one['order_id']}): {one['state']}"
            found.append(f"{line}, {one['said']}" if one["state"] == "working" and one["said"] else line)
        for one in run["positions"]:
            line = (
                f"  position {one['symbol']} {one['bucket']}: {one['quantity_before']} -> {one['quantity_now']}, "
                f"{one['state']}, {len(one['sent'])} order(s)"
            )
            found.append(f"{line}, {one['said']}" if one["state"] == "open" and one["said"] else line)
    return found


def drill(*, as_json: bool) -> Exit:
    """Halt and flatten before an exchange that exists for a moment; no proxy and no account is touched."""
    from proxy import logs
    from proxy.actions.drill import drill as run_drill

    told = logs.configure(clock=SystemClock(), level="error", form="console")
    try:
        found = asyncio.run(run_drill())
    finally:
        told.close()
    if as_json:
        say_json(found.document())
    else:
        say(f"{found.positions} positions, {found.orders} working orders; from the order to flatten:")
        for name, took in (
            ("blocked", found.blocked_ms), ("no working orders", found.no_working_orders_ms), ("flat", found.flat_ms),
        ):  # fmt: skip
            say(f"  {name:<18} {'NOT REACHED' if took is None else f'{took:.0f} ms'}")
        say(f"  bots' orders at the exchange after the block: {found.orders_after_block}")
        if found.problem:
            tell(f"riskgate: {found.problem}")
    return Exit.OK if found.done and found.exchange_is_flat and not found.orders_after_block else Exit.FAILED

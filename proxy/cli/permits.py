"""`riskgate approvals` and `riskgate override`: letting one order through, and saying no to that."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from proxy.cli.admin_client import AdminClient
from proxy.cli.output import CommandFailed, Exit, say, say_json, shortened, table
from proxy.cli.stopping import actor_named

HEAD = ("id", "state", "account", "bot", "order", "worth", "until", "by")


def show(admin: AdminClient, kind: str, *, as_json: bool) -> None:
    """List what waits, what may pass once, and what became of others."""
    found = admin.get(f"/admin/v1/{kind}")
    if as_json:
        say_json(found)
        return
    rows = [_row(one) for one in found[kind]]
    if kind == "overrides":
        ceilings = ", ".join(f"{name} up to {most}" for name, most in sorted(found["ceilings"].items()))
        say(f"overrides: {ceilings or 'off for every account'}")
    for line in table(HEAD, rows) if rows else [f"no {kind}"]:
        say(line)


def ask(admin: AdminClient, decision_id: str, *, reason: str, actor: str, as_json: bool) -> None:
    """Ask for an override of a blocked order."""
    body = {"decision_id": decision_id, "reason": _stated(reason), "actor": actor_named(actor)}
    permit = admin.post("/admin/v1/overrides", body)
    if as_json:
        say_json(permit)
        return
    say(f"asked for: {permit['id']}, {_order(permit)}: {permit['sentence']}")
    say(f"nothing passes yet; until {permit['until']} somebody else: riskgate override confirm {permit['id']}")


def act(
    admin: AdminClient, kind: str, verb: str, permit_id: str, *, reason: str, actor: str, as_json: bool
) -> None:
    """Say yes or no."""
    body = {"reason": _stated(reason), "actor": actor_named(actor)}
    permit = admin.post(f"/admin/v1/{kind}/{quote(permit_id, safe='')}/{verb}", body)
    if as_json:
        say_json(permit)
    elif permit["state"] == "granted":
        say(f"granted: {permit['id']}, {_order(permit)}, may pass once until {permit['until']}")
        say("the bot has to send the same order again; anything else is another order")
    elif permit["state"] == "asked":
        say(f"noted: {permit['id']}, {_order(permit)}; a second person has to say yes until {permit['until']}")
    else:
        say(f"{permit['state']}: {permit['id']}, {_order(permit)}")


def _stated(reason: str) -> str:
    if not reason.strip():
        raise CommandFailed("this needs a reason: --reason TEXT", Exit.USAGE)
    return reason


def _row(permit: dict[str, Any]) -> tuple[str, ...]:
    worth = permit["notional"]
    return (
        permit["id"], permit["state"], permit["account"], permit["bot"], _order(permit),
        "not known" if worth is None else shortened(worth), permit["until"],
        " and ".join(permit["granted_by"]) or permit["asked_by"],
    )  # fmt: skip


def _order(permit: dict[str, Any]) -> str:
    """The order in few words; of several the first and how many more."""
    first, more = permit["orders"][0], len(permit["orders"]) - 1
    size = "all" if first.get("close_position") else first.get("quantity") or first.get("quote_quantity") or "?"
    price = f" at {first['price']}" if first.get("price") else ""
    return f"{first.get('side', '')} {size} {first.get('symbol', '')}{price}" + (f" and {more} more" if more else "")

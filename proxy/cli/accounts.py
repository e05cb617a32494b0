"""`status` of accounts, `headroom` and `settle`: what people ask about what is held, and what could still be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from proxy.cli.admin_client import AdminClient
from proxy.cli.output import CommandFailed, Exit, say, say_json, shortened, table, tell
from proxy.cli.stopping import actor_named

DIGITS = 8
NEAREST = ("reached", "unknown", "warning")
USE_HEAD = ("limit", "scope", "used", "warns at", "limit is", "share", "left", "level", "age s")


def show(admin: AdminClient, name: str, *, as_json: bool) -> None:
    """Print everything of one account."""
    found = admin.get(f"/admin/v1/accounts/{quote(name, safe='')}")
    if as_json:
        say_json(found)
        return
    for line in account_lines(found):
        say(line)


def overview_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """A table of the accounts, and one of the limits that are near or reached."""
    lines = _rows(found, "accounts")
    if not lines:
        return
    head = ("account", "state", "equity", "exposure", "positions", "orders", "unknown")
    yield ""
    yield from table(head, [
        (
            str(one.get("name")), str(one.get("state")), _value(one.get("equity")), _value(one.get("exposure")),
            _text(one.get("open_positions")), _text(one.get("working_orders")), _text(one.get("unknown_orders")),
        )
        for one in lines
    ])  # fmt: skip
    near = [
        (str(one.get("name")), *_use(use))
        for one in lines
        for use in _rows(one, "nearest")
        if use.get("level") in NEAREST
    ]
    if near:
        yield ""
        yield from table(("account", *USE_HEAD), near)


def account_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """One account: what it has, holds and waits for; every limit; the facts that are old or missing."""
    exposure = _section(found, "exposure")
    yield (
        f"account {found.get('name')} on {found.get('exchange')} ({found.get('mode')}): {found.get('state')}, "
        f"equity {_value(found.get('equity'))}, exposure {_value(exposure)}, leverage {_text(exposure.get('leverage'))}"
    )
    yield from _positions(found)
    orders = _section(found, "orders")
    reserved = _rows(orders, "reserved")
    yield f"orders: {orders.get('working_count', 0)} working, {len(reserved)} on their way or not yet seen"
    for one in reserved:
        if one.get("state") == "unknown":
            yield (
                f"  UNKNOWN: {one.get('symbol')} {_text(one.get('quantity'))} of {one.get('bot')}, "
                f"decision {one.get('decision_id')}; settle it once you have seen the exchange"
            )
    limits = _rows(found, "limits")
    yield ""
    if limits:
        yield from table(USE_HEAD, [_use(use) for use in limits])
    else:
        yield "limits: not known, the policy is lost"
    old = [(name, fact) for name, fact in _section(found, "facts").items() if not fact.get("fresh")]
    if old:
        yield ""
        yield from table(("fact that does not count", "age s", "at most s"), [
            (name, _text(fact.get("age_s")), _text(fact.get("age_max_s"))) for name, fact in old
        ])  # fmt: skip


def _positions(found: Mapping[str, Any]) -> Iterator[str]:
    positions = _rows(found, "positions")
    if not positions:
        yield "positions: none"
        return
    yield ""
    yield from table(("symbol", "market", "held", "worth", "could be", "mark", "opened by"), [
        (
            str(one.get("symbol")), str(one.get("market")), _held(one), _text(one.get("worth")),
            _text(one.get("exposure")), _value(one.get("price")), ", ".join(one.get("strategies") or ()) or "-",
        )
        for one in positions
    ])  # fmt: skip
    yield ""


def _held(one: Mapping[str, Any]) -> str:
    legs = [f"{leg} {_text(one.get(leg))}" for leg in ("long", "short") if _is_something(one.get(leg))]
    if _is_something(one.get("quantity")) or not legs:
        legs.insert(0, _text(one.get("quantity")))
    return ", ".join(legs)


def _is_something(text: object) -> bool:
    return text is not None and Decimal(str(text)) != 0


def _use(use: Mapping[str, Any]) -> tuple[str, ...]:
    share = use.get("share")
    percent = "-" if share is None else f"{Decimal(str(share)) * 100:.0f} %"
    level = str(use.get("level", "?"))
    if use.get("missing"):
        level += f": {use['missing']} is missing"
    elif not use.get("fresh", True):
        level += ", old"
    return (
        str(use.get("limit")), str(use.get("scope")), _text(use.get("used")), _text(use.get("warn")),
        _text(use.get("hard")), percent, _text(use.get("left")), level, _text(use.get("age_s")),
    )  # fmt: skip


def headroom(admin: AdminClient, asked: Mapping[str, str], *, as_json: bool) -> Exit:
    """Print how large an order could be now; refused if it could not be at all."""
    stated = {name: value for name, value in asked.items() if value}
    found = admin.get(f"/admin/v1/headroom?{urlencode(stated)}")
    if as_json:
        say_json(found)
    else:
        for line in headroom_lines(found):
            say(line)
    return Exit.OK if found.get("sendable") else Exit.REFUSED


def headroom_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The answer first, then what stops one step more, then every rule that bounds it."""
    price = "at the market" if found.get("price") is None else f"at {_text(found.get('price'))}"
    what = f"{found.get('side')} {found.get('symbol')} {price} for {found.get('strategy')} on {found.get('account')}"
    if found.get("unbounded"):
        yield f"{what}: no limit bounds it"
        return
    quantity = _text(found.get("quantity"))
    yield f"{what}: at most {quantity}, in steps of {_text(found.get('step'))}"
    if found.get("binding"):
        yield f"bound by {found['binding']}: {found.get('sentence')}"
    if not found.get("sendable"):
        yield f"nothing can be sent: the exchange takes no less than {_text(found.get('quantity_min'))}"
    bounds = [
        (str(one.get("rule")), _text(one.get("quantity")), str(one.get("reason")))
        for one in sorted(_rows(found, "rules"), key=_by_quantity)
        if one.get("quantity") is not None
    ]
    if bounds:
        yield ""
        yield from table(("rule", "at most", "then blocked as"), bounds)


def _by_quantity(one: Mapping[str, Any]) -> Decimal:
    return Decimal(str(one.get("quantity") or 0))


def settle(
    admin: AdminClient, name: str, decision_id: str, *, outcome: str, reason: str, actor: str, confirmed: bool
) -> Exit:
    """Say what became of an order; what is said cannot be taken back, hence --yes."""
    if outcome not in ("accepted", "failed"):
        raise CommandFailed(f"found --outcome {outcome}; expected accepted or failed", Exit.USAGE)
    if not reason.strip():
        raise CommandFailed("settling needs a reason: --reason TEXT", Exit.USAGE)
    if not confirmed:
        means = "counts until the next reading shows it" if outcome == "accepted" else "gives its headroom back"
        raise CommandFailed(f"nothing was settled: it {means}; add --yes once you have seen it there", Exit.REFUSED)
    body = {"decision_id": decision_id, "outcome": outcome, "reason": reason, "actor": actor_named(actor)}
    answer = admin.post(f"/admin/v1/accounts/{quote(name, safe='')}/settle", body)
    say(f"settled as {outcome}: {answer.get('settled')} order(s) of decision {decision_id}")
    if answer.get("audited") is False:
        tell("riskgate: it is done but NOT on record: the audit cannot write; see `riskgate status`")
    return Exit.OK


def _rows(found: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    rows = found.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _section(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = found.get(name)
    return section if isinstance(section, dict) else {}


def _value(fact: object) -> str:
    return _text(fact.get("value")) if isinstance(fact, dict) else "-"


def _text(value: object) -> str:
    """At most eight digits: a person compares magnitudes; --json has every digit."""
    return "-" if value is None else shortened(str(value), DIGITS)

"""How figures, times and words are shown to people: exact, short, the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

NOT_KNOWN = "–"
PLACES_MAX = 8
DIGITS_SHOWN = Decimal("0.00000001")
# Limits that are shares of something; all others are sizes, counts or multiples.
SHARES = frozenset({
    "loss_daily_max", "loss_weekly_max", "drawdown_max", "trade_notional_fraction_max",
    "trade_stop_loss_fraction_max", "concentration_max", "margin_free_min", "liquidation_distance_min",
    "collar_up", "collar_down",
})  # fmt: skip
NAMES = {
    "leverage_max": "Leverage",
    "loss_daily_max": "Loss today",
    "loss_daily_money_max": "Loss today, in money",
    "loss_weekly_max": "Loss this week",
    "drawdown_max": "Drawdown",
    "open_positions_max": "Open positions",
    "position_notional_max": "Position",
    "exposure_symbol_max": "Exposure in a symbol",
    "exposure_strategy_max": "Exposure of a strategy",
    "exposure_account_max": "Exposure",
    "exposure_exchange_max": "Exposure at the exchange",
    "exposure_total_max": "Exposure of all accounts",
    "exposure_asset_max": "Exposure in a coin",
    "exposure_net_max": "Net exposure",
    "concentration_max": "Concentration",
    "margin_free_min": "Free margin",
    "liquidation_distance_min": "Distance to liquidation",
    "open_orders_max": "Open orders",
    "open_orders_symbol_max": "Open orders in a symbol",
    "loss_streak_max": "Losses in a row",
}
ACTS = {
    "ess.engage": "stopped",
    "ess.release": "released",
    "console.login": "logged in to the console",
    "console.link": "made a log-in link",
    "policy.switch_mode": "switched the risk mode",
    "policy.replace": "replaced the policy",
    "policy.patch": "changed the policy",
    "policy.rollback": "brought a revision back",
    "policy.reset": "reset the policy",
    "token.create": "made a token",
    "token.revoke": "revoked a token",
    "cancel_all": "cancel all orders",
    "flatten": "flatten",
    "drill": "drill",
    "needs_person": "needs a person",
}
VERDICTS = {"allow": "allowed", "scale_down": "scaled down", "block": "blocked"}
STATES = {"clear": "Running", "reduce_only": "Reduce only", "halt": "Halted"}


def number(value: object) -> Decimal | None:
    """A finite amount, from text or a number; None for what is none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def amount(value: object) -> str:
    """An amount without needless zeros, its thousands set apart."""
    found = number(value)
    if found is None:
        return NOT_KNOWN if value is None else str(value)
    if found and abs(found) < DIGITS_SHOWN:
        return format(found.normalize(), "E")
    text = f"{found:,.{PLACES_MAX}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(value: object) -> str:
    """An amount of money, to the cent."""
    found = number(value)
    return NOT_KNOWN if found is None else f"{found:,.2f}"


def percent(value: object) -> str:
    """A share as per cent, with two digits after the point at most."""
    found = number(value)
    if found is None:
        return NOT_KNOWN
    text = f"{found * 100:,.2f}"
    return f"{text.rstrip('0').rstrip('.')} %"


def limit_name(limit: str) -> str:
    """A limit in words."""
    return NAMES.get(limit) or limit.replace("_max", "").replace("_min", "").replace("_", " ").capitalize()


def limit_value(value: object, limit: str) -> str:
    """What is used of a limit, or the limit itself, in its unit."""
    if limit in SHARES:
        return percent(value)
    found = number(value)
    if found is None:
        return NOT_KNOWN
    if limit == "leverage_max":
        return f"{amount(found.quantize(Decimal('0.001')))}×"
    return amount(found.quantize(Decimal("0.01")))


def width(share: object, full: int = 100) -> str:
    """How long a bar is, between nothing and full."""
    found = number(share)
    return "0" if found is None else f"{min(max(found * full, Decimal(0)), Decimal(full)):.2f}"


def warn_share(use: Mapping[str, Any]) -> Decimal:
    """Where on its bar a limit begins to warn; of a minimum the bar shows how much of what is there is needed."""
    warn, hard = number(use["warn"]), number(use["hard"])
    if not warn or not hard:
        return Decimal(1)
    return hard / warn if str(use["limit"]).endswith("_min") else warn / hard


def distance(use: Mapping[str, Any]) -> str:
    """How far a limit is, in words."""
    limit, used, hard = str(use["limit"]), number(use["used"]), number(use["hard"])
    if used is None or hard is None:
        return str(use.get("missing") or "not known")
    left = used - hard if limit.endswith("_min") else hard - used
    if left <= 0:
        return "reached" if left == 0 else f"{limit_value(-left, limit)} over"
    if use.get("left") is not None:
        return f"{money(use['left'])} left"
    return f"{limit_value(left, limit)} left"


def margin(row: Sequence[object]) -> str:
    """How far a rule's observed value was from its limit, as a share of the limit; nothing where that says nothing."""
    observed, limit = number(row[3]), number(row[4])
    if observed is None or limit is None or limit == 0:
        return NOT_KNOWN
    left = (limit - observed) / abs(limit)
    return f"{percent(left)} left" if left >= 0 else f"{percent(-left)} over"


def age(seconds: object) -> str:
    """How long ago, in one unit."""
    found = number(seconds)
    if found is None:
        return NOT_KNOWN
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if found >= size:
            return f"{int(found // size)} {unit}"
    return f"{found:.1f} s"


def instant(value: object) -> str:
    """An instant in UTC, to the second."""
    found = _instant(value)
    return NOT_KNOWN if found is None else found.strftime("%Y-%m-%d %H:%M:%S")


def time_of_day(value: object) -> str:
    """The time of day in UTC, to the second."""
    found = _instant(value)
    return NOT_KNOWN if found is None else found.strftime("%H:%M:%S")


def machine_time(value: object) -> str:
    """An instant as machines read it."""
    found = _instant(value)
    return "" if found is None else found.isoformat()


def milliseconds(value: object) -> str:
    """A duration given in milliseconds."""
    found = number(value)
    if found is None:
        return NOT_KNOWN
    return f"{found:.2f} ms" if found < 10 else f"{found:,.0f} ms"


def verdict(record: Mapping[str, Any]) -> str:
    """What a record says became of an order; what never reached the rulebook was blocked."""
    return str(record.get("decision", "block"))


def words(text: object) -> str:
    """A machine's word for people."""
    shown = str(text)
    return VERDICTS.get(shown) or STATES.get(shown) or ACTS.get(shown) or shown.replace("_", " ").replace(".", " ")


def plain(value: object) -> str:
    """A value of a policy or a record as people read it."""
    if value is None:
        return NOT_KNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(one) for one in value) or "none"
    return str(value)


def _instant(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value.astimezone(UTC) if isinstance(value, datetime) else None


FILTERS: Mapping[str, Callable[..., object]] = {
    "amount": amount,
    "money": money,
    "percent": percent,
    "limit_name": limit_name,
    "limit_value": limit_value,
    "width": width,
    "warn_share": warn_share,
    "distance": distance,
    "margin": margin,
    "age": age,
    "instant": instant,
    "time_of_day": time_of_day,
    "machine_time": machine_time,
    "milliseconds": milliseconds,
    "verdict": verdict,
    "words": words,
    "plain": plain,
}

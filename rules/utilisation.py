"""How much of every limit is used: what was compared, where it warns, and what is left.

Limits that bind single orders (size, price, rate, lists) have no use between orders and are not here; how large
an order could be is what `rules/headroom.py` answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from rules import losses
from rules.account_sums import AccountSums
from rules.case import believable
from rules.checks.account_sums import distance
from rules.facts import Exposure, Fact, FactMissing, Facts, Losses
from rules.governor import in_force
from rules.limits import Limits
from rules.order import Bucket

NOTHING: Final = Decimal(0)
WARN_AT: Final = Decimal("0.8")  # of a limit

Measuring: TypeAlias = Callable[[Losses, Decimal, Decimal], losses.Measure]


class Level(StrEnum):
    """How near a limit is."""

    WITHIN = "within"
    WARNING = "warning"  # four fifths of it are used
    REACHED = "reached"
    UNKNOWN = "unknown"  # a fact is missing: new exposure that needs it is blocked


class Use(NamedTuple):
    """One limit: what of it is used, from where on it warns, and the limit itself; the age of what was compared.

    `floor` and `left` are of losses, in money: the equity at which the limit is reached, and how far that is.
    """

    limit: str
    scope: str
    used: Decimal | None
    warn: Decimal
    hard: Decimal
    level: Level
    as_of: datetime | None
    is_fresh: bool
    missing: str = ""
    floor: Decimal | None = None
    left: Decimal | None = None


class SymbolUse(NamedTuple):
    """What an account could hold of one symbol: worst-case notional, also of each leg, and leverage as set."""

    symbol: str
    notional: Decimal | None
    by_bucket: Mapping[Bucket, Decimal | None]
    leverage: Fact[Decimal] | None
    orders: int
    is_contract: bool


def utilisation(
    facts: Facts, limits: Limits, strategies: Mapping[str, Decimal], symbols: Iterable[SymbolUse]
) -> tuple[Use, ...]:
    """Every limit that is set, for the account, its strategies, its coins and its symbols.

    `strategies` says what each has opened. A limit that holds only for some symbols is shown with them.
    """
    limits = in_force(limits, facts)
    found = [*_of_account(facts, limits), *_of_losses(facts, limits), *_of_sums(facts, limits)]
    found += _of_strategies(facts, limits, strategies)
    for one in symbols:
        found += _of_symbol(one, facts, limits.of(one.symbol))
    return tuple(found)


class _Scope(NamedTuple):
    """Makes the uses of one scope."""

    name: str
    facts: Facts
    limits: Limits

    def use(
        self, limit: str, as_of: datetime | None, used: Decimal | None, missing: str, age_max_s: Decimal | None = None
    ) -> Iterator[Use]:
        """The use of a limit, if it is set. What cannot be told is unknown, never nothing."""
        stated = getattr(self.limits, limit)
        if stated is None:
            return
        hard = Decimal(stated)
        if as_of is None or used is None or not used.is_finite():
            used = None
        is_minimum = limit.endswith("_min")
        share = self.limits.warn_at.get(limit, WARN_AT)
        warn = hard / share if is_minimum else hard * share
        yield Use(
            limit=limit,
            scope=self.name,
            used=used,
            warn=warn,
            hard=hard,
            level=_level(used, warn, hard, is_minimum=is_minimum),
            as_of=as_of,
            is_fresh=as_of is not None
            and believable(self.facts.now - as_of, age_max_s or self.limits.ages.account_s),
            missing=missing if used is None else "",
        )


def _level(used: Decimal | None, warn: Decimal, hard: Decimal, *, is_minimum: bool) -> Level:
    if used is None:
        return Level.UNKNOWN
    if is_minimum:
        used, warn, hard = -used, -warn, -hard
    if used >= hard:
        return Level.REACHED
    return Level.WARNING if used >= warn else Level.WITHIN


def _as_of(*facts: Fact[Any] | None) -> datetime | None:
    """When all of it was true: the oldest; None where one is missing."""
    instants = [None if fact is None else fact.as_of for fact in facts]
    known = [instant for instant in instants if instant is not None]
    return min(known) if len(known) == len(instants) else None


def _of_account(facts: Facts, limits: Limits) -> Iterator[Use]:
    exposure, as_of = facts.exposure, _as_of(facts.exposure)
    sums = Exposure() if exposure is None else exposure.value
    account = _Scope("account", facts, limits)
    levered = _share(sums.account, facts.equity)
    yield from account.use("leverage_max", _as_of(exposure, facts.equity), levered, "equity or exposure")
    yield from account.use("exposure_account_max", as_of, sums.account, "exposure")
    exchange = _Scope(f"exchange {facts.caller.exchange}", facts, limits)
    yield from exchange.use("exposure_exchange_max", as_of, sums.exchange, "exposure of another account")
    total = _Scope("total", facts, limits)
    yield from total.use("exposure_total_max", as_of, sums.total, "exposure of another account")
    held = facts.open_positions
    count = None if held is None else Decimal(len(held.value))
    yield from account.use("open_positions_max", _as_of(held), count, "positions")


def _share(amount: Decimal, equity: Fact[Decimal] | None) -> Decimal | None:
    """Of equity; of none, nobody can say."""
    return None if equity is None or equity.value <= NOTHING else amount / equity.value


def _of_losses(facts: Facts, limits: Limits) -> Iterator[Use]:
    found = facts.losses
    account, as_of = _Scope("account", facts, limits), _as_of(found)
    for name, measure in MEASURES.items():
        limit = getattr(limits, name)
        if limit is None:
            continue
        measured, missing = _measured(measure, facts, limit)
        (use,) = account.use(name, as_of, None if measured is None else measured.share, missing)
        if measured is not None:
            use = use._replace(floor=measured.floor(limit), left=measured.distance(limit))
        yield use
    yield from _of_money(account, facts, as_of)
    streak = None if found is None else Decimal(found.value.losing_streak)
    yield from account.use("loss_streak_max", as_of, streak, "losses")


def _of_money(account: _Scope, facts: Facts, as_of: datetime | None) -> Iterator[Use]:
    """The day's loss in money."""
    limit = account.limits.loss_daily_money_max
    if limit is None:
        return
    measured, missing = _measured(_daily, facts, limit)
    lost = None if measured is None else measured.lost
    (use,) = account.use("loss_daily_money_max", as_of, lost, missing)
    if measured is not None:
        floor = measured.anchor - limit
        use = use._replace(floor=floor, left=max(NOTHING, min(measured.equity - floor, limit - measured.lost)))
    yield use


def _measured(measure: Measuring, facts: Facts, limit: Decimal) -> tuple[losses.Measure | None, str]:
    """A loss, or what is missing to tell it."""
    if facts.losses is None:
        return None, "losses"
    known, equity = facts.losses.value, facts.equity
    now = known.equity if known.equity is not None else None if equity is None else equity.value
    if now is None:
        return None, "equity"
    try:
        return measure(known, now, limit), ""
    except FactMissing as error:
        return None, error.name


def _daily(known: Losses, equity: Decimal, _: Decimal) -> losses.Measure:
    return losses.daily_loss(known, equity)


def _weekly(known: Losses, equity: Decimal, _: Decimal) -> losses.Measure:
    return losses.weekly_loss(known, equity)


MEASURES: Final[Mapping[str, Measuring]] = {
    "loss_daily_max": _daily, "loss_weekly_max": _weekly, "drawdown_max": losses.drawdown_loss,
}


def _of_sums(facts: Facts, limits: Limits) -> Iterator[Use]:
    fact, as_of = facts.sums, _as_of(facts.sums)
    sums = AccountSums() if fact is None else fact.value
    account = _Scope("account", facts, limits)
    yield from account.use("exposure_net_max", as_of, max(sums.bought, sums.sold), "account_sums")
    for asset in sorted(sums.assets):
        exposed, of_asset = sums.assets[asset], _Scope(f"asset {asset}", facts, limits)
        if exposed:
            yield from of_asset.use("exposure_asset_max", as_of, exposed, "account_sums")
            yield from of_asset.use("concentration_max", as_of, _share(exposed, facts.equity), "equity")
    yield from account.use("margin_free_min", as_of, _free(sums), "equity of the contracts' wallet")
    yield from account.use("liquidation_distance_min", as_of, _distance(sums), "brackets")
    yield from account.use("open_orders_max", as_of, Decimal(sums.orders), "account_sums")


def _free(sums: AccountSums) -> Decimal | None:
    if sums.wallet is None or sums.wallet <= NOTHING:
        return None
    free = sums.wallet - sums.margin
    return (free if sums.available is None else min(free, sums.available)) / sums.wallet


def _distance(sums: AccountSums) -> Decimal | None:
    if sums.wallet is None or sums.maintenance is None:
        return None
    # With nothing on margin there is nothing to liquidate: as far as a price can fall.
    return min(distance(sums.wallet, sums.contracts, sums.maintenance), Decimal(1))


def _of_strategies(facts: Facts, limits: Limits, strategies: Mapping[str, Decimal]) -> Iterator[Use]:
    for name in sorted(strategies):
        scope = _Scope(f"strategy {name}", facts, limits)
        yield from scope.use("exposure_strategy_max", _as_of(facts.exposure), strategies[name], "exposure")


def _of_symbol(one: SymbolUse, facts: Facts, limits: Limits) -> Iterator[Use]:
    as_of = _as_of(facts.exposure)
    of_symbol = _Scope(f"symbol {one.symbol}", facts, limits)
    yield from of_symbol.use("exposure_symbol_max", as_of, one.notional, "price")
    for bucket, notional in one.by_bucket.items():
        leg = "" if bucket is Bucket.BOTH else f" {bucket.value}"
        scope = _Scope(f"symbol {one.symbol}{leg}", facts, limits)
        yield from scope.use("position_notional_max", as_of, notional, "price")
    if one.is_contract:
        leverage = one.leverage
        set_to = None if leverage is None else leverage.value
        yield from of_symbol.use(
            "leverage_max", _as_of(leverage), set_to, "leverage", limits.ages.leverage_s
        )
    yield from of_symbol.use("open_orders_symbol_max", as_of, Decimal(one.orders), "orders")

"""What an account holds, may still lose and could still open: for people and programs that look.

It reads what the gate reads, from memory. How much of a limit is used is the rules' own arithmetic, how large
an order could be is the gate's own answer. The one thing that is changed here is the fate of an order that
nobody but a person can tell (`settle`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from proxy.book import Book, Holding
from proxy.clock import Clock
from proxy.errors import StoreError
from proxy.ess import EssLatch
from proxy.feeds.lookup import NOT_FOUND_COUNTS_AFTER_S
from proxy.gather import Gather
from proxy.identity import Account
from proxy.reservations import Fate, Outcome, Reservations
from proxy.stores.policies import Policies
from rules import (
    Bucket,
    Caller,
    Directive,
    Fact,
    FactMissing,
    Facts,
    FactStale,
    Headroom,
    Level,
    Limits,
    Market,
    Order,
    SymbolUse,
    Use,
    headroom,
    sentence,
    utilisation,
)

ZERO = Decimal(0)
LISTED_MAX = 1000  # working orders in one answer; their number is told in any case
NOBODY = ""  # the strategy that no limit names
WORST_FIRST = (Level.REACHED, Level.UNKNOWN, Level.WARNING, Level.WITHIN)


class Accounts:
    """Every account, as it is now."""

    def __init__(
        self,
        *,
        book: Book,
        reservations: Reservations,
        gather: Gather,
        policies: Policies,
        latch: EssLatch,
        accounts: Mapping[str, Account],
        strategies: Mapping[str, frozenset[str]],
        clock: Clock,
    ) -> None:
        self._book = book
        self._reservations = reservations
        self._gather = gather
        self._policies = policies
        self._latch = latch
        self._accounts = accounts
        self._strategies = strategies
        self._clock = clock

    @property
    def names(self) -> tuple[str, ...]:
        """Every account there is."""
        return tuple(self._accounts)

    def strategies(self, name: str) -> frozenset[str]:
        """The strategies that bots of an account trade under."""
        return self._strategies.get(name, frozenset())

    def exchange(self, name: str) -> str:
        """Where an account trades."""
        return self._accounts[name].exchange

    def markets(self, name: str) -> frozenset[Market]:
        """What an account trades there."""
        return next(place.markets for place in self._book.accounts if place.name == name)

    def is_hedged(self, name: str) -> bool:
        """Whether its contracts are known to be held long and short side by side."""
        mode = self._book.hedge_mode(name, Market.LINEAR, self._clock.now())
        return mode is not None and mode.value

    def unknown(self, name: str, decision_id: str) -> int:
        """How many orders of a decision of this account nobody knows the fate of."""
        found = self._reservations.get(decision_id)
        if found is None or found.caller.account != name:
            return 0
        return sum(leg.fate is Fate.UNKNOWN for leg in found.legs)

    def unsettled_s(self, decision_id: str) -> float:
        """For how many more seconds an order of this decision that is nowhere to be found may still arrive."""
        found = self._reservations.get(decision_id)
        since_s = [leg.unknown_since_s for leg in found.legs if leg.fate is Fate.UNKNOWN] if found is not None else []
        if not since_s:
            return 0.0
        return max(0.0, max(since_s) + NOT_FOUND_COUNTS_AFTER_S - self._clock.monotonic())

    def settle(self, decision_id: str, outcome: Outcome) -> int:
        """A person says what became of them; how many there were."""
        return self._reservations.settle_by_operator(decision_id, outcome)

    def overview(self) -> list[dict[str, Any]]:
        """A line for each account, with the limits that are nearest."""
        return [self._line(name) for name in self._accounts]

    def one(self, name: str) -> dict[str, Any]:
        """Everything of one account."""
        now = self._clock.now()
        limits = self._limits(name, NOBODY, now)
        facts = self._facts(name, NOBODY, now, limits)
        return {
            **self._head(name, facts),
            "exposure": self._exposure(name, facts),
            "losses": _losses(facts),
            "positions": [self._position(name, one, now) for one in self._book.holdings(name)],
            "orders": self._orders(name),
            "limits": [shown_use(use, now) for use in self._uses(name, facts, limits)],
            "facts": self._ages(name, facts, limits),
        }

    def uses(self, name: str) -> tuple[Use, ...]:
        """How much of every limit of an account and its symbols is used; nothing while the policy is lost."""
        now = self._clock.now()
        limits = self._limits(name, NOBODY, now)
        return tuple(self._uses(name, self._facts(name, NOBODY, now, limits), limits))

    def directive(self, name: str, strategy: str, limits: Limits) -> Directive | None:
        """What the safety governor makes of an account under these limits; None where it is not governed."""
        governor = self._facts(name, strategy, self._clock.now(), limits).governor
        return None if governor is None else governor.value

    def headroom(self, caller: Caller, order: Order) -> dict[str, Any]:
        """How large the order could be now, by every rule, and the rule that binds."""
        now = self._clock.now()
        limits = self._policies.limits_for(caller.account, caller.strategy, now)
        facts = self._gather.facts(caller, (order,), now, limits)
        asked = {
            "account": caller.account, "strategy": caller.strategy, "symbol": order.symbol, "side": order.side,
            "type": order.type, "price": order.price, "bucket": order.bucket, "at": now,
        }  # fmt: skip
        try:
            found = headroom(order, facts, limits)
        except (FactMissing, FactStale) as error:
            return {**asked, "quantity": ZERO, "binding": "filters", "sentence": f"{error}, so no size is known"}
        return {**asked, **shown_headroom(found)}

    # Inside.

    def _facts(self, name: str, strategy: str, now: datetime, limits: Limits | None) -> Facts:
        exchange = self._accounts[name].exchange
        return self._gather.account(Caller(account=name, exchange=exchange, strategy=strategy, bot=""), now, limits)

    def _limits(self, name: str, strategy: str, now: datetime) -> Limits | None:
        """The limits in force; None while the policy is lost, since then nobody knows them."""
        try:
            return self._policies.limits_for(name, strategy, now)
        except StoreError:
            return None

    def _line(self, name: str) -> dict[str, Any]:
        now = self._clock.now()
        limits = self._limits(name, NOBODY, now)
        facts = self._facts(name, NOBODY, now, limits)
        uses = () if limits is None else utilisation(facts, limits, {}, ())
        nearest = sorted(uses, key=lambda use: (WORST_FIRST.index(use.level), -_share_used(use)))
        reserved = self._reservations.of_account(name)
        return {
            **self._head(name, facts),
            "exposure": _fact(None if facts.exposure is None else facts.exposure.value.account, facts.exposure, now),
            "open_positions": None if facts.open_positions is None else len(facts.open_positions.value),
            "working_orders": None if facts.sums is None else facts.sums.value.orders,
            "unknown_orders": sum(leg.fate is Fate.UNKNOWN for one in reserved for leg in one.legs),
            "nearest": [shown_use(use, now) for use in nearest[:3]],
        }

    def _head(self, name: str, facts: Facts) -> dict[str, Any]:
        account = self._accounts[name]
        return {
            "name": name,
            "exchange": account.exchange,
            "mode": account.mode,
            "state": self._latch.governing(name, account.exchange).level.name.lower(),
            "strategies": sorted(self.strategies(name)),
            "equity": _fact(None if facts.equity is None else facts.equity.value, facts.equity, facts.now),
        }

    def _exposure(self, name: str, facts: Facts) -> dict[str, Any]:
        exposure, sums, now = facts.exposure, facts.sums, facts.now
        if exposure is None or sums is None:
            return _fact(None, None, now)
        values, of_account = exposure.value, sums.value
        levered = None
        if facts.equity is not None and facts.equity.value > ZERO:
            levered = values.account / facts.equity.value
        return {
            **_fact(values.account, exposure, now),
            "leverage": _finite(levered),
            "exchange": _finite(values.exchange),
            "total": _finite(values.total),
            "strategies": dict(self._book.strategy_notional(name)),
            "assets": dict(sorted(of_account.assets.items())),
            "net_long": max(of_account.bought, ZERO),
            "net_short": max(of_account.sold, ZERO),
            "contracts": of_account.contracts,
            "margin": of_account.margin,
            "maintenance": of_account.maintenance,
            "available": of_account.available,
        }

    def _position(self, name: str, held: Holding, now: datetime) -> dict[str, Any]:
        symbol = held.symbol or held.instrument
        price = self._book.price(self._accounts[name].exchange, held.market, symbol)
        return {
            "market": held.market,
            "symbol": symbol,
            "instrument": held.instrument,
            "quantity": held.position.both,
            "long": held.position.long,
            "short": held.position.short,
            "worth": None if held.value is None else (
                (held.position.both + held.position.long - held.position.short) * held.value
            ),
            "waiting_up": held.up,
            "waiting_down": held.down,
            "exposure": self._book.symbol_notional(name, held.market, symbol),
            "price": _fact(None if price is None else price.value.mark, price, now),
            "strategies": list(held.strategies),
        }  # fmt: skip

    def _orders(self, name: str) -> dict[str, Any]:
        working = [
            {
                "market": market, "symbol": symbol, "order_id": order.order_id,
                "client_order_id": order.client_order_id, "side": order.side, "bucket": order.bucket,
                "remaining": order.remaining, "price": order.price, "trigger_price": order.trigger_price,
                "reduces_by_venue": order.reduces_by_venue,
            }
            for market in Market
            for symbol, orders in self._book.working(name, market).items()
            for order in orders.values()
        ]  # fmt: skip
        reserved = [
            {
                "decision_id": one.decision_id, "strategy": one.caller.strategy, "bot": one.caller.bot,
                "market": one.market, "symbol": leg.symbol, "client_order_id": leg.client_order_id,
                "quantity": leg.quantity, "state": leg.fate, "reserved_at": one.reserved_at,
            }
            for one in self._reservations.of_account(name)
            for leg in one.legs
            if leg.fate is not Fate.GONE
        ]  # fmt: skip
        return {"working_count": len(working), "working": working[:LISTED_MAX], "reserved": reserved[:LISTED_MAX]}

    def _uses(self, name: str, facts: Facts, limits: Limits | None) -> Iterator[Use]:
        if limits is None:
            return
        shares = self._book.strategy_notional(name)
        yield from utilisation(facts, limits, {}, self._symbols(name, facts.now))
        for strategy in sorted({*self.strategies(name), *shares} - {""}):
            own = self._limits(name, strategy, facts.now)
            opened = shares.get(strategy, ZERO) + shares.get("", ZERO)
            if own is not None:
                # What a strategy's own layer limits beyond this account's is shown once, under the strategy.
                for use in utilisation(facts, own, {strategy: opened}, ()):
                    if use.scope == f"strategy {strategy}":
                        yield use

    def _symbols(self, name: str, now: datetime) -> Iterator[SymbolUse]:
        for held in self._book.holdings(name):
            symbol = held.symbol or held.instrument
            known = self._book.symbol(name, held.market, symbol, now)
            yield SymbolUse(
                symbol=symbol,
                notional=self._book.symbol_notional(name, held.market, symbol),
                by_bucket=_by_bucket(held),
                leverage=known.leverage,
                orders=len(known.orders_by_id) + self._reservations.resting(name, held.market, symbol),
                is_contract=held.market is Market.LINEAR,
            )

    def _ages(self, name: str, facts: Facts, limits: Limits | None) -> dict[str, Any]:
        ages = Limits(policy_revision=0, profile="", capital_profile="").ages if limits is None else limits.ages
        found: dict[str, tuple[Fact[Any] | None, Decimal]] = {
            "equity": (facts.equity, ages.account_s),
            "exposure": (facts.exposure, ages.account_s),
            "losses": (facts.losses, ages.account_s),
            "open_positions": (facts.open_positions, ages.account_s),
            # Read as seldom as the leverage is; no rule holds it to an age.
            "hedge_mode": (facts.hedge_mode, ages.leverage_s),
            "global_risk": (facts.risk, ages.risk_s),
        }
        for market in Market:
            positions = self._book.positions(name, market)
            if positions is not None:
                found[f"positions_{market.value}"] = (positions, ages.account_s)
        for held in self._book.holdings(name):
            symbol = held.symbol or held.instrument
            price = self._book.price(self._accounts[name].exchange, held.market, symbol)
            found[f"price_{held.market.value}_{symbol}"] = (price, ages.price_s)
            if held.market is Market.LINEAR:
                leverage = self._book.symbol(name, held.market, symbol, facts.now).leverage
                found[f"leverage_{symbol}"] = (leverage, ages.leverage_s)
        return {fact: _age(value, age_max_s, facts.now) for fact, (value, age_max_s) in found.items()}


def shown_use(use: Use, now: datetime) -> dict[str, Any]:
    """One limit's use as the API shows it."""
    return {
        "limit": use.limit,
        "scope": use.scope,
        "used": use.used,
        "warn": use.warn,
        "hard": use.hard,
        "share": _finite(_share_used(use)) if use.used is not None else None,
        "level": use.level,
        "age_s": _age_s(use.as_of, now),
        "fresh": use.is_fresh,
        **({"missing": use.missing} if use.missing else {}),
        **({"floor": use.floor, "left": use.left} if use.floor is not None else {}),
    }


def shown_headroom(found: Headroom) -> dict[str, Any]:
    """A headroom as the API shows it."""
    return {
        "quantity": found.quantity,
        "unbounded": found.unbounded,
        "binding": found.binding,
        "sentence": None if found.breach is None else sentence(found.breach),
        "step": found.step,
        "quantity_min": found.quantity_min,
        "sendable": found.quantity >= found.quantity_min and found.quantity > ZERO,
        "rules": [
            {"rule": one.rule, "quantity": one.quantity, "reason": None if one.breach is None else one.breach.reason}
            for one in found.rules
        ],
    }


def _by_bucket(held: Holding) -> dict[Bucket, Decimal | None]:
    """What each position could become, in the account's currency; legs only where there are any."""
    both = max(held.position.both + held.up, held.down - held.position.both)
    sizes = {
        Bucket.BOTH: both,
        Bucket.LONG: held.position.long + held.long_up,
        Bucket.SHORT: held.position.short + held.short_up,
    }
    return {
        bucket: None if held.value is None else size * held.value
        for bucket, size in sizes.items()
        if size or (bucket is Bucket.BOTH and not any(sizes.values()))
    }


def _losses(facts: Facts) -> dict[str, Any] | None:
    found = facts.losses
    if found is None:
        return None
    known = found.value
    return {
        **_fact(known.equity, found, facts.now),
        "base": known.base,
        "day_start_equity": known.day_start_equity,
        "week_start_equity": known.week_start_equity,
        "high_water_mark": known.high_water_mark,
        "day_transfers": known.day_transfers,
        "week_transfers": known.week_transfers,
        "losing_streak": known.losing_streak,
    }


def _share_used(use: Use) -> Decimal:
    """How much of the limit is used: of a minimum, how much of what is there is needed."""
    if use.used is None:
        return ZERO
    if use.limit.endswith("_min"):
        return use.hard / use.used if use.used > ZERO else Decimal("Infinity")
    return use.used / use.hard if use.hard > ZERO else Decimal("Infinity")


def _fact(value: Decimal | None, fact: Fact[Any] | None, now: datetime) -> dict[str, Any]:
    as_of = None if fact is None else fact.as_of
    return {"value": _finite(value), "as_of": as_of, "age_s": _age_s(as_of, now)}


def _age(fact: Fact[Any] | None, age_max_s: Decimal, now: datetime) -> dict[str, Any]:
    as_of = None if fact is None else fact.as_of
    age_s = _age_s(as_of, now)
    fresh = age_s is not None and -1 <= age_s <= age_max_s
    return {"as_of": as_of, "age_s": age_s, "age_max_s": age_max_s, "fresh": fresh}


def _age_s(as_of: datetime | None, now: datetime) -> float | None:
    return None if as_of is None else round((now - as_of).total_seconds(), 3)


def _finite(value: Decimal | None) -> Decimal | None:
    """The amount; None where a part of it is not known."""
    return None if value is None or not value.is_finite() else value

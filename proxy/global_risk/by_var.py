"""How large an order may be so that the account stays inside its VaR and ES limits.

Both methods of the signal are kept inside, each exactly:

Historical: every scenario's loss is linear in the quantity. What waits counts at its worst in each scenario
(a waiting order fills where that hurts and does not where it would help), so whatever subset of it fills, no
scenario is worse than assumed, and neither are VaR and ES. VaR stays inside as long as no more scenarios than
the level allows are beyond the limit, so the quantity is where one too many crosses it; in between it is not
convex, so it is the first such crossing that counts. ES is convex and piecewise linear: Newton's steps from the
quantity asked for come down to the crossing and end on it.

Parametric: the variance is a quadratic in the quantity. What waits adds its own deviation, which is the most it
can add, whichever way it fills.

An order is inside only if every smaller one is too: it may fill in part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_FLOOR, Context, Decimal
from typing import NamedTuple

import numpy as np

from proxy.book import Book
from proxy.global_risk import arithmetic
from proxy.global_risk.arithmetic import ES_975, LEVEL_WHOLE, VAR_95, VAR_99, Floats
from proxy.global_risk.history import Aligned, History, Series, day_of
from proxy.global_risk.measures import Method
from rules import Market, Side
from rules.profile import RiskLimitsPolicy

ZERO = Decimal(0)
SAFE = 1.0 - 1e-12  # floats have 16 digits: a quantity on the limit must not come out beyond it
STEPS_MAX = 64  # Newton ends after a handful; one that did not would be answered by nothing
DOWN = Context(prec=15, rounding=ROUND_FLOOR)
TABLES_MAX = 256


class VarLimits(NamedTuple):
    """The account's limits in money; None does not limit."""

    var_95: Decimal | None = None
    var_99: Decimal | None = None
    es_975: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """What of the history does not change from order to order: returns over the horizon, by column."""

    columns: Mapping[Series, int]
    returns: Floats
    ups: Floats  # the return where it is positive, else 0: what a short loses
    downs: Floats  # minus the return where it is negative, else 0: what a long loses
    weights: Floats
    deviations: Floats  # of each column


@dataclass(frozen=True, slots=True)
class Portfolio:
    """One account, prepared: everything an order's arithmetic needs, without looking anything up elsewhere.

    `worst` is the loss per scenario with what waits at its worst, `held` without what waits. `values` is what one
    unit of each column is worth, and `waiting_deviation` what waits may add to the deviation at most.
    """

    table: Table
    worst: Floats
    held: Floats
    values: Mapping[Series, float]
    waiting_deviation: float


def largest_quantity(
    portfolio: Portfolio, symbol: Series, side: Side, asked: Decimal, limit: VarLimits
) -> Decimal | None:
    """The largest quantity, at most `asked`, that keeps VaR and ES inside `limit`; None if the symbol is not known.

    0 where the account is outside already, whatever the order would do about it: what provably reduces is not
    judged by this.
    """
    at, value = portfolio.table.columns.get(symbol), portfolio.values.get(symbol)
    if at is None or value is None:
        return None
    unit = portfolio.table.returns[:, at] * (-value if side is Side.BUY else value)
    wanted = float(asked)
    quantity = _parametric(portfolio, unit, value * float(portfolio.table.deviations[at]), wanted, limit)
    for level, money in ((VAR_95, limit.var_95), (VAR_99, limit.var_99)):
        if money is not None and quantity > 0:
            quantity = _within_var(portfolio.worst, unit, quantity, float(money), level)
    if limit.es_975 is not None and quantity > 0:
        quantity = _within_es(portfolio.worst, unit, quantity, float(limit.es_975), ES_975)
    if quantity >= wanted:
        return asked
    return DOWN.create_decimal(repr(float(quantity) * SAFE)) if quantity > 0 else ZERO


def with_waiting(portfolio: Portfolio, symbol: Series, side: Side, quantity: Decimal) -> Portfolio:
    """The portfolio with one more order that waits: for the legs of a request that come after it."""
    table, at = portfolio.table, portfolio.table.columns[symbol]
    size = float(quantity) * portfolio.values[symbol]
    hurts = table.downs if side is Side.BUY else table.ups
    return replace(
        portfolio,
        worst=portfolio.worst + hurts[:, at] * size,
        waiting_deviation=portfolio.waiting_deviation + float(table.deviations[at]) * size,
    )


def limits_of(equity: Decimal, limits: RiskLimitsPolicy) -> VarLimits:
    """An account's limits in money: the whole book's shares, of the account's own equity, or the stated amounts."""
    found = []
    for share, amount in (
        (limits.var_95_max, limits.var_95_money_max),
        (limits.var_99_max, limits.var_99_money_max),
        (limits.es_975_max, limits.es_975_money_max),
    ):
        own = max(ZERO, equity * share)
        found.append(own if amount is None else min(own, amount))
    return VarLimits(*found)


@dataclass(frozen=True, slots=True)
class Room:
    """What travels with the facts of one request: one account, prepared, with its limits.

    It answers in decimals and knows symbols by the name and market that orders use: `series` says which candles
    they stand for. Without a portfolio (history or a price is missing) it has no answer.
    """

    portfolio: Portfolio | None
    series: Mapping[tuple[Market, str], Series]
    limits: VarLimits

    def largest_quantity(self, market: Market, symbol: str, side: Side, asked: Decimal) -> Decimal | None:
        """The largest quantity of base units, at most `asked`, that fits; None where nobody knows."""
        series = self.series.get((market, symbol))
        if self.portfolio is None or series is None:
            return None
        return largest_quantity(self.portfolio, series, side, asked, self.limits)

    def after(self, market: Market, symbol: str, side: Side, quantity: Decimal) -> Room:
        """The room that is left beside an order let through before."""
        series = self.series.get((market, symbol))
        if self.portfolio is None or series is None:
            return replace(self, portfolio=None)
        return replace(self, portfolio=with_waiting(self.portfolio, series, side, quantity))


def _within_var(worst: Floats, unit: Floats, asked: float, limit: float, level: int) -> float:
    """The first quantity at which more scenarios lose over `limit` than the level allows."""
    allowed = len(worst) * (LEVEL_WHOLE - level) // LEVEL_WHOLE
    room = limit - worst
    # A line is highest at one of its ends, so whoever is inside at both is inside all the way.
    beyond = np.minimum(room, room - unit * asked) < 0
    if np.count_nonzero(beyond) <= allowed:
        return asked
    room, unit = room[beyond], unit[beyond]
    outside_now = room < 0
    count = int(np.count_nonzero(outside_now))
    if count > allowed:
        return 0.0
    # Those that are outside now and come in leave their place to another; ties come in before others go out.
    with np.errstate(divide="ignore"):
        crossings = np.where(unit != 0, room / unit, np.inf)
    leaving = outside_now & (unit < 0)
    moving = leaving | (~outside_now & (unit > 0))
    crossings, steps = crossings[moving], np.where(leaving[moving], -1, 1)
    order = np.lexsort((steps, crossings))
    over = np.flatnonzero(count + np.cumsum(steps[order]) > allowed)
    return min(asked, float(crossings[order[over[0]]])) if len(over) else asked


def _within_es(worst: Floats, unit: Floats, asked: float, limit: float, level: int) -> float:
    """Where the mean of the tail reaches `limit`; it is convex in the quantity, so Newton comes from above."""
    weights, tail = arithmetic.tail_of(worst, level)
    if weights @ worst[tail] > limit:
        return 0.0
    quantity = asked
    for _ in range(STEPS_MAX):
        losses = worst + unit * quantity
        weights, tail = arithmetic.tail_of(losses, level)
        beyond = float(weights @ losses[tail]) - limit
        if beyond <= 0:
            return quantity
        slope = float(weights @ unit[tail])
        if not slope > 0:
            return 0.0
        if beyond <= 1e-12 * limit:  # on the crossing but for rounding: a little further in
            return max(0.0, quantity - 4e-12 * limit / slope)
        quantity -= beyond / slope
    return 0.0


def _parametric(portfolio: Portfolio, unit: Floats, deviation: float, asked: float, limit: VarLimits) -> float:
    """Where the deviation reaches what the tightest limit allows of it."""
    allowed = deviation_allowed(limit)
    if allowed is None:
        return asked
    weights, held = portfolio.table.weights, portfolio.held
    room = allowed - portfolio.waiting_deviation
    constant = float(weights @ (held * held)) - room * room
    if room <= 0 or constant > 0:
        return 0.0
    square = deviation * deviation
    if square <= 0:
        return asked
    half = float(weights @ (held * unit))
    return min(asked, (math.sqrt(half * half - square * constant) - half) / square)


def deviation_allowed(limit: VarLimits) -> float | None:
    """The standard deviation at which the first of the limits is reached."""
    factors = (
        (limit.var_95, arithmetic.var_normal(1.0, VAR_95)),
        (limit.var_99, arithmetic.var_normal(1.0, VAR_99)),
        (limit.es_975, arithmetic.es_factor(ES_975)),
    )
    return min((float(money) / factor for money, factor in factors if money is not None), default=None)


class ByVar:
    """Prepares accounts from the book. What does not change between orders is made once and kept."""

    def __init__(self, book: Book, history: History, method: Method) -> None:
        self._book = book
        self._history = history
        self._method = method
        self._tables: dict[tuple[Series, ...], Table | None] = {}
        self._made_for = (-1, -1)

    def room(
        self,
        account: str,
        exchange: str,
        asked: Iterable[tuple[Market, str]],
        limits: RiskLimitsPolicy,
        now: datetime,
    ) -> Room:
        """What an account's orders in these symbols may use, by the equity and the book of this moment."""
        series = {
            (market, symbol): Series(exchange, market, priced_by)
            for market, symbol in asked
            if (priced_by := self._book.priced_by(exchange, market, symbol)) is not None
        }
        equity = self._book.equity(account, now)
        if equity is None:
            return Room(None, series, VarLimits())
        return Room(self.portfolio(account, exchange, series.values(), now), series, limits_of(equity.value, limits))

    def portfolio(self, account: str, exchange: str, asked: Iterable[Series], now: datetime) -> Portfolio | None:
        """One account as it stands, with the symbols asked for; None while history or a price of one is missing."""
        moves: dict[Series, list[float]] = {}
        values: dict[Series, float] = {}
        for one in self._book.holdings(account):
            if one.value is None or one.symbol is None:
                if one.value is None:
                    return None
                continue  # a coin without a market is worth nothing for certain
            series = Series(exchange, one.market, one.symbol)
            value = float(one.value)
            held = one.position
            values[series] = value
            moves[series] = [
                float(held.both + held.long - held.short) * value,
                float(one.up + one.long_up) * value,
                float(one.down + one.short_up) * value,
            ]
        for series in asked:
            if series not in values:
                price = self._book.price(exchange, series.market, series.symbol)
                if price is None:
                    return None
                values[series] = float(price.value.mark * price.value.conversion)
        table = self._table(tuple(sorted(values)), now)
        return None if table is None else _portfolio(table, moves, values)

    def _table(self, series: tuple[Series, ...], now: datetime) -> Table | None:
        made_for = (self._history.version, day_of(now))
        if made_for != self._made_for or len(self._tables) > TABLES_MAX:
            self._tables.clear()
            self._made_for = made_for
        if series not in self._tables:
            method = self._method
            aligned = self._history.align(
                series, today=made_for[1], lookback=method.lookback_days, history_min=method.history_min
            )
            self._tables[series] = _table(aligned, method) if aligned.days else None
        return self._tables[series]


def _table(aligned: Aligned, method: Method) -> Table:
    returns = np.ascontiguousarray(aligned.returns * arithmetic.horizon_factor(method.horizon_hours))
    weights = arithmetic.ewma_weights(len(returns), method.decay)
    return Table(
        columns={series: at for at, series in enumerate(aligned.series)},
        returns=returns,
        ups=np.maximum(returns, 0.0),
        downs=np.maximum(-returns, 0.0),
        weights=weights,
        deviations=np.asarray(np.sqrt(weights @ (returns * returns))),
    )


def _portfolio(table: Table, moves: Mapping[Series, list[float]], values: Mapping[Series, float]) -> Portfolio:
    columns = np.array([moves.get(series, (0.0, 0.0, 0.0)) for series in table.columns])
    held = -(table.returns @ columns[:, 0])
    worst = held + table.downs @ columns[:, 1] + table.ups @ columns[:, 2]
    return Portfolio(table, worst, held, values, float(table.deviations @ (columns[:, 1] + columns[:, 2])))


def prepared(
    aligned: Aligned,
    quantities: Mapping[Series, tuple[Decimal, Decimal, Decimal]],
    values: Mapping[Series, Decimal],
    method: Method,
) -> Portfolio:
    """A portfolio from plain figures: net, what may be added and taken away, and what a unit is worth."""
    moves = {
        series: [float(quantity) * float(values[series]) for quantity in three] for series, three in quantities.items()
    }
    return _portfolio(_table(aligned, method), moves, {series: float(value) for series, value in values.items()})

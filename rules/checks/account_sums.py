"""What an account may become as a whole: one coin's share, its net side, its margin, and how many orders rest.

Like every exposure it is worst case. An order that leaves the worst case of its position where it
certainly was passes even over a limit. Without one of these limits their facts are not even gathered.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rules import exposure, growth
from rules.account_sums import AccountSums
from rules.case import Case, believable, seconds
from rules.checks.leverage import INFINITE, share_of_equity
from rules.decision import Breach, Finding, Reason
from rules.facts import FactMissing, FactStale
from rules.order import Market, Side

NOTHING: Final = Decimal(0)


def sums_of(case: Case) -> AccountSums:
    """The sums of the account, fresh; raises FactMissing or FactStale."""
    fact = case.facts.sums
    if fact is None:
        raise FactMissing("account_sums")
    age, age_max_s = case.facts.now - fact.as_of, case.limits.ages.account_s
    if not believable(age, age_max_s):
        raise FactStale("account_sums", seconds(age), age_max_s)
    return fact.value


def open_orders(case: Case) -> Finding:
    """Orders that rest at the venue or are on their way there, conditional ones too, may not outnumber the limit."""
    limit = case.limits.open_orders_max
    if limit is None or not growth.rests(case.order):
        return None
    count = sums_of(case).orders + 1
    return Breach(Reason.OPEN_ORDERS_EXCEED_LIMIT, count, limit) if count > limit else (count, limit)


def open_orders_symbol(case: Case) -> Finding:
    """Orders of one symbol that rest or are on their way, conditional ones too, may not outnumber the limit."""
    limit = case.limits.open_orders_symbol_max
    if limit is None or not growth.rests(case.order):
        return None
    count = sums_of(case).orders_by_symbol.get(case.order.symbol, 0) + 1
    return Breach(Reason.OPEN_ORDERS_EXCEED_LIMIT, count, limit) if count > limit else (count, limit)


def asset(case: Case) -> Finding:
    """The account's exposure in one coin, over all its symbols and markets, may not grow past its limit."""
    limit = case.limits.exposure_asset_max
    if limit is None:
        return None
    before = _asset_before(case)
    after = before + case.exposure_delta
    if after <= limit or exposure.spared(case, before, limit):
        return after, limit
    fits = exposure.quantity_within(case, limit - before)
    return Breach(Reason.ASSET_EXPOSURE_EXCEEDS_LIMIT, after, limit, fits, growth.asset_of(case))


def concentration(case: Case) -> Finding:
    """The account's exposure in one coin may not be above a share of equity."""
    limit = case.limits.concentration_max
    if limit is None:
        return None
    before, equity = _asset_before(case), case.equity
    after = before + case.exposure_delta
    observed = share_of_equity(after, equity)
    if after <= limit * equity or exposure.spared(case, before, limit * equity):
        return observed, limit
    fits = exposure.quantity_within(case, limit * equity - before)
    return Breach(Reason.CONCENTRATION_EXCEEDS_LIMIT, observed, limit, fits, growth.asset_of(case))


def _asset_before(case: Case) -> Decimal:
    return sums_of(case).assets.get(growth.asset_of(case), NOTHING)


def net(case: Case) -> Finding:
    """The account's net exposure, long or short, may not grow past its limit; what waits is not netted.

    Over the limit, an order may bring its own side as far as the other certainly is: that makes nothing worse.
    Reservations of the other side are no excuse, as they may come to nothing.
    """
    limit = case.limits.exposure_net_max
    if limit is None:
        return None
    sums, more = sums_of(case), growth.added_value(case)
    bought, sold = sums.bought, sums.sold
    if exposure.buys_quote(case.order, case.symbol) or exposure.side_unproven(case.order, case.symbol):
        own = max(bought, sold)
    else:
        own = sold if case.order.side is Side.SELL else bought
    after = max(own + more, bought, sold)
    room = max(limit, sums.bought_certain, sums.sold_certain) - own
    if not more or more <= room:
        return after, limit
    fits = exposure.in_order_units(case, room / (case.exposure_price * case.price.conversion) + case.covered)
    return Breach(Reason.NET_EXPOSURE_EXCEEDS_LIMIT, after, limit, fits)


def free_margin(case: Case) -> Finding:
    """So much of the contracts' wallet must stay free of margin, everything that waits filled (contracts only)."""
    limit = case.limits.margin_free_min
    if limit is None or case.order.market is not Market.LINEAR:
        return None
    sums, leverage = sums_of(case), case.leverage
    wallet = _wallet(case, sums)
    free = wallet - sums.margin
    if sums.available is not None:
        free = min(free, sums.available)
    after = free - case.exposure_delta / leverage
    observed = after / wallet if wallet > NOTHING else -INFINITE
    if after >= limit * wallet > NOTHING or case.non_increasing:
        return observed, limit
    fits = exposure.quantity_within(case, (free - limit * wallet) * leverage)
    return Breach(Reason.FREE_MARGIN_BELOW_MINIMUM, observed, limit, fits)


def liquidation_distance(case: Case) -> Finding:
    """Prices must be able to move so far against everything held and waiting before the account is liquidated."""
    limit = case.limits.liquidation_distance_min
    if limit is None or case.order.market is not Market.LINEAR:
        return None
    sums, delta = sums_of(case), case.exposure_delta
    wallet = _wallet(case, sums)
    maintenance = growth.maintenance_after(sums, case.order.symbol, delta)
    if maintenance is None:
        raise FactMissing("brackets")
    observed = distance(wallet, sums.contracts + delta, maintenance)
    if observed >= limit or case.non_increasing:
        return observed, limit
    return Breach(Reason.LIQUIDATION_TOO_CLOSE, observed, limit)


def distance(wallet: Decimal, notional: Decimal, maintenance: Decimal) -> Decimal:
    """The adverse move of every price, as a share, at which the wallet is down to the maintenance margin.

    With maintenance growing as shorts do when prices rise, which is the nearer of the two sides:
    wallet - d x notional = maintenance x (1 + d).
    """
    if notional <= NOTHING:
        return INFINITE
    return (wallet - maintenance) / (notional + maintenance)


def _wallet(case: Case, sums: AccountSums) -> Decimal:
    """The equity of the contracts' wallet; that the account's equity is fresh says that this is."""
    if sums.wallet is None:
        raise FactMissing("equity")
    _ = case.equity
    return sums.wallet

"""What a block says to an operator and to a bot's log: one sentence with what was found, the limit, and the way out.

Trading libraries map error texts of a venue to their own exceptions by searching for phrases. A sentence
of ours must contain none of them, or a block would be taken for something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import Enum
from typing import Final

from rules.case import seconds
from rules.decision import Breach, Reason

MAPPED_BY_CLIENTS = (
    "LOT_SIZE",
    "PRICE_FILTER",
    "MAX_POSITION",
    "Price * QTY is zero or less",
    "PERCENT_PRICE_BY_SIDE",
    "has no operation privilege",
    "This order type is not possible",
)

SHOWN_DIGITS: Final = 12  # more than that says nothing to a reader
LISTED_MAX: Final = 12
_SHORT: Final = Context(prec=SHOWN_DIGITS, rounding=ROUND_HALF_EVEN)

SENTENCES: Final[dict[Reason, str]] = {
    Reason.ALL_RISK_CHECKS_PASSED: "All risk checks passed.",
    Reason.ESS_TRADING_HALT_ACTIVE:
        "The emergency stop is set to {observed}{detail}, so nothing is placed or changed; "
        "cancels still pass, and an operator must release the stop.",
    Reason.ESS_REDUCE_ONLY_ACTIVE:
        "The emergency stop is set to {observed}{detail} and this does not provably reduce a position; "
        "send a reduction with reduceOnly, or wait until an operator releases the stop.",
    Reason.GLOBAL_RISK_CRITICAL:
        "The global risk level is {observed}{detail}, the highest that passes is {limit}; "
        "wait until the level falls.",
    Reason.RISK_V3_ESS_ACTION_REQUIRED:
        "The global risk signal demands that the emergency stop acts ({observed}){detail}; "
        "wait until the signal is withdrawn.",
    Reason.GLOBAL_RISK_WARNING:
        "The global risk level is {observed}{detail}, so new exposure is limited to {limit} of what is asked; "
        "send a smaller order that can be scaled.",
    Reason.SAFETY_GOVERNOR_BLOCK:
        "The safety governor says {observed} for this account and {limit} would let new exposure pass{detail}; "
        "only reductions pass until its cause is gone.",
    Reason.STRATEGY_NOT_ALLOWED:
        "Strategy {observed} is not among those allowed here ({limit}); "
        "add it to the policy or trade under a listed one.",
    Reason.SYMBOL_NOT_ALLOWED:
        "Symbol {observed} is not among those allowed here ({limit}); add it to the policy or trade a listed one.",
    Reason.STRATEGY_BLOCKED:
        "Strategy {observed} is among those blocked here ({limit}); take it off the list or trade under another one.",
    Reason.SYMBOL_BLOCKED:
        "Symbol {observed} is among those blocked here ({limit}); take it off the list or trade another one.",
    Reason.RANK_BELOW_MINIMUM:
        "The symbol's rank{detail} is {observed}, the least that is traded is {limit}; "
        "wait for a better rank or trade another one.",
    Reason.CONFIDENCE_MISSING:
        "No confidence was stated and this account requires one of at least {limit}; state it with the order.",
    Reason.CONFIDENCE_BELOW_MINIMUM:
        "The stated confidence of {observed} is below the minimum of {limit}; wait for a stronger signal.",
    Reason.LEVERAGE_EXCEEDS_LIMIT:
        "Leverage of {observed} is above the limit of {limit}; lower the symbol's leverage first.",
    Reason.EFFECTIVE_LEVERAGE_EXCEEDS_LIMIT:
        "Exposure after this order would be {observed} times equity, the limit is {limit}; "
        "reduce positions or cancel working orders first.",
    Reason.MARGIN_CHANGE_NOT_ALLOWED:
        "Changing {observed} is not allowed by the policy ({limit}); ask an operator to change it.",
    Reason.SINGLE_TRADE_RISK_EXCEEDS_LIMIT:
        "The trade is worth {observed} of equity, the limit for a single trade is {limit}; send a smaller order.",
    Reason.STOP_LOSS_RISK_EXCEEDS_LIMIT:
        "The trade would lose {observed} of equity at its stop, the limit is {limit}; "
        "send a smaller order or a closer stop.",
    Reason.DAILY_LOSS_EXCEEDS_LIMIT:
        "Today's loss is {observed} and the daily loss limit of {limit} is reached{detail}; "
        "only reductions pass until the next day begins.",
    Reason.WEEKLY_LOSS_EXCEEDS_LIMIT:
        "This week's loss is {observed} and the weekly loss limit of {limit} is reached{detail}; "
        "only reductions pass until the next week begins.",
    Reason.DRAWDOWN_EXCEEDS_LIMIT:
        "The drawdown is {observed} and its limit of {limit} is reached{detail}; "
        "only reductions pass until equity recovers.",
    Reason.LOSS_STREAK_REACHES_LIMIT:
        "The last {observed} closed trades lost and the limit is {limit}{detail}; "
        "only reductions pass until the cooldown ends.",
    Reason.NEW_POSITIONS_NOT_ALLOWED:
        "New positions are switched off by the policy and this is {observed}; send a reduction.",
    Reason.OPEN_POSITIONS_EXCEED_LIMIT:
        "This would be open position number {observed}, the limit is {limit}; close one first.",
    Reason.POSITION_EXCEEDS_LIMIT:
        "The position would be worth up to {observed}, working orders included, and its cap is {limit}; "
        "send a smaller order or cancel working ones.",
    Reason.SYMBOL_EXPOSURE_EXCEEDS_LIMIT:
        "Exposure in the symbol would be up to {observed}, the limit is {limit}; "
        "send a smaller order or cancel working ones.",
    Reason.STRATEGY_EXPOSURE_EXCEEDS_LIMIT:
        "The strategy's exposure would be up to {observed}, the limit is {limit}; "
        "send a smaller order or cancel working ones.",
    Reason.ACCOUNT_EXPOSURE_EXCEEDS_LIMIT:
        "The account's exposure would be up to {observed}, the limit is {limit}; "
        "send a smaller order or cancel working ones.",
    Reason.EXCHANGE_EXPOSURE_EXCEEDS_LIMIT:
        "Exposure on the exchange would be up to {observed}, the limit is {limit}; "
        "send a smaller order or cancel working ones.",
    Reason.TOTAL_EXPOSURE_EXCEEDS_LIMIT:
        "Total exposure would be up to {observed}, the limit is {limit}; "
        "send a smaller order or cancel working ones.",
    Reason.ASSET_EXPOSURE_EXCEEDS_LIMIT:
        "Exposure in one coin{detail} would be up to {observed} over all its symbols, the limit is {limit}; "
        "send a smaller order or cancel working ones.",
    Reason.NET_EXPOSURE_EXCEEDS_LIMIT:
        "The account's net exposure would be up to {observed}, the limit is {limit}; "
        "send a smaller order, or one on the other side.",
    Reason.CONCENTRATION_EXCEEDS_LIMIT:
        "Exposure in one coin{detail} would be up to {observed} of equity, the limit is {limit}; "
        "send a smaller order or trade another coin.",
    Reason.FREE_MARGIN_BELOW_MINIMUM:
        "Only {observed} of the wallet would stay free of margin, the minimum is {limit}; "
        "send a smaller order or cancel working ones.",
    Reason.LIQUIDATION_TOO_CLOSE:
        "The account would be liquidated by an adverse move of {observed}, the least allowed is {limit}; "
        "send a smaller order or reduce positions first.",
    Reason.VALUE_AT_RISK_EXCEEDS_LIMIT:
        "With a quantity of {observed} the account's value at risk would pass its limit, with {limit} it would not; "
        "send a smaller order or reduce positions.",
    Reason.OPEN_ORDERS_EXCEED_LIMIT:
        "This would be open order number {observed}, the limit is {limit}; cancel one first.",
    Reason.PRICE_BELOW_FLOOR:
        "The price of {observed} is below the floor of {limit}; correct the price.",
    Reason.PRICE_ABOVE_CEILING:
        "The price of {observed} is above the ceiling of {limit}; correct the price.",
    Reason.PRICE_OUTSIDE_COLLAR:
        "The price of {observed} is too far through the market, the collar ends at {limit}; correct the price.",
    Reason.ORDER_QUANTITY_EXCEEDS_LIMIT:
        "The quantity of {observed} is above the limit of {limit} for one order; send a smaller order.",
    Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT:
        "The request is worth {observed}, the limit is {limit}; send a smaller order.",
    Reason.ORDER_RATE_EXCEEDS_LIMIT:
        "This would be order number {observed} within the rate window, the limit is {limit}; slow down.",
    Reason.ORDER_DUPLICATE:
        "The same order was sent before ({observed}, allowed: {limit}); "
        "look up the first one before sending another.",
    Reason.APPROVAL_REQUIRED:
        "The request is worth {observed} and from {limit} on a person has to approve it first{detail}; "
        "wait for the approval, then send the same order again.",
    Reason.SCALED_BELOW_MINIMUM:
        "Scaled to what the limits leave, the order would be {observed}, below the venue's minimum of {limit}"
        "{detail}; free some headroom first.",
    Reason.FACTS_MISSING:
        "A fact that this order needs is not known ({observed}); "
        "only what provably reduces passes until it arrives.",
    Reason.FACTS_STALE:
        "A fact that this order needs is too old ({observed}, at most {limit} s); "
        "only what provably reduces passes until it is fresh.",
    Reason.RULE_FAILED:
        "The rule {observed} could not reach an answer ({detail}), so the request is blocked; tell an operator.",
    Reason.ORDER_NOT_UNDERSTOOD:
        "The request could not be judged ({observed}); it must carry {limit}.",
}


def described(value: object) -> str:
    """A value of a rule's findings as a short text: numbers in plain notation, never with an exponent."""
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, timedelta):
        return f"{_number(seconds(value))} s"
    if isinstance(value, (frozenset, set, tuple, list)):
        return _listed(value)
    return "none" if value is None else str(value)


def sentence(breach: Breach) -> str:
    """One sentence for a breach."""
    template = SENTENCES[breach.reason]
    detail = breach.detail if "({detail})" in template else f" ({breach.detail})" * bool(breach.detail)
    return harmless(
        template.format(observed=described(breach.observed), limit=described(breach.limit), detail=detail)
    )


def harmless(text: str) -> str:
    """The text without the phrases that clients map: names of strategies and symbols are other people's words."""
    for phrase in MAPPED_BY_CLIENTS:
        if phrase in text:
            text = text.replace(phrase, phrase.replace("_", " ").replace(" ", "-").lower())
    return text


def _number(value: Decimal) -> str:
    text = format(value, "f")
    if len(text) > SHOWN_DIGITS and value.is_finite():
        text = format(_SHORT.plus(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _listed(values: Iterable[object]) -> str:
    """The values in a fixed order, so that the same decision reads the same."""
    names = sorted(described(value) for value in values)
    if not names:
        return "none"
    more = len(names) - LISTED_MAX
    return ", ".join(names[:LISTED_MAX]) + (f" and {more} more" if more > 0 else "")

"""T8: prices that are absent, picked by the venue, or in conflict with the order's type.

What a readable price is worth is the rulebook's matter; here an order must come to it with every
price it has, and one that says two things must not come to it at all.
"""

from tests.threats.corpus import FUTURES_ORDER, JUDGED_BY_GATE, REFUSED, Case, form, http

_NO_PRICE = ("price", "timeInForce")


def _spot(name: str, body: bytes, expect: str, why: str) -> Case:
    return Case(f"spot: {name}", http("POST", body=body), expect, why)


def _linear(name: str, body: bytes, expect: str, why: str) -> Case:
    return Case(f"futures: {name}", http("POST", FUTURES_ORDER, body), expect, why)


CASES = (
    _spot("limit without price", form(drop=("price",)), REFUSED, "nothing to judge by"),
    _spot("market with price", form(type="MARKET"), REFUSED, "the venue ignores or refuses one of them"),
    _spot("market", form(drop=_NO_PRICE, type="MARKET"), JUDGED_BY_GATE, "priced from the book"),
    _spot("market for a quote amount", form(drop=(*_NO_PRICE, "quantity"), type="MARKET", quoteOrderQty="100"),
          JUDGED_BY_GATE, "the size is in quote currency"),
    _spot("limit for a quote amount", form(drop=("quantity",), quoteOrderQty="100"), REFUSED, "market orders only"),
    _spot("price 0", form(price="0"), REFUSED, "no price"),
    _spot("price 0.00", form(price="0.00"), REFUSED, "no price"),
    _spot("stop without stop price", form(drop=_NO_PRICE, type="STOP_LOSS"), REFUSED, "no trigger"),
    _spot("stop limit without price", form(drop=("price",), type="STOP_LOSS_LIMIT", stopPrice="1"), REFUSED,
          "no price"),
    _spot("stop with price", form(type="STOP_LOSS", stopPrice="50000"), REFUSED, "a market stop takes no price"),
    _spot("limit with stop price", form(stopPrice="50000"), REFUSED, "a limit order has no trigger"),
    _spot("trailing", form(drop=_NO_PRICE, type="STOP_LOSS", trailingDelta="100"), JUDGED_BY_GATE, "one percent"),
    _spot("trailing 0", form(drop=_NO_PRICE, type="STOP_LOSS", trailingDelta="0"), REFUSED, "does not trail"),
    _spot("trailing by a part of a basis point", form(drop=_NO_PRICE, type="STOP_LOSS", trailingDelta="0.5"), REFUSED,
          "whole basis points"),
    _spot("pegged without price", form(drop=("price",), pegPriceType="PRIMARY_PEG"), JUDGED_BY_GATE,
          "the venue picks the price"),
    _spot("pegged market", form(drop=_NO_PRICE, type="MARKET", pegPriceType="PRIMARY_PEG"), REFUSED, "no price"),
    _spot("sell limit at 0.01", form(side="SELL", price="0.01"), JUDGED_BY_GATE, "priced at the market"),
    _linear("limit without price", form(drop=("price",)), REFUSED, "nothing to judge by"),
    _linear("price match", form(drop=("price",), priceMatch="OPPONENT_20"), JUDGED_BY_GATE, "the venue picks"),
    _linear("price match and price", form(priceMatch="OPPONENT"), REFUSED, "two prices"),
    _linear("price match NONE and price", form(priceMatch="NONE"), JUDGED_BY_GATE, "no match asked for"),
    _linear("price match unknown", form(drop=("price",), priceMatch="BEST"), REFUSED, "not documented"),
    _linear("price match lower case", form(drop=("price",), priceMatch="opponent"), REFUSED, "not exact"),
    _linear("market with price", form(type="MARKET"), REFUSED, "the venue ignores or refuses one of them"),
    _linear("market with price match", form(drop=_NO_PRICE, type="MARKET", priceMatch="QUEUE"), REFUSED, "no price"),
    _linear("stop without trigger", form(type="STOP"), REFUSED, "no trigger"),
    _linear("stop market with price", form(type="STOP_MARKET", stopPrice="5"), REFUSED, "takes no price"),
    _linear("trailing without rate", form(drop=_NO_PRICE, type="TRAILING_STOP_MARKET"), REFUSED, "no rate"),
    _linear("trailing at 11 percent", form(drop=_NO_PRICE, type="TRAILING_STOP_MARKET", callbackRate="11"), REFUSED,
            "beyond the venue's range"),
    _linear("trailing at 1 percent", form(drop=_NO_PRICE, type="TRAILING_STOP_MARKET", callbackRate="1"),
            JUDGED_BY_GATE, "one percent"),
    _linear("limit that trails", form(callbackRate="1"), REFUSED, "contradiction"),
    _linear("modification without price", form(drop=_NO_PRICE, orderId="1"), REFUSED, "no type"),
)

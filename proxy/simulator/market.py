"""What is listed, its filters, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

ZERO = Decimal(0)
ONE = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Symbol:
    """A listed symbol and its filters, as exchangeInfo tells them. Each exists once and is its own key."""

    name: str
    base: str
    quote: str
    market: str  # "spot" or "futures"
    tick: Decimal
    price_min: Decimal
    price_max: Decimal
    step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    market_quantity_max: Decimal
    notional_min: Decimal
    notional_max: Decimal = Decimal(9000000)
    multiplier_up: Decimal = Decimal(5)
    multiplier_down: Decimal = Decimal("0.2")
    price_precision: int = 8
    quantity_precision: int = 8
    leverage_max: int = 1


def _spot(
    base: str, quote: str, tick: str, step: str, market_quantity_max: str, *, notional: str, price_max: str,
    quantity_max: str = "9000",
) -> Symbol:
    return Symbol(
        name=base + quote, base=base, quote=quote, market="spot", tick=Decimal(tick), price_min=Decimal(tick),
        price_max=Decimal(price_max), step=Decimal(step), quantity_min=Decimal(step),
        quantity_max=Decimal(quantity_max), market_quantity_max=Decimal(market_quantity_max),
        notional_min=Decimal(notional),
    )


def _futures(
    base: str, tick: str, step: str, *, price_min: str, price_max: str, quantity_max: str, market_quantity_max: str,
    notional: str, precisions: tuple[int, int], leverage_max: int, band: str = "0.05",
) -> Symbol:
    return Symbol(
        name=base + "USDT", base=base, quote="USDT", market="futures", tick=Decimal(tick),
        price_min=Decimal(price_min), price_max=Decimal(price_max), step=Decimal(step), quantity_min=Decimal(step),
        quantity_max=Decimal(quantity_max), market_quantity_max=Decimal(market_quantity_max),
        notional_min=Decimal(notional), multiplier_up=ONE + Decimal(band), multiplier_down=ONE - Decimal(band),
        price_precision=precisions[0], quantity_precision=precisions[1], leverage_max=leverage_max,
    )


SPOT = {
    symbol.name: symbol
    for symbol in (
        _spot("BTC", "USDT", "0.01", "0.00001", "115", notional="5", price_max="1000000"),
        _spot("ETH", "USDT", "0.01", "0.0001", "2400", notional="5", price_max="1000000"),
        _spot("ETH", "BTC", "0.00001", "0.0001", "2300", notional="0.0001", price_max="922327",
              quantity_max="100000"),
        _spot("SOL", "USDT", "0.01", "0.001", "19000", notional="5", price_max="10000", quantity_max="90000"),
        _spot("BNB", "USDT", "0.01", "0.001", "1800", notional="5", price_max="100000", quantity_max="900000"),
        _spot("DOGE", "USDT", "0.00001", "1", "3800000", notional="1", price_max="1000", quantity_max="9000000"),
    )
}
FUTURES = {
    symbol.name: symbol
    for symbol in (
        _futures("BTC", "0.10", "0.001", price_min="261.10", price_max="809484", quantity_max="1000",
                 market_quantity_max="120", notional="100", precisions=(2, 3), leverage_max=125),
        _futures("ETH", "0.01", "0.001", price_min="39.86", price_max="306177", quantity_max="10000",
                 market_quantity_max="2000", notional="20", precisions=(2, 3), leverage_max=100),
        _futures("SOL", "0.0100", "0.01", price_min="0.4200", price_max="6857", quantity_max="1000000",
                 market_quantity_max="8000", notional="5", precisions=(4, 2), leverage_max=100),
        _futures("BNB", "0.010", "0.01", price_min="6.600", price_max="100000", quantity_max="100000",
                 market_quantity_max="2000", notional="5", precisions=(3, 2), leverage_max=75),
        _futures("DOGE", "0.000010", "1", price_min="0.002440", price_max="30", quantity_max="50000000",
                 market_quantity_max="30000000", notional="5", precisions=(6, 0), leverage_max=75, band="0.1"),
    )
}
MARKS = {
    "BTCUSDT": Decimal(60000),
    "ETHUSDT": Decimal(3000),
    "ETHBTC": Decimal("0.05"),
    "SOLUSDT": Decimal(150),
    "DOGEUSDT": Decimal("0.15"),
    "BNBUSDT": Decimal(600),
}


@dataclass(frozen=True, slots=True)
class Quote:
    """The best prices of one symbol, on its tick."""

    mark: Decimal
    bid: Decimal
    ask: Decimal


class Prices:
    """The mark price of every symbol and the book derived from it: bid and ask half a spread away."""

    def __init__(self, spread: Decimal) -> None:
        self._spread = spread
        self._marks = dict(MARKS)
        self._quotes: dict[Symbol, Quote] = {}

    def set(self, name: str, price: Decimal) -> None:
        """Move a symbol on both markets."""
        if name not in self._marks or not price > 0:
            raise ValueError(f"a mark needs a listed symbol and a positive price, found {name} {price}")
        self._marks[name] = price
        for symbol in [symbol for symbol in self._quotes if symbol.name == name]:
            del self._quotes[symbol]

    def mark(self, name: str) -> Decimal:
        """The mark price."""
        return self._marks[name]

    def quote(self, symbol: Symbol) -> Quote:
        """Best bid and ask. They never meet, however small the spread."""
        found = self._quotes.get(symbol)
        if found is None:
            mark = self._marks[symbol.name]
            half = mark * self._spread / 2
            bid = on_step(mark - half, symbol.tick)
            ask = on_step(mark + half, symbol.tick, up=True)
            found = self._quotes[symbol] = Quote(mark, bid, ask if ask > bid else bid + symbol.tick)
        return found


def on_step(value: Decimal, step: Decimal, *, up: bool = False) -> Decimal:
    """The value rounded to a multiple of the step."""
    parts = (value / step).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR)
    return parts * step

"""Candles of both markets: days follow a fixed walk that ends at the present mark, shorter ones stand still.

The walk depends on symbol and day only, so two runs see the same history; `returns` writes another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal

from proxy.simulator import parameters as read
from proxy.simulator.call import Call, Endpoint, Handler
from proxy.simulator.futures_shapes import plain
from proxy.simulator.market import FUTURES, SPOT, Prices, Symbol
from proxy.simulator.rejection import Rejection
from proxy.simulator.spot_shapes import money

DAY_MS = 86_400_000
INTERVALS_MS = {
    "1s": 1_000, "1m": 60_000, "3m": 180_000, "5m": 300_000, "15m": 900_000, "30m": 1_800_000, "1h": 3_600_000,
    "2h": 7_200_000, "4h": 14_400_000, "6h": 21_600_000, "8h": 28_800_000, "12h": 43_200_000, "1d": DAY_MS,
    "3d": 259_200_000, "1w": 604_800_000, "1M": 2_592_000_000,
}
ROWS_MAX = {"spot": 1000, "futures": 1500}
ONE = Decimal(1)
STEP = Decimal("0.00001")  # of a return
VOLATILITY = Decimal("0.03")  # of a day, about


class Candles:
    """What a symbol cost, interval by interval."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._returns: dict[str, list[Decimal]] = {}
        self._listed_ms: dict[str, int] = {}

    def returns(self, symbol: str, newest_last: Sequence[Decimal]) -> None:
        """Write the daily returns of a symbol up to yesterday; before these it stood still. Both markets share them."""
        self._returns[symbol] = list(newest_last)

    def list_since(self, symbol: str, days: int) -> None:
        """Let a symbol have been listed so many days ago: older candles do not exist."""
        self._listed_ms[symbol] = days * DAY_MS

    def endpoints(self) -> list[Endpoint]:
        """What it answers."""
        return [
            Endpoint("GET", "/api/v3/klines", self._of(SPOT), security="none", weight=2),
            Endpoint("GET", "/fapi/v1/klines", self._of(FUTURES), security="none", weight=2),
            Endpoint("GET", "/fapi/v1/markPriceKlines", self._of(FUTURES, is_mark=True), security="none", weight=2),
        ]

    def _of(self, symbols: dict[str, Symbol], *, is_mark: bool = False) -> Handler:
        def answer(call: Call) -> object:
            symbol = symbols.get(read.text(call.values, "symbol"))
            if symbol is None:
                raise Rejection(-1121, "Invalid symbol.")
            every = INTERVALS_MS.get(read.text(call.values, "interval"))
            if every is None:
                raise Rejection(-1120, "Invalid interval.")
            opens = self._opens(symbol, call, every)
            closes = self._closes(symbol.name, opens, call.now_ms, every)
            return [
                _row(symbol, at, every, before, close, is_mark=is_mark)
                for at, before, close in zip(opens, [closes[0], *closes] if closes else [], closes, strict=False)
            ]

        return answer

    def _opens(self, symbol: Symbol, call: Call, every: int) -> list[int]:
        count = min(read.optional_integer(call.values, "limit") or 500, ROWS_MAX[symbol.market])
        last = call.now_ms - call.now_ms % every
        since, until = (read.optional_integer(call.values, name) for name in ("startTime", "endTime"))
        if until is not None:
            last = min(last, until - until % every)
        first = last - (count - 1) * every if since is None else since + -since % every
        listed = self._listed_ms.get(symbol.name)
        oldest = 0 if listed is None else call.now_ms - listed
        return [at for n in range(count) if oldest <= (at := first + n * every) <= last]

    def _closes(self, name: str, opens: Sequence[int], now_ms: int, every: int) -> list[Decimal]:
        """Backwards from the mark, which is where the day that is not over stands."""
        price = self._prices.mark(name)
        if every != DAY_MS:
            return [price] * len(opens)
        closes: dict[int, Decimal] = {}
        today = now_ms // DAY_MS
        for day in range(today, opens[0] // DAY_MS - 1 if opens else today, -1):
            closes[day] = price
            if day < today:  # today has not moved since yesterday's close
                price = price / (ONE + self._return(name, today - 1 - day, day))
        return [closes[at // DAY_MS] for at in opens]

    def _return(self, name: str, back: int, day: int) -> Decimal:
        written = self._returns.get(name)
        if written is not None:
            return written[-1 - back] if back < len(written) else Decimal(0)
        # Everything moves with the market in part, and on its own in part; four dice are near enough to normal.
        return ((_dice("market", day) + _dice(name, day)) * VOLATILITY / 2).quantize(STEP)


def _dice(name: str, day: int) -> Decimal:
    drawn = hashlib.sha256(f"{name} {day}".encode()).digest()[:4]
    return Decimal(sum(drawn) - 510) / Decimal(148)


def _row(symbol: Symbol, at: int, every: int, before: Decimal, close: Decimal, *, is_mark: bool) -> list[object]:
    def write(price: Decimal) -> str:
        return f"{price:.8f}" if is_mark else money(price) if symbol.market == "spot" else _precise(symbol, price)

    high, low = max(before, close), min(before, close)
    head = [at, write(before), write(high), write(low), write(close)]
    if is_mark:  # nobody trades at the mark
        return [*head, "0", at + every - 1, "0", 60, "0", "0", "0"]
    return [*head, "10.00", at + every - 1, plain(close * 10), 2, "5.00", plain(close * 5), "0"]


def _precise(symbol: Symbol, price: Decimal) -> str:
    return f"{price:.{symbol.price_precision}f}"

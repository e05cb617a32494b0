"""The venues. Adding one is a file and a line in `EXCHANGES`."""

from proxy.exchanges.base import Exchange
from proxy.exchanges.binance import Binance

EXCHANGES: tuple[Exchange, ...] = (Binance(),)


def family_of(path: bytes) -> str | None:
    """The family (`/api`, `/fapi`, ...) that a raw path belongs to, or None."""
    for exchange in EXCHANGES:
        family = exchange.family_of(path)
        if family is not None:
            return family
    return None


__all__ = ["EXCHANGES", "family_of"]

"""Names of the orders that this process let through: what works at the venue under another name, it never sent.

A client id is the bot's own choice and may be used again, so each time one is sent it stands for
one order of the venue's, and not for a second that somebody places elsewhere under the same name.
"""

from __future__ import annotations

from collections import OrderedDict

from rules import Market

NAMES_MAX = 200_000

Name = tuple[str, Market, str, str]  # account, market, symbol, id


class Sent:
    """What was sent lately, by the bot's names and by the venue's."""

    def __init__(self, *, names_max: int = NAMES_MAX) -> None:
        self._names_max = names_max
        self._ids: OrderedDict[Name, None] = OrderedDict()
        self._expected: OrderedDict[Name, int] = OrderedDict()  # sent and not yet known by the venue's id

    def expect(self, account: str, market: Market, symbol: str, client_order_id: str) -> None:
        """An order of this name is on its way."""
        name = (account, market, symbol, client_order_id)
        self._expected[name] = self._expected.get(name, 0) + 1
        self._expected.move_to_end(name)
        if len(self._expected) > self._names_max:
            self._expected.popitem(last=False)

    def accepted(
        self, account: str, market: Market, symbol: str, order_id: str, client_order_id: str | None
    ) -> None:
        """The venue took an order and gave it an id."""
        name = (account, market, symbol, order_id)
        if name in self._ids:
            return
        self._ids[name] = None
        if len(self._ids) > self._names_max:
            self._ids.popitem(last=False)
        if client_order_id is not None:
            self.refused(account, market, symbol, client_order_id)

    def refused(self, account: str, market: Market, symbol: str, client_order_id: str) -> None:
        """One order of this name is not on its way any more."""
        name = (account, market, symbol, client_order_id)
        left = self._expected.get(name, 0) - 1
        if left > 0:
            self._expected[name] = left
        else:
            self._expected.pop(name, None)

    def knows(
        self, account: str, market: Market, symbol: str, order_id: str, client_order_id: str | None
    ) -> bool:
        """Whether the venue's order is one of ours; found by its client id it is known by its own id from then on."""
        if (account, market, symbol, order_id) in self._ids:
            return True
        if client_order_id is None or (account, market, symbol, client_order_id) not in self._expected:
            return False
        self.accepted(account, market, symbol, order_id, client_order_id)
        return True

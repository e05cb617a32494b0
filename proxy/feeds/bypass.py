"""Orders that somebody placed past the proxy: found at the venue, never sent from here.

An order is told of before its answer has come, so a stranger is given a moment. What the venue
does by itself (liquidation, deleveraging, settlement) is told apart and told as what it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from proxy.book import Working
from proxy.clock import Clock
from proxy.feeds.stream_picture import OrderKey
from proxy.reservations import ALGO, Reservations
from rules import Market

log = structlog.get_logger("riskgate.bypass")

GRACE_S = 2.0
GRACE_MAX_S = 15.0  # longer than any order waits for its answer
MET_MAX = 50_000
# Client ids that only the venue gives: https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams/Event-Order-Update
VENUES_OWN = ("autoclose-", "adl_autoclose", "settlement_autoclose-", "delivery_autoclose-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bypass:
    """An order at the venue that did not come through the proxy."""

    account: str
    market: Market
    symbol: str
    order_id: str
    client_order_id: str | None
    side: str
    quantity: Decimal
    created_ms: int


Recorded = Callable[[Sequence[Bypass]], Awaitable[frozenset[tuple[str, str]]]]
OnBypass = Callable[[str, Bypass], None]


class BypassWatch:
    """Meets every order once. `recorded` answers which of some orders the record of decisions knows.

    `since_ms` is when this process began: what is older may have been sent by an earlier one.
    """

    def __init__(
        self,
        reservations: Reservations,
        clock: Clock,
        *,
        on_bypass: OnBypass | None = None,
        recorded: Recorded | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._reservations = reservations
        self._clock = clock
        self._recorded = recorded
        self._grace_s = grace_s
        self._since_ms = int(clock.now().timestamp() * 1000)
        self._met: OrderedDict[tuple[str, Market, OrderKey], None] = OrderedDict()
        # Conditional orders of ours, by the client id that what they become will carry.
        self._conditional: OrderedDict[tuple[str, Market, OrderKey], str] = OrderedDict()
        self._strangers: dict[tuple[str, Market, OrderKey], tuple[Bypass, float]] = {}
        self.on_bypass = on_bypass
        self.counts: dict[str, int] = {}  # by account
        self.venues_own = 0

    def meet(
        self, account: str, market: Market, working: Working, created_ms: int, *, quantity: Decimal | None = None
    ) -> None:
        """An order was seen at the venue."""
        order = working.order
        key = (account, market, (working.symbol, order.order_id))
        if key in self._met:
            return
        self._met[key] = None
        if len(self._met) > MET_MAX:
            self._met.popitem(last=False)
        sent = self._reservations.sent
        if sent.knows(account, market, working.symbol, order.order_id, order.client_order_id):
            if order.order_id.startswith(ALGO) and order.client_order_id is not None:
                # What it becomes when it triggers carries its name and an id of its own.
                sent.expect(account, market, working.symbol, order.client_order_id)
                self._conditional[key] = order.client_order_id
                if len(self._conditional) > MET_MAX:
                    self._conditional.popitem(last=False)
            return
        bypass = Bypass(
            account=account,
            market=market,
            symbol=working.symbol,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            side=order.side.value,
            quantity=order.remaining if quantity is None else quantity,
            created_ms=created_ms,
        )
        if market is Market.LINEAR and (order.client_order_id or "").startswith(VENUES_OWN):
            self.venues_own += 1
            log.warning("account.venue_order", **_shown(bypass))
            return
        self._strangers[key] = (bypass, self._clock.monotonic())

    def child(self, account: str, market: Market, parent: OrderKey, key: OrderKey) -> None:
        """An order that a conditional one became: whoever sent that one, it is not met a second time."""
        self._met[account, market, key] = None
        self._strangers.pop((account, market, key), None)
        name = self._conditional.pop((account, market, parent), None)
        if name is not None:  # it is the one that the name stood for, and no other
            self._reservations.sent.accepted(account, market, *key, name)

    def ended(self, account: str, market: Market, key: OrderKey) -> None:
        """An order ended; a conditional one becomes no other any more, so nothing is expected under its name."""
        name = self._conditional.pop((account, market, key), None)
        if name is not None:
            self._reservations.sent.refused(account, market, key[0], name)

    async def tick(self, account: str, market: Market) -> None:
        """Raise those of an account that nobody here has sent."""
        now_s = self._clock.monotonic()
        due: list[Bypass] = []
        for key, (bypass, met_s) in list(self._strangers.items()):
            if key[0] != account or key[1] is not market:
                continue
            if self._reservations.sent.knows(
                account, market, bypass.symbol, bypass.order_id, bypass.client_order_id
            ):
                del self._strangers[key]
                continue
            age_s = now_s - met_s
            waits = self._reservations.may_be_ours(
                account, market, bypass.symbol, met_s=met_s, side=bypass.side, quantity=bypass.quantity,
                order_id=bypass.order_id if age_s >= GRACE_MAX_S else None,
            )
            if age_s >= (GRACE_MAX_S if waits else self._grace_s):
                del self._strangers[key]
                if not waits:  # one of ours is of unknown fate and has no name: this may be it
                    due.append(bypass)
        known = await self._known(due)
        for bypass in due:
            if (bypass.symbol, bypass.order_id) not in known:
                self._raise(bypass)

    async def _known(self, due: Sequence[Bypass]) -> frozenset[tuple[str, str]]:
        older = [bypass for bypass in due if bypass.created_ms < self._since_ms]
        if not older or self._recorded is None:
            return frozenset()
        try:
            return await self._recorded(older)
        except Exception as error:  # noqa: BLE001 - a record that cannot be read excuses nobody: they are all raised
            log.error("bypass.record_unreadable", error=repr(error))
            return frozenset()

    def _raise(self, bypass: Bypass) -> None:
        self.counts[bypass.account] = self.counts.get(bypass.account, 0) + 1
        log.error("bypass_detected", **_shown(bypass))
        if self.on_bypass is not None:
            self.on_bypass(bypass.account, bypass)


def _shown(bypass: Bypass) -> dict[str, object]:
    return {
        "account": bypass.account,
        "market": bypass.market.value,
        "symbol": bypass.symbol,
        "order_id": bypass.order_id,
        "client_order_id": bypass.client_order_id,
        "side": bypass.side,
        "quantity": format(bypass.quantity, "f"),
    }

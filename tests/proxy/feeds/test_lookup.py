"""Orders of unknown fate: asked for on a schedule, never sent again, released by certainty only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.book import AccountPlace, Book
from proxy.clock import ManualClock
from proxy.exchanges.base import Answer, AnswerKind, Credentials
from proxy.feeds.lookup import SCHEDULE_S, UnknownLookup, due_s
from proxy.feeds.venue import Venue
from proxy.reservations import Fate, Reservations
from rules import CLEAR, Caller, Facts, Market, Order, OrderType, Replaced, ReplaceMode, Side
from tests.canary import KEY, SECRET
from tests.proxy.feeds.conftest import failing

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
D = Decimal
CALLER = Caller(account="main", exchange="binance", strategy="s", bot="b")
NOW_MS = int(NOW.timestamp() * 1000)
NOT_FOUND = failing(400, text='{"code":-2013,"msg":"Order does not exist."}')


class Lost:
    """Reservations with one order whose answer was lost, and the look-up."""

    def __init__(self, venue_server: Any, session: Any) -> None:
        self.clock = ManualClock(NOW)
        self.server = venue_server
        markets = frozenset(Market)
        book = Book([AccountPlace(name="main", exchange="binance", markets=markets)])
        self.reservations = Reservations(book, self.clock)
        venue = Venue(
            session, venue_server.origin, self.clock, credentials=Credentials(api_key=KEY, secret=SECRET)
        )
        self.lookup = UnknownLookup(
            self.reservations, {("main", market): venue for market in Market}, self.clock
        )

    def lose(self, **more: Any) -> None:
        """Let an order through and hear nothing of it."""
        values: dict[str, Any] = {
            "symbol": "BTCUSDT", "side": Side.BUY, "type": OrderType.LIMIT, "market": Market.LINEAR,
            "quantity": D(1), "price": D(1), "client_order_id": "mine", **more,
        }  # fmt: skip
        order = Order(**values)
        facts = Facts(now=NOW, caller=CALLER, stop=CLEAR, symbols={})
        self.reservations.reserve("d", CALLER, "k", [order], [order.quantity], facts)
        self.reservations.settle("d", Answer(kind=AnswerKind.UNKNOWN), NOW)

    async def after(self, seconds: float) -> Fate | None:
        """Look at that many seconds after the loss; the fate then, None when gone."""
        self.clock.advance(to=NOW + timedelta(seconds=seconds))
        await self.lookup.read_once()
        reservation = self.reservations.get("d")
        return None if reservation is None else reservation.fate


@pytest.fixture
def lost(venue_server, session):
    """Nothing lost yet."""
    return Lost(venue_server, session)


async def test_asks_on_the_schedule_and_only_asks(lost):
    """At 0.5, 1, 2, 5, 10 and 30 s and then every 30 s; every request is a GET."""
    lost.server.answers["/fapi/v1/order"] = failing(500)
    lost.lose()
    for tick in range(4 * 125):
        await lost.after(tick / 4)
    assert len(lost.server.asked) == len(SCHEDULE_S) + 3
    assert {request.method for request in lost.server.asked} == {"GET"}
    assert [due_s(tries) for tries in range(8)] == [0.5, 1, 2, 5, 10, 30, 60, 90]


async def test_a_found_order_is_accepted_and_stays_reserved(lost):
    """Found working: from then on the account's readings decide."""
    lost.server.answers["/fapi/v1/order"] = {"orderId": 1, "status": "NEW", "executedQty": "0", "time": NOW_MS}
    lost.lose()
    assert await lost.after(0.4) is Fate.UNKNOWN
    assert await lost.after(0.5) is Fate.ACCEPTED
    assert lost.server.asked[0].query["origClientOrderId"] == "mine"
    assert lost.server.asked[0].query["symbol"] == "BTCUSDT"


@pytest.mark.parametrize(
    ("found", "fate"),
    [
        ({"status": "EXPIRED", "executedQty": "0"}, None),
        ({"status": "CANCELED", "executedQty": "0.000"}, None),
        ({"status": "REJECTED", "executedQty": "0"}, None),
        ({"status": "CANCELED", "executedQty": "0.1"}, Fate.ACCEPTED),
        ({"status": "FILLED", "executedQty": "1"}, Fate.ACCEPTED),
        ({"status": "SOMETHING_NEW", "executedQty": "0"}, Fate.ACCEPTED),
        ({"executedQty": "0"}, Fate.UNKNOWN),
        ({"status": "CANCELED", "executedQty": "?"}, Fate.UNKNOWN),
        ([], Fate.UNKNOWN),
    ],
)
async def test_only_an_ended_order_without_a_trade_is_released(lost, found, fate):
    """What traded, what is not known and what cannot be read stays reserved."""
    lost.server.answers["/fapi/v1/order"] = {"time": NOW_MS + 1, **found} if isinstance(found, dict) else found
    lost.lose()
    assert await lost.after(1) is fate


@pytest.mark.parametrize("stamp", [{"time": NOW_MS - 1}, {}, {"time": str(NOW_MS)}, {"time": True}])
@pytest.mark.parametrize(
    ("found", "settled"),
    [
        ({"status": "CANCELED", "executedQty": "0"}, None),
        ({"status": "FILLED", "executedQty": "1"}, Fate.ACCEPTED),
        ({"status": "NEW", "executedQty": "0"}, Fate.ACCEPTED),
    ],
)
async def test_an_earlier_order_of_the_same_name_proves_nothing_yet(lost, stamp, found, settled):
    """A used name finds the order before; this one may still be on its way until enough time has passed."""
    lost.server.answers["/fapi/v1/order"] = {**found, **stamp}
    lost.lose()
    for seconds in (0.5, 1, 2, 5, 10, 30, 60):
        assert await lost.after(seconds) is Fate.UNKNOWN
    assert await lost.after(90) is settled


async def test_an_earlier_conditional_order_of_the_same_name_proves_nothing_yet(lost):
    """They state their beginning under another name."""
    row = {"algoStatus": "CANCELED", "actualOrderId": ""}
    lost.server.answers["/fapi/v1/algoOrder"] = {**row, "createTime": NOW_MS - 1}
    lost.lose(type=OrderType.STOP_MARKET, price=None, trigger_price=D(1))
    assert await lost.after(1) is Fate.UNKNOWN
    lost.server.answers["/fapi/v1/algoOrder"] = {**row, "createTime": NOW_MS}
    assert await lost.after(2) is None


async def test_not_found_counts_only_when_nothing_can_be_on_its_way(lost):
    """Not found after 60 s may still arrive; after 75 s it is certain."""
    lost.server.answers["/fapi/v1/order"] = NOT_FOUND
    lost.lose()
    for seconds in (0.5, 1, 2, 5, 10, 30, 60):
        assert await lost.after(seconds) is Fate.UNKNOWN
    assert await lost.after(90) is None
    assert lost.reservations.counts()[Fate.UNKNOWN] == 0


@pytest.mark.parametrize(
    "answer", [failing(400, text='{"code":-1121}'), failing(404), failing(429), failing(200, text="?")]
)
async def test_any_other_error_never_releases(lost, answer):
    """However late, only 'order does not exist' proves anything."""
    lost.server.answers["/fapi/v1/order"] = answer
    lost.lose()
    for seconds in (1, 100, 200, 1000):
        assert await lost.after(seconds) is Fate.UNKNOWN


async def test_an_order_without_a_client_id_is_not_guessed(lost):
    """It cannot be asked for, stays reserved, and is told after a minute, once."""
    lost.lose(client_order_id=None)
    with capture_logs() as lines:
        for seconds in (59, 60, 100, 1000):
            assert await lost.after(seconds) is Fate.UNKNOWN
    assert lost.server.asked == []
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["reservation.unresolved"]


async def test_conditional_orders_are_asked_for_where_they_are(lost):
    """On contracts they have an endpoint and an id of their own."""
    lost.server.answers["/fapi/v1/algoOrder"] = {"algoStatus": "CANCELED", "actualOrderId": "", "createTime": NOW_MS}
    lost.lose(type=OrderType.STOP_MARKET, price=None, trigger_price=D(1))
    assert await lost.after(1) is None
    assert lost.server.asked[0].query["clientAlgoId"] == "mine"


async def test_a_triggered_conditional_order_stays_reserved(lost):
    """It lives on as a plain order."""
    lost.server.answers["/fapi/v1/algoOrder"] = {"algoStatus": "CANCELED", "actualOrderId": "77", "createTime": NOW_MS}
    lost.lose(type=OrderType.STOP_MARKET, price=None, trigger_price=D(1))
    assert await lost.after(1) is Fate.ACCEPTED


async def test_spot_orders_are_asked_for_at_spot(lost):
    """By symbol and original client order id, also those with a trigger."""
    lost.server.answers["/api/v3/order"] = {"status": "CANCELED", "executedQty": "0", "time": NOW_MS}
    lost.lose(market=Market.SPOT, type=OrderType.STOP_LIMIT, trigger_price=D(1))
    assert await lost.after(1) is None


async def test_an_amended_order_that_is_found_unchanged_is_waited_for(lost):
    """The old quantity says nothing yet; the new one, or enough time, does."""
    lost.server.answers["/fapi/v1/order"] = {"status": "NEW", "origQty": "0.5", "executedQty": "0"}
    lost.lose(replaces=Replaced(mode=ReplaceMode.AMEND, client_order_id="mine"))
    assert await lost.after(1) is Fate.UNKNOWN
    same = {"status": "NEW", "origQty": "1.0", "executedQty": "0", "time": NOW_MS - 9000}
    lost.server.answers["/fapi/v1/order"] = {**same, "updateTime": NOW_MS - 1}
    assert await lost.after(2) is Fate.UNKNOWN, "it had this quantity before"
    lost.server.answers["/fapi/v1/order"] = {**same, "updateTime": NOW_MS}
    assert await lost.after(5) is Fate.ACCEPTED


async def test_an_amendment_whose_order_is_not_found_stays(lost):
    """The order existed: that it is not found proves nothing of the change."""
    lost.server.answers["/fapi/v1/order"] = NOT_FOUND
    lost.lose(replaces=Replaced(mode=ReplaceMode.AMEND, client_order_id="mine"))
    assert await lost.after(100) is Fate.UNKNOWN


async def test_real_drops_at_the_exchange_are_resolved(world):
    """An order that was accepted while its answer was dropped is found, read, and counted once."""
    from proxy.simulator import Fault

    await world.read()
    order = Order(
        symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=D("0.02"),
        price=D(30000), client_order_id="mine",
    )  # fmt: skip
    facts = Facts(
        now=world.clock.now(), caller=CALLER, stop=CLEAR, symbols={"BTCUSDT": world.symbol(Market.LINEAR)}
    )
    world.reservations.reserve("d", CALLER, "k", [order], [order.quantity], facts)
    world.exchange.inject(Fault("drop_after_accept", match="POST /fapi/v1/order"))
    import aiohttp

    with pytest.raises(aiohttp.ClientError):
        await world.send(
            "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.020", price="30000",
            timeInForce="GTC", newClientOrderId="mine",
        )  # fmt: skip
    world.reservations.lost("d")
    assert world.reservations.counts()[Fate.UNKNOWN] == 1
    lookup = UnknownLookup(
        world.reservations, {("main", Market.LINEAR): world.venue()}, world.clock, not_found_counts_after_s=0.0
    )
    reservation = world.reservations.get("d")
    reservation.reserved_s -= 1  # as if it had been a second ago
    reservation.legs[0].unknown_since_s -= 1
    await lookup.read_once()
    assert world.reservations.counts()[Fate.ACCEPTED] == 1
    await world.read()
    assert world.reservations.counts()[Fate.ACCEPTED] == 0
    assert len(world.exchange.orders_received) == 1, "asked for, never sent again"

"""Reservations: made with the decision, ended by certainty only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from proxy.book import AccountPlace, Book, Quote, Working
from proxy.clock import ManualClock
from proxy.exchanges.base import Answer, AnswerKind, OrderState
from proxy.reservations import Fate, NameKind, Outcome, Reservations, names_of
from rules import (
    CLEAR,
    Bucket,
    Caller,
    FactMissing,
    Facts,
    Filters,
    Market,
    Order,
    OrderType,
    Position,
    Replaced,
    ReplaceMode,
    Side,
    Sides,
    WorkingOrder,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
D = Decimal
CALLER = Caller(account="main", exchange="binance", strategy="grid", bot="bot-1")
ACCEPTED = Answer(kind=AnswerKind.ACCEPTED)
REJECTED = Answer(kind=AnswerKind.REJECTED)
LOST = Answer(kind=AnswerKind.UNKNOWN)


def accepted_as(order_id: str) -> Answer:
    """One order taken, under the id that the venue gave it."""
    return Answer(kind=AnswerKind.ACCEPTED, orders=(OrderState(kind=AnswerKind.ACCEPTED, order_id=order_id),))


class World:
    """A book, reservations and a clock that moves when told to."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        markets = frozenset({Market.LINEAR, Market.SPOT})
        self.book = Book([AccountPlace(name="main", exchange="binance", markets=markets)])
        found = Filters(base_asset="BTC", quote_asset="USDT", quantity_step=D("0.001"), quantity_min=D("0.001"))
        for market in Market:
            self.book.apply_filters("binance", market, {"BTCUSDT": found}, as_of=NOW)
            quote = {"BTCUSDT": Quote(D(50000), D(49000), D(51000))}
            self.book.apply_prices("binance", market, quote, as_of=NOW, complete=True)
            self.book.apply_snapshot("main", market, as_of=NOW, positions={}, orders=[])
        self.reservations = Reservations(self.book, self.clock)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))

    def facts(self, market: Market = Market.LINEAR) -> Facts:
        """What is known of BTCUSDT."""
        now = self.clock.now()
        symbols = {"BTCUSDT": self.book.symbol("main", market, "BTCUSDT", now)}
        return Facts(now=now, caller=CALLER, stop=CLEAR, symbols=symbols)

    def reserve(self, *orders: Order, decision_id: str = "d1", quantities: Any = None, **more: Any) -> Any:
        """Reserve for orders at the quantities they ask for."""
        asked = quantities or [order.quantity or order.quote_quantity for order in orders]
        facts = self.facts(orders[0].market)
        return self.reservations.reserve(decision_id, CALLER, "key", orders, asked, facts, **more)

    def sides(self, bucket: Bucket = Bucket.BOTH, market: Market = Market.LINEAR) -> Sides:
        """What is reserved."""
        return self.reservations.reserved("main", "BTCUSDT", market).get(bucket, Sides())

    def settle(self, answer: Answer, decision_id: str = "d1") -> None:
        """Answer a decision now."""
        self.reservations.settle(decision_id, answer, self.clock.now())

    def strategy(self) -> Decimal:
        """The strategy's exposure."""
        exposure = self.book.exposure("main", "grid", self.clock.now())
        assert exposure is not None
        return exposure.value.strategy


@pytest.fixture
def world() -> World:
    """A flat account."""
    return World()


def order(quantity: str = "1", side: Side = Side.BUY, **more: Any) -> Order:
    """A limit order on BTCUSDT."""
    values: dict[str, Any] = {"symbol": "BTCUSDT", "type": OrderType.LIMIT, "market": Market.LINEAR, **more}
    if "quote_quantity" not in values and "close_position" not in values:
        values["quantity"] = D(quantity)
    return Order(side=side, **values)


def test_reserves_per_side_and_counts_for_the_strategy(world):
    """A buy of 1 and a sell of 2 are kept apart; exposure is the worse of both."""
    world.reserve(order("1"), decision_id="d1")
    world.reserve(order("2", Side.SELL), decision_id="d2")
    assert world.sides() == Sides(buy=D(1), sell=D(2))
    assert world.strategy() == 100000
    assert world.reservations.counts()[Fate.IN_FLIGHT] == 2


def test_reserves_what_was_decided_not_what_was_asked(world):
    """A scaled order reserves the smaller quantity."""
    world.reserve(order("5"), quantities=[D("0.5")])
    assert world.sides().buy == D("0.5")


@pytest.mark.parametrize(
    "more",
    [
        {"side": Side.SELL, "reduce_only": True},
        {"side": Side.SELL, "close_position": True},
        {"side": Side.SELL, "bucket": Bucket.LONG},
        {"side": Side.BUY, "bucket": Bucket.SHORT},
    ],
)
def test_what_the_venue_keeps_from_opening_reserves_nothing(world, more):
    """Reduce-only, close-position and the closing side of a hedge leg take no headroom."""
    world.reserve(order(**more))
    assert world.reservations.reserved("main", "BTCUSDT") == {}
    assert world.reservations.counts()[Fate.IN_FLIGHT] == 1, "but it is known to be in flight"


def test_an_order_test_reserves_nothing_and_is_counted(world):
    """A test order leaves no reservation; it was a request all the same."""
    world.reserve(order(client_order_id="c"), test=True)
    assert world.sides() == Sides()
    assert world.reservations.counts()[Fate.IN_FLIGHT] == 0
    assert not world.reservations.client_id_in_use("main", "c")
    assert world.reservations.activity(CALLER, order(), 0.0).orders_in_window == 1


def test_a_rejection_gives_everything_back(world):
    """After an allow-listed rejection neither headroom nor attribution is left."""
    world.reserve(order(client_order_id="c"))
    assert world.reservations.client_id_in_use("main", "c")
    world.settle(REJECTED)
    assert world.sides() == Sides()
    assert world.strategy() == 0
    assert not world.reservations.client_id_in_use("main", "c")
    assert world.reservations.get("d1") is None


def test_accepted_is_kept_until_a_later_reading(world):
    """A reading asked for before the answer came does not release; one asked for after does."""
    world.reserve(order())
    world.wait(1)
    asked_before_s = world.clock.monotonic()
    world.wait(1)
    world.settle(ACCEPTED)
    world.reservations.snapshot_applied("main", Market.LINEAR, asked_before_s)
    assert world.sides().buy == 1
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic())
    assert world.sides().buy == 1, "asked for in the same instant is not after"
    world.wait(0.2)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic())
    assert world.sides().buy == 1, "the venue may still answer from a copy that is a moment behind"
    world.wait(1)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic())
    assert world.sides() == Sides()


def test_a_reading_of_another_market_or_account_releases_nothing(world):
    """Only the account and market that the order is on can show it."""
    world.reserve(order())
    world.settle(ACCEPTED)
    world.reservations.snapshot_applied("main", Market.SPOT, 99.0)
    world.reservations.snapshot_applied("other", Market.LINEAR, 99.0)
    assert world.sides().buy == 1


def test_an_accepted_order_that_is_listed_is_not_counted_twice(world):
    """A reading that lists the order by id holds it, also when its answer came later."""
    world.reserve(order(client_order_id="c"))
    world.settle(Answer(kind=AnswerKind.ACCEPTED, orders=(OrderState(kind=AnswerKind.ACCEPTED, order_id="42"),)))
    world.reservations.snapshot_applied("main", Market.LINEAR, -1.0, {("ETHUSDT", NameKind.ORDER_ID, "42")})
    assert world.sides().buy == 1, "ids are unique within a symbol only"
    world.reservations.snapshot_applied("main", Market.LINEAR, -1.0, {("BTCUSDT", NameKind.ORDER_ID, "42")})
    assert world.sides() == Sides()


def test_seeing_an_amended_order_listed_proves_nothing(world):
    """The order was listed before it was amended, with its old quantity."""
    amended = order("3", client_order_id="c", replaces=Replaced(mode=ReplaceMode.AMEND, client_order_id="c"))
    world.reserve(amended)
    world.settle(ACCEPTED)
    seen = {("BTCUSDT", NameKind.CLIENT_ID, "c"), ("BTCUSDT", NameKind.ORDER_ID, "7")}
    world.reservations.snapshot_applied("main", Market.LINEAR, -1.0, seen)
    assert world.sides().buy == 3


@pytest.mark.parametrize("answer", [accepted_as("99"), LOST])
@pytest.mark.parametrize("client_id", ["7", "c"])
def test_an_earlier_order_of_the_same_name_releases_nothing(world, answer, client_id):
    """A reading asked for before the order began lists another order by that name, whatever became of this one."""
    seen = names_of([working("2")])
    sent_s = world.clock.monotonic()
    world.wait(1)
    world.reserve(order("5", client_order_id=client_id))
    world.settle(answer)
    world.reservations.snapshot_applied("main", Market.LINEAR, sent_s, seen)
    assert world.sides().buy == 5


def test_an_order_that_names_itself_like_anothers_id_is_not_that_order(world):
    """A client id of digits is no order id, however late the reading."""
    world.reserve(order("5", client_order_id="7"))
    world.settle(LOST)
    world.wait(60)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic(), names_of([working("2")]))
    assert world.sides().buy == 5


def test_an_order_whose_id_is_known_is_found_by_nothing_else(world):
    """Its name may be that of a second order by now; by its own id it is found at once."""
    world.reserve(order("5", client_order_id="c"))
    world.wait(1)
    world.settle(accepted_as("99"))
    sent_s = world.clock.monotonic()
    world.reservations.snapshot_applied("main", Market.LINEAR, sent_s, names_of([working("2")]))
    assert world.sides().buy == 5
    listed = Working("BTCUSDT", replace(working("5").order, order_id="99"))
    world.reservations.snapshot_applied("main", Market.LINEAR, sent_s, names_of([listed]))
    assert world.sides().buy == 0


def test_a_lost_order_is_found_by_its_name_in_a_later_reading(world):
    """A reading asked for after the order began lists this one: the venue takes a name once at a time."""
    world.reserve(order("2", client_order_id="c"))
    world.settle(LOST)
    world.wait(0.2)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic(), names_of([working("2")]))
    assert world.sides().buy == 2, "the venue may still answer from a copy that is a moment behind"
    world.wait(0.2)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic(), names_of([working("2")]))
    assert world.sides().buy == 0


@pytest.mark.parametrize(("order_id", "left"), [("7", 2), ("algo:7", 0)])
def test_a_conditional_order_is_not_the_plain_one_of_the_same_id(world, order_id, left):
    """On contracts conditional orders count their ids apart."""
    world.reserve(order("2", type=OrderType.STOP_MARKET, trigger_price=D(60000)))
    world.settle(accepted_as("7"))
    listed = Working("BTCUSDT", replace(working("2").order, order_id=order_id))
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic(), names_of([listed]))
    assert world.sides().buy == left


@pytest.mark.parametrize(("order_id", "left"), [("7", 2), ("algo:7", 0)])
def test_a_lost_conditional_order_is_found_among_conditional_orders(world, order_id, left):
    """Their client ids count apart as well."""
    world.reserve(order("2", type=OrderType.STOP_MARKET, trigger_price=D(60000), client_order_id="c"))
    world.settle(LOST)
    world.wait(1)
    listed = Working("BTCUSDT", replace(working("2").order, order_id=order_id))
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic(), names_of([listed]))
    assert world.sides().buy == left


def test_attribution_outlives_the_reservation(world):
    """When the fill is in the book, the position still belongs to the strategy that opened it."""
    world.reserve(order())
    world.settle(ACCEPTED)
    world.wait(1)
    now = world.clock.now()
    held = {"BTCUSDT": Position(both=D(1))}
    world.book.apply_snapshot("main", Market.LINEAR, as_of=now, positions=held, orders=[])
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic())
    assert world.sides() == Sides()
    assert world.strategy() == 50000
    assert world.book.exposure("main", "another", now).value.strategy == 0


def test_finished_without_trading_is_released(world):
    """An IOC order that expired with nothing executed is gone at once."""
    world.reserve(order())
    state = OrderState(kind=AnswerKind.ACCEPTED, finished=True, executed=D(0))
    world.settle(Answer(kind=AnswerKind.ACCEPTED, orders=(state,)))
    assert world.sides() == Sides()


def test_finished_in_part_keeps_what_was_executed(world):
    """An IOC order of 1 that traded 0.4 can add no more than 0.4."""
    world.reserve(order())
    state = OrderState(kind=AnswerKind.ACCEPTED, finished=True, executed=D("0.4"))
    world.settle(Answer(kind=AnswerKind.ACCEPTED, orders=(state,)))
    assert world.sides().buy == D("0.4")
    assert world.strategy() == 20000


@pytest.mark.parametrize("first", ["d1", "d2"])
def test_what_was_reserved_is_given_back_to_the_last_digit(world, first):
    """However much larger one order is than another, each takes away what it brought."""
    quantities = {"d1": "100000000", "d2": "0.00000000000000000001"}
    for decision_id, quantity in quantities.items():
        world.reserve(order(quantity), decision_id=decision_id)
    assert world.sides().buy == D("100000000.00000000000000000001")
    world.settle(REJECTED, first)
    (left,) = set(quantities) - {first}
    assert world.sides().buy == D(quantities[left])
    state = OrderState(kind=AnswerKind.ACCEPTED, finished=True, executed=D("0.000000000000000000001"))
    world.settle(Answer(kind=AnswerKind.ACCEPTED, orders=(state,)), left)
    assert world.sides().buy == state.executed
    world.wait(1)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic())
    assert world.sides() == Sides()
    assert world.strategy() == 0


def test_silence_keeps_the_reservation_through_any_reading(world):
    """An order of unknown fate is not released by time or by readings that do not list it."""
    world.reserve(order(client_order_id="c"))
    world.settle(LOST)
    world.wait(3600)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic())
    assert world.sides().buy == 1
    assert world.reservations.client_id_in_use("main", "c")
    assert [leg.client_order_id for _, leg in world.reservations.unknown()] == ["c"]


def test_an_unknown_order_found_failed_is_released(world):
    """A look-up that proves the order never worked gives the headroom back, once."""
    world.reserve(order())
    world.settle(LOST)
    assert world.reservations.resolve("d1", 0, Outcome.FAILED, world.clock.now())
    assert world.sides() == Sides()
    assert not world.reservations.resolve("d1", 0, Outcome.FAILED, world.clock.now())


def test_an_unknown_order_found_accepted_is_kept_until_the_book_has_it(world):
    """Found at the venue is not yet seen in the book."""
    world.reserve(order())
    world.settle(LOST)
    world.reservations.resolve("d1", 0, Outcome.ACCEPTED, world.clock.now())
    assert world.sides().buy == 1
    world.wait(1)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic())
    assert world.sides() == Sides()


def test_an_operator_settles_only_what_is_unknown(world):
    """A person's word settles orders of unknown fate, never one that is in flight."""
    world.reserve(order())
    assert world.reservations.settle_by_operator("d1", Outcome.FAILED) == 0
    assert world.sides().buy == 1
    world.settle(LOST)
    assert world.reservations.settle_by_operator("d1", Outcome.FAILED) == 1
    assert world.sides() == Sides()
    assert world.reservations.settle_by_operator("nothing", Outcome.FAILED) == 0


def test_a_second_answer_changes_nothing(world):
    """An answer for what is settled, or was never reserved, is ignored."""
    world.reserve(order())
    world.settle(ACCEPTED)
    world.settle(REJECTED)
    assert world.sides().buy == 1
    world.settle(REJECTED, "never-reserved")


def test_not_sent_is_released(world):
    """What certainly never left is given back; lost is kept."""
    world.reserve(order(), decision_id="d1")
    world.reserve(order(), decision_id="d2")
    world.reservations.release("d1")
    world.reservations.lost("d2")
    assert world.sides().buy == 1


def test_a_batch_is_settled_order_by_order(world):
    """Of three orders one is rejected, one accepted and one of unknown fate."""
    world.reserve(order("1"), order("2"), order("4"))
    states = tuple(OrderState(kind=kind) for kind in (AnswerKind.REJECTED, AnswerKind.ACCEPTED, AnswerKind.UNKNOWN))
    world.settle(Answer(kind=AnswerKind.ACCEPTED, orders=states))
    assert world.sides().buy == 6
    world.wait(1)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic())
    assert world.sides().buy == 4
    assert world.reservations.get("d1").fate is Fate.UNKNOWN


def test_orders_that_exclude_each_other_reserve_the_larger(world):
    """An OCO of 1 and 3 reserves 3, and keeps it until neither leg is left."""
    world.reserve(order("1", Side.SELL, group=1), order("3", Side.SELL, group=1))
    assert world.sides().sell == 3
    states = (OrderState(kind=AnswerKind.REJECTED), OrderState(kind=AnswerKind.UNKNOWN))
    world.settle(Answer(kind=AnswerKind.UNKNOWN, orders=states))
    assert world.sides().sell == 3
    world.reservations.resolve("d1", 1, Outcome.FAILED, world.clock.now())
    assert world.sides() == Sides()


@pytest.mark.parametrize(("pending", "sells"), [("1", "0"), ("3", "2")])
def test_a_pending_order_that_closes_its_parent_reserves_only_what_goes_beyond(world, pending, sells):
    """The sell that follows a buy of 1 opens nothing up to 1."""
    world.reserve(order("1"), order(pending, Side.SELL, pending_on=0))
    assert world.sides() == Sides(buy=D(1), sell=D(sells))


def test_a_purchase_that_waits_for_a_sale_is_reserved_whole(world):
    """A balance may be read after the sale and before the purchase is listed: then only this stands for it."""
    listed = Filters(base_asset="BTC", quote_asset="USDT", quantity_step=D("0.001"), quantity_min=D("0.001"))
    world.book.apply_filters("binance", Market.SPOT, {"BTCUSDT": listed}, as_of=NOW)
    world.book.apply_prices("binance", Market.SPOT, {"BTCUSDT": Quote(D(50000))}, as_of=NOW, complete=True)
    world.book.apply_snapshot("main", Market.SPOT, as_of=NOW, positions={"BTC": Position(both=D(2))}, orders=[])
    world.reserve(
        order("1", Side.SELL, market=Market.SPOT, price=D(50000)),
        order("1", market=Market.SPOT, price=D(50000), pending_on=0),
    )
    world.book.apply_snapshot("main", Market.SPOT, as_of=NOW, positions={"BTC": Position(both=D(1))}, orders=[])
    assert world.book.symbol_notional("main", Market.SPOT, "BTCUSDT") == 100000


def test_a_pending_order_on_the_same_side_counts_as_live(world):
    """A second buy that waits for the first is new exposure."""
    world.reserve(order("1"), order("2", pending_on=0))
    assert world.sides().buy == 3


def working(quantity: str, **more: Any) -> Working:
    """A working buy order with id 7 and client id c."""
    values: dict[str, Any] = {"side": Side.BUY, "bucket": Bucket.BOTH, "remaining": D(quantity), **more}
    return Working("BTCUSDT", WorkingOrder(order_id="7", client_order_id="c", **values))


@pytest.mark.parametrize(("new", "excess"), [("5", "3"), ("2", "0"), ("1", "0")])
def test_an_amendment_reserves_only_the_excess(world, new, excess):
    """Amending a working order of 2 to 5 adds 3; making it smaller adds nothing."""
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=[working("2")])
    world.reserve(order(new, replaces=Replaced(mode=ReplaceMode.AMEND, order_id="7")))
    assert world.sides().buy == D(excess)


@pytest.mark.parametrize(
    "named", [{"client_order_id": "c"}, {"order_id": "8", "client_order_id": "c"}, {"order_id": "c"}]
)
def test_an_amendment_by_another_name_than_the_venues_reserves_all_of_it(world, named):
    """A client id proves nothing of the order that bears it now, reduce-only or not."""
    orders = [working("2", reduces_by_venue=True)]
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=orders)
    world.reserve(order("5", replaces=Replaced(mode=ReplaceMode.AMEND, **named)))
    assert world.sides().buy == 5


def test_an_amendment_is_reserved_on_the_leg_of_its_order(world):
    """A futures amendment states no leg of hedge mode; the order that it names has one."""
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=[working("2", bucket=Bucket.LONG)])
    world.reserve(order("5", replaces=Replaced(mode=ReplaceMode.AMEND, order_id="7")))
    facts = world.book.symbol("main", Market.LINEAR, "BTCUSDT", NOW)
    assert facts.reserved[Bucket.LONG].buy == 3
    assert Bucket.BOTH not in facts.reserved


def amendment(quantity: str, order_id: str | None = "7") -> Order:
    """Another quantity for order 7, known to the book also as c; by its client id if not by its id."""
    client_order_id = "c" if order_id is None else None
    named = Replaced(mode=ReplaceMode.AMEND, order_id=order_id, client_order_id=client_order_id)
    return order(quantity, replaces=named)


@pytest.mark.parametrize("smaller", [amendment("1"), amendment("1", None)])
@pytest.mark.parametrize("answer", [ACCEPTED, LOST, None])
def test_an_amendment_after_a_smaller_one_reserves_what_lies_between(world, smaller, answer):
    """A reading that left between the two shows the smaller quantity, and then the larger one must be held."""
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=[working("9")])
    world.reserve(smaller, decision_id="down")
    if answer is not None:
        world.settle(answer, "down")
    held = world.sides().buy
    world.wait(0.5)
    sent_s = world.clock.monotonic()
    world.wait(0.1)
    world.reserve(amendment("9"), decision_id="up")
    assert world.sides().buy - held == 8
    world.settle(ACCEPTED, "up")
    orders = [working("1")]
    world.book.apply_snapshot("main", Market.LINEAR, as_of=world.clock.now(), positions={}, orders=orders)
    world.reservations.snapshot_applied("main", Market.LINEAR, sent_s, names_of(orders))
    waiting = world.book.symbol("main", Market.LINEAR, "BTCUSDT", world.clock.now()).waiting(Bucket.BOTH)
    assert waiting.buy >= 9
    world.wait(1)
    world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic(), names_of(orders))
    assert world.reservations.get("up") is None


def test_an_amendment_after_a_refused_or_another_one_reserves_only_the_excess(world):
    """What was refused changed nothing, and what changes another order does not change this one."""
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=[working("9")])
    world.reserve(amendment("1"), decision_id="refused")
    world.settle(REJECTED, "refused")
    world.reserve(amendment("1", "8"), decision_id="another")
    held = world.sides().buy
    world.reserve(amendment("10"))
    assert world.sides().buy - held == 1


def test_the_amendments_of_one_request_are_held_against_each_other(world):
    """The venue may take the changes of a batch in any order, and a reading may fall in between."""
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=[working("9")])
    world.reserve(amendment("1"), amendment("9"))
    assert world.sides().buy == 8


def test_amending_a_reduce_only_order_again_reserves_nothing(world):
    """However often it is changed, the venue keeps it from opening."""
    orders = [working("2", reduces_by_venue=True)]
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=orders)
    world.reserve(amendment("1"), decision_id="down")
    world.reserve(amendment("5"), decision_id="up")
    assert world.sides() == Sides()


def test_an_amendment_of_an_unknown_order_reserves_all_of_it(world):
    """What the book does not know to be working is not counted, so all of the new order is."""
    world.reserve(order("5", replaces=Replaced(mode=ReplaceMode.AMEND, order_id="unseen")))
    assert world.sides().buy == 5


def test_amending_a_reduce_only_order_reserves_nothing(world):
    """An order that the venue keeps from opening stays one when amended."""
    orders = [working("2", reduces_by_venue=True)]
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=orders)
    world.reserve(order("5", replaces=Replaced(mode=ReplaceMode.AMEND, order_id="7")))
    assert world.sides() == Sides()


@pytest.mark.parametrize("mode", [ReplaceMode.STOP_ON_FAILURE, ReplaceMode.ALLOW_FAILURE])
def test_cancel_and_replace_reserves_the_whole_new_order(world, mode):
    """Old 5 and new 6 are 11 until the cancel is seen."""
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=[working("5")])
    world.reserve(order("6", replaces=Replaced(mode=mode, order_id="7")))
    waiting = world.book.symbol("main", Market.LINEAR, "BTCUSDT", NOW).waiting(Bucket.BOTH)
    assert waiting.buy == 11


def test_a_quote_sized_order_is_converted_at_the_near_price(world):
    """Spending 102 at an ask of 51000 reserves 0.002, rounded up at the eighth place."""
    world.reserve(order(market=Market.SPOT, type=OrderType.MARKET, quote_quantity=D(102)))
    assert world.sides(market=Market.SPOT).buy == D("0.002")
    world.reserve(
        order(market=Market.SPOT, type=OrderType.MARKET, side=Side.SELL, quote_quantity=D(1)), decision_id="d2"
    )
    assert world.sides(market=Market.SPOT).sell == D("0.00002041")


def test_a_quote_sized_order_without_a_price_reserves_nothing_and_says_so(world):
    """Nothing is half reserved when a later order of the request cannot be converted."""
    unpriced = replace(order(market=Market.SPOT, type=OrderType.MARKET, quote_quantity=D(1)), symbol="NOPEUSDT")
    with pytest.raises(FactMissing, match="price"):
        world.reserve(order(market=Market.SPOT), unpriced)
    assert world.sides(market=Market.SPOT) == Sides()
    assert world.reservations.counts()[Fate.IN_FLIGHT] == 0


def test_one_decision_reserves_once(world):
    """The same decision id cannot reserve twice."""
    world.reserve(order())
    with pytest.raises(ValueError, match="has a reservation already"):
        world.reserve(order())


def test_closing_orders_are_not_attributed_as_opened(world):
    """Selling what is held opens nothing; what goes beyond it does."""
    held = {"BTCUSDT": Position(both=D(1))}
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions=held, orders=[])
    world.reserve(order("3", Side.SELL))
    line = world.book.exposure("main", "another", NOW).value
    assert line.account == 100000
    assert line.strategy == 50000, "what nobody opened is held as before"
    assert world.strategy() == 100000, "worst case 2: the strategy's own, or in the place of what it closes"


@pytest.mark.parametrize("at_once", [True, False])
def test_an_order_after_another_that_closes_all_opens(world, at_once):
    """With 1 held, a sell of 1 closes it and a second one is a short of the strategy's own."""
    held = {"BTCUSDT": Position(both=D(1))}
    world.book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions=held, orders=[])
    if at_once:
        holds = world.reserve(order("1", Side.SELL), order("1", Side.SELL)).holds
    else:
        holds = [world.reserve(order("1", Side.SELL), decision_id=name).holds[0] for name in ("d1", "d2")]
    assert [hold.opening for hold in holds] == [0, 1]


@pytest.mark.parametrize("waits", [False, True])
def test_orders_that_never_filled_take_no_position_over(world, waits):
    """What was there before any strategy was let through counts for all of them, however often one tries."""
    orders = [working("8")] if waits else []
    held = {"BTCUSDT": Position(both=D(0 if waits else 8))}

    def read() -> None:
        world.wait(1)
        now = world.clock.now()
        world.book.apply_snapshot("main", Market.LINEAR, as_of=now, positions=held, orders=orders)
        world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic(), names_of(orders))

    def counted(strategy: str) -> Decimal:
        return world.book.exposure("main", strategy, world.clock.now()).value.strategy / 50000

    read()
    for number in range(3):
        world.reserve(order("6"), decision_id=f"d{number}")
        assert (counted("grid"), counted("other")) == (14, 8)
        world.settle(accepted_as(f"{number}"), f"d{number}")
        read()  # cancelled by then
        assert (counted("grid"), counted("other")) == (8, 8)
    world.reserve(order("6"), decision_id="filled")
    world.settle(accepted_as("9"), "filled")
    held["BTCUSDT"] = Position(both=held["BTCUSDT"].both + 6)
    read()
    assert (counted("grid"), counted("other")) == (14, 8)
    held["BTCUSDT"], orders = Position(both=D(14 if waits else 6)), []
    read()
    assert counted("grid") == (14 if waits else 6)
    held["BTCUSDT"] = Position(both=D(20))
    read()
    assert counted("other") >= 14, "somebody else bought: nobody's, so everybody's"


def test_a_fill_between_two_requests_of_a_reading_makes_nothing_nobodys(world):
    """It stands in the reading as an order and as a position: for a moment it is counted twice, then once."""
    world.reserve(order("2"))
    world.settle(accepted_as("7"))
    for orders in ([working("2")], []):
        world.wait(1)
        now, held = world.clock.now(), {"BTCUSDT": Position(both=D(2))}
        world.book.apply_snapshot("main", Market.LINEAR, as_of=now, positions=held, orders=orders)
        world.reservations.snapshot_applied("main", Market.LINEAR, world.clock.monotonic(), names_of(orders))
    assert world.strategy() == 100000
    assert world.book.exposure("main", "other", world.clock.now()).value.strategy == 0


def test_activity_counts_within_windows_and_forgets(world):
    """Rates and repeats are counted in their windows, per bot, and end with them."""
    world.reserve(order(), decision_id="d1")
    world.wait(1)
    world.reserve(order("1.000"), decision_id="d2")
    world.wait(0.5)
    activity = world.reservations.activity(CALLER, order(), world.clock.monotonic())
    assert (activity.orders_in_window, activity.identical_in_window) == (2, 2)
    world.wait(1)
    activity = world.reservations.activity(CALLER, order(), world.clock.monotonic())
    assert (activity.orders_in_window, activity.identical_in_window) == (2, 1)
    world.wait(9)
    activity = world.reservations.activity(CALLER, order(), world.clock.monotonic())
    assert (activity.orders_in_window, activity.identical_in_window) == (0, 0)
    other = replace(CALLER, bot="bot-2")
    assert world.reservations.activity(other, order(), 0.0).orders_in_window == 0


def test_asking_for_activity_does_not_count(world):
    """An order that is refused is only asked about: the count stays."""
    for _ in range(5):
        activity = world.reservations.activity(CALLER, order(), world.clock.monotonic())
    assert activity.orders_in_window == 0


def test_two_orders_of_unknown_fate_may_share_a_client_id(world):
    """The id is in use until the last of them is settled."""
    world.reserve(order(client_order_id="c"), decision_id="d1")
    world.reserve(order(client_order_id="c"), decision_id="d2")
    world.settle(REJECTED, "d1")
    assert world.reservations.client_id_in_use("main", "c")
    world.settle(REJECTED, "d2")
    assert not world.reservations.client_id_in_use("main", "c")


def test_a_wall_clock_stepped_back_releases_nothing_early(world):
    """Order of events is judged by monotonic time: a reading asked for before acceptance never releases."""
    world.reserve(order())
    world.wait(10)
    sent_s = world.clock.monotonic()
    world.wait(1)
    world.clock.advance(to=NOW - timedelta(hours=1))
    world.settle(ACCEPTED)
    world.reservations.snapshot_applied("main", Market.LINEAR, sent_s)
    assert world.sides().buy == 1


def coins_for_coins(world: World, **more: Any) -> Any:
    """A sale of 10 ETH for BTC at 0.06, ETH held and priced."""
    found = {
        name: Filters(base_asset=base, quote_asset=quote, quantity_step=D("0.001"), quantity_min=D("0.001"))
        for name, base, quote in (("BTCUSDT", "BTC", "USDT"), ("ETHBTC", "ETH", "BTC"))
    }
    world.book.apply_filters("binance", Market.SPOT, found, as_of=NOW)
    quotes = {"BTCUSDT": Quote(D(50000)), "ETHBTC": Quote(D("0.06"), D("0.059"), D("0.061"))}
    world.book.apply_prices("binance", Market.SPOT, quotes, as_of=NOW, complete=True)
    world.book.apply_snapshot("main", Market.SPOT, as_of=NOW, positions={"ETH": Position(both=D(10))}, orders=[])
    now = world.clock.now()
    symbols = {"ETHBTC": world.book.symbol("main", Market.SPOT, "ETHBTC", now)}
    facts = Facts(now=now, caller=CALLER, stop=CLEAR, symbols=symbols)
    values = {"symbol": "ETHBTC", "market": Market.SPOT, "price": D("0.06"), **more}
    asked = order("10", Side.SELL, **values)
    return world.reservations.reserve("d1", CALLER, "key", (asked,), (asked.quantity,), facts)


def bought(world: World) -> Decimal | None:
    """What BTC are worth at worst."""
    return world.book.symbol_notional("main", Market.SPOT, "BTCUSDT")


def test_a_sale_for_coins_reserves_the_coins_it_buys(world):
    """10 ETH at 0.06 buy 0.6 BTC: they count for account and strategy until they were certainly not bought."""
    coins_for_coins(world)
    assert bought(world) == 30000
    assert world.strategy() == 30000 + 30000  # the ETH that are held, whoever bought them, count for all
    world.settle(REJECTED)
    assert bought(world) == 0
    assert world.strategy() == 30000


def test_a_sale_for_coins_below_the_market_buys_at_the_market(world):
    """Whatever it asks, the market pays what it pays."""
    coins_for_coins(world, price=D("0.01"))
    assert bought(world) == 30000


def test_a_sale_for_coins_that_ended_in_part_bought_that_part(world):
    """4 of 10 ETH sold: 0.24 BTC stay."""
    coins_for_coins(world)
    state = OrderState(kind=AnswerKind.ACCEPTED, executed=D(4), finished=True)
    world.settle(Answer(kind=AnswerKind.ACCEPTED, orders=(state,)))
    assert bought(world) == 12000


def test_a_sale_for_coins_is_restored_from_its_record(world):
    """What a decision's record says was reserved is reserved again, the bought coins included."""
    rows = coins_for_coins(world).recorded()
    world.settle(REJECTED)
    asked = {"instruction": "order", "symbol": "ETHBTC", "type": "LIMIT", "market": "spot", "side": "SELL",
             "quantity": "10"}  # fmt: skip
    record = {
        "decision_id": "d2", "at": NOW.isoformat(), "orders": [asked], "quantities": ["10"], "reserved": rows,
        "caller": {"account": "main", "exchange": "binance", "strategy": "grid", "bot": "bot-1"},
    }
    world.reservations.restore(record, 1.0)
    assert bought(world) == 30000


@pytest.mark.parametrize(("mode", "rests"), [("AMEND", 0), ("STOP_ON_FAILURE", 0), ("ALLOW_FAILURE", 1)])
def test_a_restored_order_rests_beside_the_one_that_it_may_not_have_replaced(world, mode, rests):
    """Both may live where the cancel is allowed to fail, so both are counted."""
    asked = {"instruction": "order", "symbol": "BTCUSDT", "type": "LIMIT", "market": "spot", "side": "BUY",
             "quantity": "1", "replaces": {"mode": mode, "order_id": "7"}}  # fmt: skip
    record = {
        "decision_id": "d2", "at": NOW.isoformat(), "orders": [asked], "quantities": ["1"], "reserved": [],
        "caller": {"account": "main", "exchange": "binance", "strategy": "grid", "bot": "bot-1"},
    }
    world.reservations.restore(record, 1.0)
    assert world.reservations.resting("main", Market.SPOT) == rests

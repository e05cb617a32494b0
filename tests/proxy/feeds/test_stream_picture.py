"""The picture of an account: readings and events, whichever order they come in, lead to the same."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from proxy.book import Working
from proxy.feeds.stream_picture import AHEAD_MAX_MS, ENDED_MAX, Amount, Listed, Picture, Step, Told
from rules import Bucket, Position, Side, WorkingOrder

D = Decimal
BOTH = Bucket.BOTH
HELD = ("BTCUSDT", BOTH)


def working(order_id: str = "1", remaining: str = "1", side: Side = Side.BUY) -> Working:
    """An order that waits."""
    return Working(
        "BTCUSDT",
        WorkingOrder(order_id=order_id, client_order_id=None, side=side, bucket=BOTH, remaining=D(remaining)),
    )


def step(
    at_ms: int, executed: str = "0", traded: str = "0", *, order_id: str = "1", of: str = "1", over: bool = False,
    told_ms: int | None = None, side: Side = Side.BUY,
) -> Step:  # fmt: skip
    """Something that happened to a buy order of a size."""
    sign = 1 if side is Side.BUY else -1
    return Step(
        working=working(order_id, format(D(of) - D(executed), "f"), side),
        at_ms=at_ms,
        told_ms=at_ms + 1 if told_ms is None else told_ms,
        executed=D(executed),
        is_over=over,
        traded=D(traded),
        total={HELD: sign * D(executed)} if D(executed) else {},
        last={HELD: sign * D(traded)} if D(traded) else {},
    )


def told(amount: str, at_ms: int, told_ms: int | None = None) -> Told:
    """A position that was told."""
    return Told(HELD, D(amount), at_ms, at_ms + 1 if told_ms is None else told_ms)


def take(picture: Picture, *events: Step | Told) -> bool:
    """Events, one after the other; whether any of them left a doubt."""
    changes = [picture.step(event) if isinstance(event, Step) else picture.told(event) for event in events]
    return any(change.is_doubtful for change in changes)


def state(picture: Picture) -> tuple[dict[str, Decimal], Decimal]:
    """What waits by id, and what is held."""
    orders = {one.order.order_id: one.order.remaining for one in picture.orders()}
    return orders, picture.positions().get("BTCUSDT", Position()).both


@pytest.fixture
def picture() -> Picture:
    """An account of which a reading at 1000 showed one order of 1, and nothing held."""
    picture = Picture()
    picture.reading(1000, [Listed(working(), 900)], {})
    return picture


LIFE = (
    step(1100, "0.25", "0.25"), told("0.25", 1100), step(1200, "0.5", "0.25"), told("0.5", 1200),
    step(1300, "0.5", of="0.75"), step(1400, "0.75", "0.25", of="0.75", over=True), told("0.75", 1400),
    step(1500, order_id="2", of="3"), step(1600, "1", "1", order_id="2", of="3"), told("1.75", 1600),
    step(1700, "1", order_id="2", of="3", over=True),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_events_lead_to_the_same_in_any_order_and_however_often(picture, seed):
    """A life of two orders, shuffled and doubled: the position as told last, and no order that has ended.

    Where an order's end overtakes its own fill nobody can tell what the position includes; that is doubted, and
    the reading it asks for ends it.
    """
    chance = random.Random(seed)
    events = [*LIFE, *chance.sample(LIFE, 5)]
    chance.shuffle(events)
    is_doubted = take(picture, *events)
    assert state(picture)[0] == {}
    assert state(picture)[1] == D("1.75") or is_doubted
    picture.reading(1800, [], {HELD: Amount(D("1.75"), 1600)})
    assert state(picture) == ({}, D("1.75"))


@pytest.mark.parametrize("seed", range(100))
def test_events_of_one_kind_in_their_order_need_no_reading(picture, seed):
    """What the exchange guarantees for one connection: orders among themselves and positions among themselves."""
    chance = random.Random(seed)
    steps = [event for event in LIFE if isinstance(event, Step)]
    positions = [event for event in LIFE if isinstance(event, Told)]
    while steps or positions:
        queue = chance.choice([one for one in (steps, positions) if one])
        event = queue.pop(0)
        take(picture, *([event] * chance.choice((1, 1, 2))))
    assert state(picture) == ({}, D("1.75"))
    assert not picture.is_tied()


def test_in_their_order_events_are_right_at_every_moment(picture):
    """What waits and what is held, after each event; a fill counts at once and is not counted again."""
    shown = []
    for event in LIFE:
        take(picture, event)
        orders, held = state(picture)
        shown.append((sum(orders.values()), held))
    assert shown == [
        (D("0.75"), D("0.25")), (D("0.75"), D("0.25")), (D("0.5"), D("0.5")), (D("0.5"), D("0.5")),
        (D("0.25"), D("0.5")), (0, D("0.75")), (0, D("0.75")), (3, D("0.75")), (2, D("1.75")), (2, D("1.75")),
        (0, D("1.75")),
    ]  # fmt: skip


@pytest.mark.parametrize("first", ["fill", "position"])
def test_a_fill_and_its_position_count_once_whichever_comes_first(picture, first):
    """Never missed in between: the worst case is never smaller than it is."""
    fill, position = step(1100, "0.25", "0.25"), told("0.25", 1100)
    pair = (fill, position) if first == "fill" else (position, fill)
    take(picture, pair[0])
    orders, held = state(picture)
    assert orders["1"] + held >= 1
    take(picture, pair[1])
    assert state(picture) == ({"1": D("0.75")}, D("0.25"))


def test_an_order_that_has_ended_does_not_come_back(picture):
    """Not by an event that comes late, nor by a reading that was asked for before."""
    take(picture, step(1100, over=True), step(1050))
    assert state(picture)[0] == {}
    picture.reading(1060, [Listed(working(), 900)], {})
    assert state(picture)[0] == {}


def test_an_old_event_of_an_order_that_no_reading_shows_is_nothing(picture):
    """It was placed and ended before the reading."""
    take(picture, step(950, order_id="9"))
    assert "9" not in state(picture)[0]
    take(picture, step(1001, order_id="9"))
    assert "9" in state(picture)[0]


@pytest.mark.parametrize("late", [False, True])
def test_of_two_changes_within_a_millisecond_the_one_that_was_told_later_counts(picture, late):
    """Amended twice: the event times decide, not the arrival."""
    events = [step(1100, of="2", told_ms=1101), step(1100, of="3", told_ms=1102)]
    take(picture, *(reversed(events) if late else events))
    assert state(picture)[0] == {"1": D(3)}


@pytest.mark.parametrize("seed", range(20))
def test_of_several_amounts_told_for_one_instant_the_fills_say_which_was_the_last(picture, seed):
    """Three orders fill in one sweep, every position with the same times, all shuffled."""
    events: list[Step | Told] = [
        step(1100, "1", "1", order_id=str(number), over=True, told_ms=1101) for number in (2, 3, 4)
    ] + [told(str(amount), 1100, 1101) for amount in (1, 2, 3)]
    random.Random(seed).shuffle(events)
    take(picture, *events)
    right = state(picture)[1] == 3
    assert right or picture.is_tied(), "wrong, and nobody would ask"


def test_an_amount_that_was_told_before_is_told_twice_not_back(picture):
    """Two positions of one instant, and the first of them again: the second stands."""
    take(picture, told("1", 1100, 1101), told("2", 1100, 1101), told("1", 1100, 1101))
    assert state(picture)[1] == 2


def test_the_fills_of_an_instant_settle_what_was_told_in_the_wrong_order(picture):
    """Two, then one; both fills: it is two."""
    take(picture, told("2", 1100, 1101), told("1", 1100, 1101))
    assert picture.is_tied()
    for order_id in ("2", "3"):
        take(picture, step(1100, "1", "1", order_id=order_id, over=True, told_ms=1101))
    assert state(picture)[1] == 2
    assert not picture.is_tied()


def test_a_sweep_in_its_order_is_not_asked_about(picture):
    """Position, fill, position, fill: what every exchange sends is no tie."""
    for number in (1, 2, 3):
        take(
            picture, told(str(number), 1100, 1101),
            step(1100, "1", "1", order_id=str(number + 1), over=True, told_ms=1101),
        )  # fmt: skip
    assert state(picture)[1] == 3
    assert not picture.is_tied()


def test_fills_that_were_never_told_are_counted_and_doubted(picture):
    """The second of three fills is lost: the position moves by what the order says in all, and a reading is due."""
    take(picture, step(1100, "0.25", "0.25"))
    change = picture.step(step(1300, "0.75", "0.25"))
    assert change.is_doubtful
    assert state(picture) == ({"1": D("0.25")}, D("0.75"))


def test_a_fill_of_an_order_that_never_executed_is_counted_and_doubted(picture):
    """A venue that contradicts itself is asked, and ends no stream: what it says has traded counts until then."""
    change = picture.step(step(1100, "0", "0.25"))
    assert change.is_doubtful
    assert state(picture)[1] == D("0.25")


def test_fills_that_the_position_shows_already_are_not_added_to_it(picture):
    """The position was told, its fill was not; the next event of the order brings only what is new."""
    take(picture, told("0.25", 1100))
    change = picture.step(step(1300, "0.5", "0.25"))
    assert change.is_doubtful
    assert state(picture)[1] == D("0.5")


class TestReadings:
    """What a reading changes, and what it may not change."""

    def test_it_takes_away_what_it_does_not_show(self, picture):
        """An order that nobody told of ending, and a position that nobody told of closing: both are differences."""
        take(picture, step(1100, order_id="2"), told("5", 1100))
        differences = picture.reading(2000, [], {})
        assert state(picture) == ({}, 0)
        assert sorted((one.kind, one.name) for one in differences) == [
            ("order", "1"), ("order", "2"), ("position", "BOTH"),
        ]  # fmt: skip

    def test_what_happened_after_it_was_asked_for_stays(self, picture):
        """An event is exact; the reading may have been answered before it."""
        take(picture, step(2100, order_id="2"), told("5", 2100))
        assert [one.name for one in picture.reading(2000, [], {})] == ["1"]
        assert state(picture) == ({"2": D(1)}, D(5))

    def test_what_it_shows_newer_counts(self, picture):
        """A row that was changed after the last event of its order, a position changed after the last told."""
        take(picture, step(1100), told("5", 1100))
        picture.reading(1050, [Listed(working(remaining="0.5"), 1200, D("0.5"))], {HELD: Amount(D(6), 1200)})
        assert state(picture) == ({"1": D("0.5")}, D(6))

    def test_what_it_shows_older_does_not(self, picture):
        """A copy of the exchange that is behind its own events."""
        take(picture, step(1500, of="2"), told("5", 1500))
        picture.reading(1400, [Listed(working(), 900)], {HELD: Amount(D(0), 900)})
        assert state(picture) == ({"1": D(2)}, D(5))

    def test_the_next_one_overrules_an_earlier_one(self, picture):
        """Between two readings asked for at the same moment by the exchange's clock the later counts."""
        picture.reading(1000, [Listed(working(remaining="0.5"), 1200)], {HELD: Amount(D(3), 1200)})
        picture.reading(1100, [], {})
        assert state(picture) == ({}, 0)

    def test_an_event_from_a_clock_that_was_set_back_since_is_overruled(self, picture):
        """Told for an hour ahead: without this no reading could ever correct it."""
        ahead = 1000 + AHEAD_MAX_MS + 3_600_000
        take(picture, step(ahead, order_id="2"), told("5", ahead))
        picture.reading(2000, [], {})
        assert state(picture) == ({}, 0)

    def test_fills_since_are_counted_on_top_of_it(self, picture):
        """The reading shows what was held before a fill that has been told already."""
        take(picture, step(2100, "0.25", "0.25"))
        picture.reading(2000, [Listed(working(), 900)], {HELD: Amount(D(0), 900)})
        assert state(picture) == ({"1": D("0.75")}, D("0.25"))

    def test_it_says_nothing_of_differences_where_there_are_none(self, picture):
        """Quiet is quiet."""
        take(picture, told("5", 1100))
        assert picture.reading(2000, [Listed(working(), 900)], {HELD: Amount(D(5), 1100)}) == []

    def test_without_the_exchanges_time_it_is_all_there_is(self, picture):
        """Nothing can be compared, so nothing is kept."""
        take(picture, step(5000, order_id="2"), told("5", 5000))
        picture.replace([Listed(working("3"))], {HELD: Amount(D(1))})
        assert state(picture) == ({"3": D(1)}, D(1))
        take(picture, told("2", 100))
        assert state(picture)[1] == 2


class TestTriggered:
    """A conditional order counts until the order that it became has been seen."""

    @pytest.mark.parametrize("first", ["triggered", "child"])
    def test_one_of_the_two_always_counts(self, picture, first):
        """Whichever is told first."""
        take(picture, step(1050, order_id="algo:9"))
        deeds = [
            lambda: picture.triggered(("BTCUSDT", "algo:9"), ("BTCUSDT", "10")),
            lambda: picture.step(step(1100, order_id="10")),
        ]
        for deed in deeds if first == "triggered" else reversed(deeds):
            deed()
            assert state(picture)[0].keys() & {"algo:9", "10"}
        assert state(picture)[0] == {"1": D(1), "10": D(1)}

    def test_a_reading_that_shows_neither_ends_it(self, picture):
        """The child was never told."""
        take(picture, step(1050, order_id="algo:9"))
        picture.triggered(("BTCUSDT", "algo:9"), ("BTCUSDT", "10"))
        picture.reading(2000, [], {})
        assert state(picture)[0] == {}
        assert not picture._parents


def test_short_legs_are_sizes():
    """Told as negative amounts, kept as what they are."""
    picture = Picture()
    picture.reading(0, [], {("BTCUSDT", Bucket.LONG): Amount(D(2)), ("BTCUSDT", Bucket.SHORT): Amount(D(-3))})
    assert picture.positions() == {"BTCUSDT": Position(long=D(2), short=D(3))}


def test_only_so_many_ended_orders_are_remembered(picture):
    """Memory does not grow with what is traded."""
    for number in range(ENDED_MAX + 10):
        picture._end(("BTCUSDT", str(number)))
    assert len(picture._ended) == ENDED_MAX
    assert not picture.knows(("BTCUSDT", "0"))

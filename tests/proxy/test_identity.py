"""Who is calling, and whether it is really them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from proxy.errors import CallerUnknown, ConfigError, NotAuthentic, OrderNotUnderstood
from proxy.exchanges import EXCHANGES
from proxy.exchanges.base import Credentials
from proxy.identity import Account, Bot, Identities, attributed, strategies_by_account
from rules import LeverageChange, Reason, Replaced, ReplaceMode
from tests import given
from tests.house import BOT_KEY, BOT_SECRET, open_house

BINANCE = EXCHANGES[0]
HELD = Credentials(api_key="venue", secret=b"venue-secret")
CUSTODY = Account(name="desk", exchange="binance", mode="custody", credentials=HELD)


def bot(name="grid1", key="key-1", account=CUSTODY, secret=b"s", strategy="grid"):
    """A custody bot, unless told otherwise."""
    return Bot(name=name, key=key, account=account, strategy=strategy, secret=secret)


@pytest.fixture
async def house(tmp_path):
    """A house whose bots and clock the tests use."""
    async with open_house(tmp_path) as house:
        yield house


@pytest.mark.parametrize("key", [None, "", "key-2", "KEY-1", "key-1 ", " key-1"])
async def test_a_key_is_matched_exactly_or_not_at_all(house, key):
    """No key, another key and a nearly right one are all unknown."""
    with pytest.raises(CallerUnknown):
        Identities([bot()], clock=house.clock).of(key)


async def test_two_bots_may_not_share_a_key(house):
    """The same key would make it unclear whose limits apply; the start fails and shows no key."""
    with pytest.raises(ConfigError, match="same key") as error:
        Identities([bot(), bot(name="grid2")], clock=house.clock)
    assert "key-1" not in str(error.value)


@pytest.mark.parametrize(
    "broken",
    [
        bot(secret=None),
        bot(account=Account(name="desk", exchange="binance", mode="custody")),
    ],
)
async def test_custody_needs_both_secrets(house, broken):
    """Without the bot's secret nothing can be checked, without the venue's nothing signed."""
    with pytest.raises(ConfigError, match="custody needs"):
        Identities([broken], clock=house.clock)


@pytest.mark.parametrize(
    ("age_ms", "accepted"), [(0, True), (5000, True), (5001, False), (-1000, True), (-1001, False)]
)
async def test_the_timestamp_window_is_the_venues(house, age_ms, accepted):
    """recvWindow back (5,000 ms unless stated), one second ahead, to the millisecond."""
    identities = house.parts.identities
    timestamp = int(house.clock.now().timestamp() * 1000) - age_ms
    request = house.order(timestamp=str(timestamp))
    params = BINANCE.read_params(request)
    if accepted:
        identities.check_custody(identities.of(BOT_KEY), BINANCE, request, params)
        return
    with pytest.raises(NotAuthentic) as error:
        identities.check_custody(identities.of(BOT_KEY), BINANCE, request, params)
    assert error.value.reason is Reason.TIMESTAMP_OUTSIDE_WINDOW


async def test_a_changed_parameter_breaks_the_signature(house):
    """What was signed is what must come."""
    identities = house.parts.identities
    request = house.order()
    changed = type(request)(
        request.method, request.target, request.headers, request.body.replace(b"0.005", b"0.006"), request.peer
    )
    with pytest.raises(NotAuthentic) as error:
        identities.check_custody(identities.of(BOT_KEY), BINANCE, changed, BINANCE.read_params(changed))
    assert error.value.reason is Reason.SIGNATURE_INVALID


def stamp(house) -> int:
    """A timestamp of now, in milliseconds."""
    return int(house.clock.now().timestamp() * 1000)


async def test_a_claim_holds_until_it_is_taken_back_or_too_old(house):
    """The same signature twice is a replay; after taking it back it is not."""
    identities = house.parts.identities
    who = identities.of(BOT_KEY)
    identities.claim(who, "signature", stamp(house))
    with pytest.raises(NotAuthentic):
        identities.claim(who, "signature", stamp(house))
    identities.unclaim(who, "signature")
    identities.claim(who, "signature", stamp(house))
    house.forward(119)
    with pytest.raises(NotAuthentic):
        identities.claim(who, "signature", stamp(house))
    identities.claim(who, None, stamp(house))


async def test_what_was_signed_before_the_start_may_have_been_sent(house):
    """A restarted proxy remembers nothing, so the same captured order does not pass it a second time."""
    old = stamp(house) - 1
    restarted = Identities([bot()], clock=house.clock)
    with pytest.raises(NotAuthentic) as error:
        restarted.claim(restarted.of("key-1"), "signature", old)
    assert error.value.reason is Reason.REQUEST_REPLAYED
    restarted.claim(restarted.of("key-1"), "signature", stamp(house))


async def test_what_there_was_no_room_to_remember_may_have_been_sent(house, monkeypatch):
    """With more orders than can be remembered the oldest are forgotten, and nothing as old as them is taken."""
    monkeypatch.setattr("proxy.identity.REPLAY_MEMORY", 2)
    identities = Identities([bot()], clock=house.clock)
    house.forward(1)
    signed = stamp(house)
    for later_ms in range(3):
        identities.claim(bot(), f"signature-{later_ms}", signed + later_ms)

    with pytest.raises(NotAuthentic, match="signed before"):
        identities.claim(bot(), "signature-0", signed)
    identities.claim(bot(), "signature-3", signed + 3)


async def test_a_clock_set_back_brings_no_old_order_back(house):
    """The claim is forgotten after two minutes; setting the wall clock back does not make its order fresh."""
    identities = house.parts.identities
    who = identities.of(BOT_KEY)
    sent_at = stamp(house)
    identities.claim(who, "signature", sent_at)
    house.forward(200)
    house.clock.advance(to=house.clock.now() - timedelta(seconds=200))
    with pytest.raises(NotAuthentic):
        identities.claim(who, "signature", sent_at)


async def test_a_timestamp_from_the_future_does_not_make_later_orders_old(house):
    """A passthrough request nobody verified states the year 2286; forgotten, it must not shut everybody out."""
    identities = house.parts.identities
    who = identities.of(BOT_KEY)
    identities.claim(who, "made up", 9_999_999_999_999)
    house.forward(200)
    identities.claim(who, "honest", stamp(house))


@pytest.mark.parametrize("stated", [b"1.1", b"-0.5", b"NaN", b"high", b"1e-1", b"\xff", b""])
def test_a_confidence_that_is_no_plain_share_is_refused(stated):
    """Confidence is a plain decimal between 0 and 1, or the request is not understood."""
    with pytest.raises(OrderNotUnderstood):
        attributed(bot(), ((b"X-Risk-Confidence", stated),), ())


def test_the_caller_is_what_the_key_proves():
    """Account, exchange and strategy come from the settings; confidence is the bot's word."""
    caller, doubt = attributed(bot(), ((b"X-Risk-Confidence", b"0.8"),), (given.order(client_order_id="tr-1"),))
    assert (caller.account, caller.strategy, str(caller.confidence), doubt) == ("desk", "grid", "0.8", "")
    with pytest.raises(OrderNotUnderstood):
        attributed(bot(), ((b"x-risk-confidence", b"0.8"), (b"X-Risk-Confidence", b"0.9")), ())


def several(**changes):
    """A bot that trades for three strategies: one of its own, one by prefix or header, one by header."""
    return Bot(name="main", key="key-1", account=CUSTODY, strategy="grid", secret=b"s",
               prefixes={"trend": "tr-", "carry": None, **changes})  # fmt: skip


LEVERAGE = LeverageChange(symbol="BTCUSDT", leverage=given.number("2"))


def amendment(name):
    """An order that amends the one of this client id, and has none of its own."""
    return given.order(replaces=Replaced(mode=ReplaceMode.AMEND, order_id="7", client_order_id=name))


@pytest.mark.parametrize(
    ("header", "instructions", "strategy"),
    [
        (None, (given.order(),), "grid"),
        (None, (given.order(client_order_id="x-tr-1"),), "grid"),
        (None, (given.order(client_order_id="tr-1"),), "trend"),
        (None, (given.order(client_order_id="TR-1"),), "grid"),  # ids are compared with case
        (None, (amendment("tr-1"),), "trend"),
        (None, (given.order(client_order_id="tr-2"), given.order(client_order_id="tr-3")), "trend"),
        (None, (given.order(client_order_id="tr-2"), given.order()), "trend"),  # a leg without a name of its own
        (None, (LEVERAGE,), "grid"),
        (b"trend", (given.order(),), "trend"),
        (b"trend", (amendment(None),), "trend"),
        (b"carry", (given.order(client_order_id="mine-1"),), "carry"),
        (b"grid", (given.order(),), "grid"),
        (b"trend", (LEVERAGE,), "trend"),
        (b"trend", (given.order(client_order_id="tr-1"),), "trend"),
    ],
)
def test_an_order_names_one_of_the_strategies_of_its_bot(header, instructions, strategy):
    """By header or by how its client id begins; what says nothing is the bot's own."""
    headers = ((b"x-risk-strategy", header),) if header is not None else ()
    caller, doubt = attributed(several(), headers, instructions)
    assert (caller.strategy, caller.bot, caller.account, doubt) == (strategy, "main", "desk", "")


@pytest.mark.parametrize(
    ("headers", "names", "told"),
    [
        (("other",), (), "X-Risk-Strategy is 'other', for which bot main does not trade; expected carry, grid, trend"),
        (("k" * 64,), (), "X-Risk-Strategy is a text of 64 characters, for which bot main does not trade"),
        (("TREND",), (), "expected carry, grid, trend"),
        (("",), (), "expected carry, grid, trend"),
        (("tr\u00e9nd",), (), "expected carry, grid, trend"),
        (("trend", "trend"), (), "came more than once"),
        (("carry",), ("tr-1",), "X-Risk-Strategy is carry and the client order id says trend"),
        (("grid",), ("tr-1",), "X-Risk-Strategy is grid and the client order id says trend"),
        ((), ("tr-1", "mine"), "orders of the strategies grid, trend; send them apart"),
    ],
)
def test_what_names_another_or_no_single_strategy_is_in_doubt(headers, names, told):
    """The caller stays the bot with its own strategy, and the doubt says what was expected."""
    orders = tuple(given.order(client_order_id=name) for name in names) or (given.order(),)
    caller, doubt = attributed(several(), tuple((b"X-Risk-Strategy", one.encode()) for one in headers), orders)
    assert caller.strategy == "grid"
    assert told in doubt


def test_an_amendment_by_the_exchanges_id_alone_may_be_of_any_strategy():
    """A bot of several says which by the header; a bot of one has said so by its key."""
    caller, doubt = attributed(several(), (), (given.order(client_order_id="tr-1"), amendment(None)))
    assert (caller.strategy, doubt) == (
        "grid",
        "the amendment names its order by the exchange's id alone; say the strategy by X-Risk-Strategy: "
        "carry, grid, trend",
    )
    assert attributed(bot(), (), (amendment(None),))[1] == ""


def test_a_bot_of_one_strategy_cannot_name_another():
    """Also where nothing but its key was ever needed."""
    assert attributed(bot(), ((b"X-Risk-Strategy", b"grid"),), ())[1] == ""
    assert "expected grid" in attributed(bot(), ((b"X-Risk-Strategy", b"trend"),), ())[1]


def test_secrets_do_not_show():
    """Neither a bot's secret nor the venue's is in a repr."""
    shown = repr(bot(secret=BOT_SECRET)) + repr(CUSTODY)
    assert BOT_SECRET.decode() not in shown
    assert "venue-secret" not in shown


def test_strategies_are_listed_by_account():
    """Which strategies run on which account."""
    assert strategies_by_account([bot(), bot(name="b", key="k", strategy="slow"), several()]) == {
        "desk": frozenset({"grid", "slow", "trend", "carry"})
    }

"""The histories of a spot wallet, told by a venue that says exactly what a test wants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from proxy.clock import SystemClock
from proxy.exchanges.base import Credentials
from proxy.feeds import FeedFailed, Malformed, Venue
from proxy.feeds.stamps import stamp
from proxy.feeds.transfers import BETWEEN_WALLETS, DEPOSITS, SUB_ACCOUNT, WITHDRAWALS, SpotTransfers
from tests.canary import KEY, SECRET
from tests.proxy.feeds.conftest import failing

D = Decimal
NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SINCE, KNOWN_TO = NOW - timedelta(minutes=5), NOW - timedelta(minutes=4)
AT_MS = int(stamp(NOW - timedelta(minutes=1)))


@pytest.fixture
def transfers(venue_server, session):
    """Every history is empty unless a test fills it; a SOL is worth 150."""
    venue_server.answers |= {DEPOSITS: [], WITHDRAWALS: [], BETWEEN_WALLETS: {"total": 0}, SUB_ACCOUNT: []}
    credentials = Credentials(api_key=KEY, secret=SECRET)
    venue = Venue(session, venue_server.origin, SystemClock(), credentials=credentials)

    async def worth(coin, at):
        return D(150) if coin == "SOL" else D(1)

    return SpotTransfers(venue, worth, lambda: NOW)


async def told(transfers, counted=()):
    """What is told, as amounts by key, with the spans."""
    flows = await transfers.read(SINCE, KNOWN_TO, NOW, counted)
    return {flow.key: (flow.amount, flow.at, flow.until) for flow in flows}


def deposit(**changed):
    """A row of the deposit history."""
    return {"id": "1", "amount": "2", "coin": "SOL", "status": 1, "walletType": 0, "insertTime": AT_MS} | changed


async def test_a_deposit_counts_when_it_was_credited(transfers, venue_server):
    """In the account's money, at the instant the venue names."""
    venue_server.answers[DEPOSITS] = [deposit(completeTime=AT_MS + 1000)]
    at = NOW - timedelta(seconds=59)

    assert await told(transfers) == {"deposit:1": (300, at, at)}


@pytest.mark.parametrize(
    "changed", [{"status": 0}, {"status": 2}, {"status": 7}, {"status": 8}, {"walletType": 1}]
)
async def test_what_is_not_credited_to_spot_is_none(transfers, venue_server, changed):
    """Pending, rejected, wrong, waiting, or for the funding wallet."""
    venue_server.answers[DEPOSITS] = [deposit(**changed)]

    assert await told(transfers) == {}


async def test_a_credit_without_its_time_happened_since_we_last_looked(transfers, venue_server):
    """First seen long ago, credited at some moment up to now."""
    venue_server.answers[DEPOSITS] = [deposit(insertTime=AT_MS - 86_400_000)]

    assert await told(transfers) == {"deposit:1": (300, KNOWN_TO, NOW)}


def withdrawal(**changed):
    """A row of the withdrawal history."""
    return {
        "id": "w", "amount": "99", "transactionFee": "1", "coin": "USDT", "status": 4, "walletType": 0,
        "applyTime": "2026-03-04 11:59:00",
    } | changed  # fmt: skip


@pytest.mark.parametrize("status", [0, 2, 4, 6])
async def test_a_withdrawal_goes_with_its_fee_within_the_second_of_its_request(transfers, venue_server, status):
    """The balance is debited when it is applied for, whatever becomes of it later."""
    venue_server.answers[WITHDRAWALS] = [withdrawal(status=status)]
    at = NOW - timedelta(minutes=1)

    assert await told(transfers) == {"withdrawal:w": (-100, at, at + timedelta(seconds=1))}


@pytest.mark.parametrize("status", [1, 3, 5])
async def test_a_withdrawal_that_was_counted_and_failed_comes_back(transfers, venue_server, status):
    """At the time it is told to, or at some moment since we last looked."""
    venue_server.answers[WITHDRAWALS] = [withdrawal(status=status, completeTime="2026-03-04 11:59:30")]
    back = NOW - timedelta(seconds=30)
    assert await told(transfers, {"withdrawal:w"}) == {
        "withdrawal:w:back": (100, back, back + timedelta(seconds=1))
    }
    venue_server.answers[WITHDRAWALS] = [withdrawal(status=status)]

    assert await told(transfers, {"withdrawal:w"}) == {"withdrawal:w:back": (100, KNOWN_TO, NOW)}


async def test_a_withdrawal_that_failed_unseen_only_blurs(transfers, venue_server):
    """Nothing moved in the end, and readings in between say nothing."""
    venue_server.answers[WITHDRAWALS] = [withdrawal(status=5)]

    assert await told(transfers) == {"withdrawal:w:void": (0, NOW - timedelta(minutes=1), NOW)}


async def test_a_withdrawal_from_another_wallet_is_none(transfers, venue_server):
    """The funding wallet is not spot."""
    venue_server.answers[WITHDRAWALS] = [withdrawal(walletType=1)]

    assert await told(transfers) == {}


async def test_a_time_that_cannot_be_read_is_malformed(transfers, venue_server):
    """A history that is not understood explains nothing."""
    venue_server.answers[WITHDRAWALS] = [withdrawal(applyTime="yesterday")]

    with pytest.raises(Malformed, match="applyTime"):
        await told(transfers)


async def test_a_transfer_that_is_not_confirmed_is_none(transfers, venue_server):
    """Pending and failed ones have moved nothing."""
    row = {"asset": "USDT", "amount": "5", "type": "MAIN_FUNDING", "tranId": 7, "timestamp": AT_MS}
    venue_server.answers[BETWEEN_WALLETS] = lambda request: _answer(
        {"total": 2, "rows": [row | {"status": "PENDING"}, row | {"status": "CONFIRMED", "tranId": 8}]}
        if request.query["type"] == "MAIN_FUNDING" else {"total": 0}
    )  # fmt: skip

    assert {key: flow[0] for key, flow in (await told(transfers)).items()} == {"MAIN_FUNDING:8": -5}


async def test_every_direction_of_every_wallet_is_asked_for(transfers, venue_server):
    """Six other wallets, there and back."""
    await told(transfers)
    asked = {request.query["type"] for request in venue_server.asked if request.path == BETWEEN_WALLETS}

    assert len(asked) == 12
    assert {"MAIN_UMFUTURE", "UMFUTURE_MAIN", "MAIN_PORTFOLIO_MARGIN", "FUNDING_MAIN"} <= asked


@pytest.mark.parametrize(
    ("changed", "amount"),
    [
        ({"type": 1}, 40), ({"type": 2}, -40), ({"type": 1, "toAccountType": "USDT_FUTURE"}, None),
        ({"type": 2, "fromAccountType": "USDT_FUTURE"}, None), ({"type": 1, "status": "FAILURE"}, None),
    ],
)  # fmt: skip
async def test_what_the_master_sends_and_takes(transfers, venue_server, changed, amount):
    """Only what touches the spot wallet and succeeded."""
    venue_server.answers[SUB_ACCOUNT] = [{
        "asset": "USDT", "qty": "40", "fromAccountType": "SPOT", "toAccountType": "SPOT", "status": "SUCCESS",
        "tranId": 3, "time": AT_MS,
    } | changed]  # fmt: skip

    found = await told(transfers)
    assert [flow[0] for flow in found.values()] == ([] if amount is None else [amount])


async def test_who_is_no_sub_account_is_asked_once(transfers, venue_server):
    """The venue says so with a code of its own."""
    venue_server.answers[SUB_ACCOUNT] = failing(400, text='{"code": -12022, "msg": "only for sub-account"}')
    await told(transfers)
    await told(transfers)

    assert venue_server.paths().count(SUB_ACCOUNT) == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [(400, '{"code": -1021}'), (400, '{"code": -2015}'), (429, '{"code": -12022}'), (500, "{}"), (400, "{}")],
)
async def test_any_other_refusal_explains_nothing(transfers, venue_server, status, text):
    """A wrong clock, a refused key, too many requests, a fault of the venue: asked again, never taken for 'none'."""
    venue_server.answers[SUB_ACCOUNT] = failing(status, text=text)

    with pytest.raises(FeedFailed):
        await told(transfers)


async def test_more_than_an_answer_holds_explains_nothing(transfers, venue_server):
    """500 transfers with the master in one answer: there may be more."""
    row = {"asset": "USDT", "qty": "1", "toAccountType": "SPOT", "type": 1, "status": "SUCCESS", "time": AT_MS}
    venue_server.answers[SUB_ACCOUNT] = [row | {"tranId": number} for number in range(1, 501)]

    with pytest.raises(FeedFailed, match="more transfers"):
        await told(transfers)


def _answer(found):
    from aiohttp import web

    return web.json_response(found)

"""Money that comes and goes at the simulated exchange, and the histories that tell of it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pytest

from tests.proxy.simulator.conftest import NOW, NOW_MS

D = Decimal


@pytest.fixture
def exchange(sim):
    """The exchange, its account being a sub-account with 1,000 USDT and 2 SOL, and 500 USDT in futures."""
    account = sim.accounts["main"]
    account.balance("USDT").free, account.balance("SOL").free = D(1000), D(2)
    account.wallet, account.is_sub_account = D(500), True
    return sim


@pytest.fixture
def main(exchange):
    """Its account."""
    return exchange.accounts["main"]


@pytest.fixture
def ask(bot):
    """Ask as a bot, with parameters by name."""
    return lambda method, path, **params: bot(method, path, urlencode(params))


async def test_a_deposit_and_a_withdrawal_move_the_balance_and_are_listed(exchange, main, ask):
    """As the venue writes them: instants of a deposit in milliseconds, of a withdrawal as text."""
    exchange.treasury.deposit(main, "USDT", D("50.5"))
    exchange.treasury.withdraw(main, "USDT", D(10), D("0.8"))
    exchange.treasury.deposit(main, "USDT", D(1), timed=False)

    older, newer = (await ask("GET", "/sapi/v1/capital/deposit/hisrec")).json[::-1]
    assert (older["amount"], older["status"], older["insertTime"], older["completeTime"]) == (
        "50.5", 1, NOW_MS - 60_000, NOW_MS,
    )  # fmt: skip
    assert "completeTime" not in newer
    (gone,) = (await ask("GET", "/sapi/v1/capital/withdraw/history")).json
    assert (gone["amount"], gone["transactionFee"], gone["applyTime"]) == ("10", "0.8", "2026-11-20 12:00:00")
    assert main.balances["USDT"].free == D("1040.7")


async def test_offsets_page_through_deposits(exchange, main, ask):
    """Newest first, from an offset on, and never more than asked for."""
    for amount in range(1, 6):
        exchange.treasury.deposit(main, "USDT", D(amount))
    page = (await ask("GET", "/sapi/v1/capital/deposit/hisrec", offset="1", limit="2")).json

    assert [row["amount"] for row in page] == ["4", "3"]
    assert (await ask("GET", "/sapi/v1/capital/deposit/hisrec", limit="1001")).code == -1130
    ninety_one = str(NOW_MS - 91 * 86_400_000)
    refused = await ask("GET", "/sapi/v1/capital/deposit/hisrec", startTime=ninety_one, endTime=str(NOW_MS))
    assert refused.code == -1130


async def test_a_failed_withdrawal_is_given_back(exchange, main, ask):
    """Status 5, and the coins with their fee."""
    identifier = exchange.treasury.withdraw(main, "USDT", D(10), D(1))
    exchange.treasury.fail_withdrawal(main, identifier)

    (row,) = (await ask("GET", "/sapi/v1/capital/withdraw/history")).json
    assert (row["id"], row["status"], main.balances["USDT"].free) == (identifier, 5, 1000)


async def test_transfers_between_wallets_are_listed_by_type(exchange, main, ask):
    """Both wallets move, and futures tell it as income too; a type must be named."""
    exchange.treasury.transfer(main, "MAIN_UMFUTURE", "USDT", D(100))
    exchange.treasury.transfer(main, "UMFUTURE_MAIN", "USDT", D(30))

    out = (await ask("GET", "/sapi/v1/asset/transfer", type="MAIN_UMFUTURE")).json
    assert (out["total"], out["rows"][0]["amount"], out["rows"][0]["status"]) == (1, "100", "CONFIRMED")
    assert (await ask("GET", "/sapi/v1/asset/transfer", type="MAIN_MARGIN")).json == {"total": 0}
    assert (await ask("GET", "/sapi/v1/asset/transfer")).code == -1102
    assert (await ask("GET", "/sapi/v1/asset/transfer", type="MOON_MAIN")).code == -1130
    assert (await ask("GET", "/sapi/v1/asset/transfer", type="MAIN_MARGIN", size="101")).code == -1130
    assert (main.balances["USDT"].free, main.wallet) == (930, 570)
    lines = (await ask("GET", "/fapi/v1/income", incomeType="TRANSFER")).json
    assert [line["income"] for line in lines] == ["100.00000000", "-30.00000000"]


async def test_numbered_pages_of_transfers(exchange, main, ask):
    """Ten a page unless asked otherwise; the total is that of all."""
    for _ in range(12):
        exchange.treasury.transfer(main, "MAIN_FUNDING", "USDT", D(1))
    first = (await ask("GET", "/sapi/v1/asset/transfer", type="MAIN_FUNDING")).json
    second = (await ask("GET", "/sapi/v1/asset/transfer", type="MAIN_FUNDING", current="2")).json

    assert (first["total"], len(first["rows"]), len(second["rows"])) == (12, 10, 2)


async def test_a_sub_account_sees_its_transfers_and_others_are_refused(exchange, main, ask):
    """Type 1 came, type 2 went."""
    exchange.treasury.sub_transfer(main, "USDT", D(20))
    exchange.treasury.sub_transfer(main, "USDT", D(-5))
    rows = (await ask("GET", "/sapi/v1/sub-account/transfer/subUserHistory")).json
    assert [(row["type"], row["qty"]) for row in rows] == [(2, "5"), (1, "20")]
    main.is_sub_account = False

    assert (await ask("GET", "/sapi/v1/sub-account/transfer/subUserHistory")).code == -12022


async def test_dust_becomes_bnb_less_a_charge(exchange, main, ask):
    """2 SOL of 150 at 600 a BNB: half a BNB, less 2 %."""
    assert exchange.treasury.convert_dust(main, "SOL") == D("0.49")
    found = (await ask("GET", "/sapi/v1/asset/dribblet")).json

    assert (found["total"], found["userAssetDribblets"][0]["totalServiceChargeAmount"]) == (1, "0.01000000")
    assert main.balances["SOL"].free == 0


@pytest.mark.parametrize("page", [None, "1", "2"])
async def test_income_comes_oldest_first_in_pages(exchange, main, ask, page):
    """A hundred a page unless asked otherwise."""
    for _ in range(150):
        exchange.treasury.income(main, "FUNDING_FEE", D(-1))
    more = {} if page is None else {"page": page}
    lines = (await ask("GET", "/fapi/v1/income", **more)).json

    assert len(lines) == (50 if page == "2" else 100)


async def test_income_is_bounded_in_time_and_type(exchange, main, ask):
    """Both ends are included; an unknown type and a page too large are refused; old lines are gone."""
    exchange.treasury.income(main, "FUNDING_FEE", D(-1))
    at = str(NOW_MS)
    before, after = str(NOW_MS - 1), str(NOW_MS + 1)

    assert len((await ask("GET", "/fapi/v1/income", startTime=at, endTime=at)).json) == 1
    assert (await ask("GET", "/fapi/v1/income", endTime=before)).json == []
    assert (await ask("GET", "/fapi/v1/income", startTime=after, endTime=after)).json == []
    assert (await ask("GET", "/fapi/v1/income", startTime=after, endTime=before)).code == -1130
    assert (await ask("GET", "/fapi/v1/income", incomeType="MOON")).code == -1130
    assert (await ask("GET", "/fapi/v1/income", limit="1001")).code == -1130
    main.income[0]["time"] -= 8 * 86_400_000
    assert (await ask("GET", "/fapi/v1/income")).json == []
    assert len((await ask("GET", "/fapi/v1/income", startTime="1")).json) == 1
    main.income[0]["time"] -= 90 * 86_400_000
    assert (await ask("GET", "/fapi/v1/income", startTime="1")).json == []


async def test_histories_may_lag_behind_balances(exchange, main, ask, clock):
    """What happened is told two seconds later."""
    exchange.treasury.history_lag_ms = 2000
    exchange.treasury.deposit(main, "USDT", D(5))
    assert (await ask("GET", "/sapi/v1/capital/deposit/hisrec")).json == []
    clock.advance(to=NOW + timedelta(seconds=2))

    assert len((await ask("GET", "/sapi/v1/capital/deposit/hisrec")).json) == 1


async def test_fees_are_paid_in_bnb_where_there_is_enough(exchange, main, ask):
    """The futures wallet lists BNB beside USDT, and the fill names the coin of its fee."""
    exchange.futures.fee_rate = D("0.001")
    exchange.treasury.income(main, "TRANSFER", D("0.01"), coin="BNB")
    main.burns_bnb = True
    await ask("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.002")
    assets = {row["asset"]: row["walletBalance"] for row in (await ask("GET", "/fapi/v3/account")).json["assets"]}
    (fill,) = (await ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", startTime=str(NOW_MS))).json

    assert (fill["commissionAsset"], fill["commission"]) == ("BNB", "0.00020002")
    assert assets == {"USDT": "500.00000000", "BNB": "0.00979998"}


async def test_what_cannot_be_is_refused_at_once(exchange, main):
    """A mistake in a test is told where it is made."""
    with pytest.raises(ValueError, match="MAIN_UMFUTURE"):
        exchange.treasury.transfer(main, "MOON", "USDT", D(1))
    with pytest.raises(ValueError, match="income"):
        exchange.treasury.income(main, "MOON", D(1))

"""Which transfers are in which reading, and what is assumed until that is known."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest

from proxy.ledger.wallet import Wallet
from tests.proxy.ledger.made import Truth, at, flow, sample

D = Decimal
NO_SKEW = timedelta(0)


def begun(skew: timedelta = NO_SKEW) -> Wallet:
    """A wallet with 1,000, first read at second 0 and explained up to there."""
    wallet = Wallet(skew)
    wallet.take(sample("1000", 0))
    wallet.learn([], at(0))
    return wallet


def placed_all(wallet: Wallet) -> None:
    """Place what can be placed."""
    while wallet.place():
        pass


def test_the_first_reading_is_where_everything_begins():
    """It needs no explanation, and what was transferred before it is none of our business."""
    wallet = begun()
    wallet.learn([flow("500", -3)], at(5))
    wallet.take(sample("1000", 10))
    placed_all(wallet)

    assert (wallet.total, wallet.flows) == (0, {})


def test_prices_alone_need_no_explanation():
    """Cash is the same: the reading counts at once, without the history."""
    wallet = begun()
    wallet.take(sample("900", 2, balance="1000"))

    assert wallet.place()
    assert wallet.placed.equity == 900
    assert wallet.provisional()[2] == 0


def test_a_deposit_seen_before_its_history_is_no_gain_meanwhile():
    """500 came from nobody knows where: taken for a deposit, not placed until the history says so."""
    wallet = begun()
    wallet.take(sample("1500", 2))

    assert not wallet.place()
    assert wallet.provisional()[1:] == (0, 500)

    wallet.learn([flow("500", 1)], at(3))

    assert wallet.place()
    assert (wallet.total, wallet.provisional()[1:]) == (500, (500, 0))


def test_a_gain_seen_before_its_history_counts_once_it_is_explained():
    """The same 500, won by trading: the history read later holds no transfer."""
    wallet = begun()
    wallet.take(sample("1500", 2))
    wallet.learn([], at(3))

    assert wallet.place()
    assert (wallet.total, wallet.provisional()[1:]) == (0, (0, 0))


def test_a_withdrawal_seen_before_its_history_counts_as_a_loss_meanwhile():
    """What went is taken for lost until the history says otherwise, and it is not placed."""
    wallet = begun()
    wallet.take(sample("400", 2))

    assert not wallet.place()
    assert wallet.provisional()[0].equity == 400
    assert wallet.provisional()[1:] == (0, 0)


def test_a_transfer_in_the_history_before_it_is_read_waits_for_its_reading():
    """The history knows of 500 that the last reading cannot hold: they are not counted before one does."""
    wallet = begun()
    wallet.learn([flow("500", 5)], at(6))

    assert (wallet.total, wallet.provisional()[1:]) == (0, (0, 0))

    wallet.take(sample("1500", 7))

    assert wallet.provisional()[1:] == (500, 0)


def test_a_history_read_before_the_reading_explains_nothing():
    """It was complete up to second 1; the reading is of second 2."""
    wallet = begun()
    wallet.take(sample("400", 2))
    wallet.learn([], at(1))

    assert not wallet.place()


def test_a_reading_on_its_way_during_a_transfer_is_passed_over():
    """In it or not, nobody can tell: the next reading is placed instead."""
    wallet = begun()
    wallet.take(sample("1500", 2, took_s=1))
    wallet.take(sample("1500", 5, took_s=1))
    wallet.learn([flow("500", 2.5)], at(10))
    placed_all(wallet)

    assert (wallet.placed.sent, wallet.total, len(wallet.ready)) == (at(5), 500, 2)


@pytest.mark.parametrize(("seconds", "placed"), [(1.0, False), (1.9, False), (2.1, True)])
def test_clocks_may_be_apart_by_the_skew(seconds, placed):
    """A transfer less than a second before the reading might be after it."""
    wallet = begun(timedelta(seconds=1))
    wallet.take(sample("1500", 1 + seconds))
    wallet.learn([flow("500", 2)], at(10))
    wallet.place()

    assert (wallet.placed.equity == 1500) is placed


def test_a_transfer_with_a_span_blurs_all_of_it():
    """A withdrawal is told to the second; a reading within that second is passed over."""
    wallet = begun()
    wallet.take(sample("500", 2.5))
    wallet.learn([flow("-500", 2, until_s=3)], at(10))
    placed_all(wallet)

    assert wallet.placed.equity == 1000


def test_accounts_that_lag_behind_the_history_are_waited_for():
    """The history has the transfer and the balance does not show it yet: no figure is taken from that."""
    wallet = begun()
    wallet.learn([flow("500", 1)], at(3))
    wallet.take(sample("1000", 2))
    placed_all(wallet)

    assert (wallet.placed.sent, wallet.total) == (at(0), 0)


def test_a_quiet_wallet_does_not_take_a_late_transfer_for_an_old_one():
    """The balance showed it only three seconds after it was booked; readings in between were placed without it."""
    wallet = begun()
    for second in (2, 3, 4):
        wallet.take(sample("1000", second))
    placed_all(wallet)
    late = wallet.learn([flow("500", 1)], at(5))
    wallet.take(sample("1500", 6))
    wallet.learn([], at(7))
    placed_all(wallet)

    assert (late, wallet.total, wallet.placed.equity) == (0, 500, 1500)


def test_a_history_that_said_too_little_is_corrected():
    """A withdrawal that turns up after the history had been called complete is told, and counted from there on."""
    wallet = begun()
    wallet.take(sample("400", 2))
    wallet.learn([], at(3))
    placed_all(wallet)

    assert wallet.learn([flow("-600", 1)], at(9)) == -600
    assert (wallet.total, wallet.ready[-1].total, wallet.ready[0].total) == (-600, -600, 0)


def test_the_same_transfer_counts_once():
    """Histories overlap."""
    wallet = begun()
    for second in (5, 6, 7):
        wallet.learn([flow("500", 1, key="tran 1")], at(second))
    wallet.take(sample("1500", 3))
    placed_all(wallet)

    assert wallet.total == 500


def test_old_transfers_are_folded_and_still_count():
    """After eight days nobody asks for them one by one."""
    wallet = begun()
    wallet.learn([flow("500", 1)], at(5))
    wallet.take(sample("1500", 3))
    placed_all(wallet)
    wallet.learn([], at(9 * 86400))
    wallet.take(sample("1700", 8 * 86400))
    placed_all(wallet)

    assert (wallet.flows, wallet.folded, wallet.total) == ({}, 500, 500)


def test_a_reading_from_before_the_last_one_is_not_taken():
    """Answers may overtake each other."""
    wallet = begun()
    wallet.take(sample("900", 5))
    wallet.take(sample("800", 4))

    assert [one.equity for one in wallet.pending] == [900]


@pytest.mark.parametrize("seed", range(60))
def test_every_placed_reading_holds_exactly_the_transfers_that_were_in_it(seed):
    """Random fills, prices and transfers, read and explained in any order: against what really happened."""
    pick = Random(seed)
    truth, wallet = Truth(pick), Wallet(timedelta(seconds=0.001))
    wallet.take(sample("10000", 0))
    truth.now_s = 1.0
    for _ in range(150):
        truth.wait()
        step = pick.choice(["read"] * 4 + ["trade", "move", "move", "transfer", "history"])
        if step == "read":
            wallet.take(truth.read())
        elif step == "history":
            wallet.learn(truth.flows[pick.randint(0, len(wallet.flows)) :], at(truth.now_s))
        else:
            getattr(truth, step)()
        placed_all(wallet)
    truth.wait()
    wallet.learn(truth.flows, at(truth.now_s))
    placed_all(wallet)

    inside = {one.sent: total for one, total in truth.samples} | {at(0): D(0)}
    assert [one.total for one in wallet.ready] == [inside[one.sample.sent] for one in wallet.ready]
    assert len(wallet.ready) > 10
    assert not wallet.pending

"""Names of what was sent: each stands for one order of the venue's, and for no second one."""

from __future__ import annotations

from proxy.sent import Sent
from rules import Market

HERE = ("main", Market.LINEAR, "BTCUSDT")


def test_an_order_is_known_by_the_name_it_was_sent_under_and_then_by_its_id():
    """Told of before its answer: the client id speaks for it once, its own id from then on."""
    sent = Sent()
    sent.expect(*HERE, "mine")
    assert sent.knows(*HERE, "7", "mine")
    assert sent.knows(*HERE, "7", "renamed")
    assert not sent.knows(*HERE, "8", "mine"), "a second order under the same name is somebody else's"


def test_an_answer_that_comes_first_uses_the_name_up():
    """Accepted as 7, then told as 7: the name does not stand for an eighth."""
    sent = Sent()
    sent.expect(*HERE, "mine")
    sent.accepted(*HERE, "7", "mine")
    assert sent.knows(*HERE, "7", "mine")
    assert not sent.knows(*HERE, "8", "mine")


def test_a_name_that_was_refused_stands_for_nothing():
    """What the venue never took cannot be found there."""
    sent = Sent()
    sent.expect(*HERE, "mine")
    sent.expect(*HERE, "mine")
    sent.refused(*HERE, "mine")
    assert sent.knows(*HERE, "7", "mine"), "the other one is still on its way"
    assert not sent.knows(*HERE, "8", "mine")


def test_names_are_of_an_account_market_and_symbol():
    """The same id elsewhere is another order."""
    sent = Sent()
    sent.accepted(*HERE, "7", None)
    assert not sent.knows("other", Market.LINEAR, "BTCUSDT", "7", None)
    assert not sent.knows("main", Market.SPOT, "BTCUSDT", "7", None)
    assert not sent.knows("main", Market.LINEAR, "ETHUSDT", "7", None)


def test_only_the_latest_names_are_kept():
    """What a bot makes up does not pile up."""
    sent = Sent(names_max=2)
    for number in range(5):
        sent.expect(*HERE, f"c{number}")
        sent.accepted(*HERE, str(number), None)
    assert [sent.knows(*HERE, str(number), None) for number in range(5)] == [False, False, False, True, True]

"""What people are shown of a permit, and who a signer is."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from proxy.permits import State
from tests.proxy.permits.conftest import ANN, signer
from tests.proxy.permits.test_file import PERMIT

ORDER = PERMIT.orders[0]


@pytest.mark.parametrize(
    ("orders", "line"),
    [
        ((ORDER,), "BUY 1 BTCUSDT"),
        ((ORDER | {"quantity": None, "quote_quantity": "50"},), "BUY for 50 BTCUSDT"),
        ((ORDER | {"quantity": None, "close_position": True},), "BUY all BTCUSDT"),
        ((ORDER,) * 5, "BUY 1 BTCUSDT, BUY 1 BTCUSDT, BUY 1 BTCUSDT and 2 more"),
    ],
)
def test_people_read_the_order_in_one_line(orders, line):
    """What it is, what it is worth, whose it is."""
    assert replace(PERMIT, orders=orders).headline == f"{line} worth 59000.10 of main, bot one"


def test_a_document_has_everything_and_is_json():
    """What was decided, by whom, until when, and what became of it; amounts as exact text."""
    used = replace(PERMIT, state=State.USED, used_by="d-2", first=ANN)
    shown = orjson.loads(orjson.dumps(used.document()))

    assert (shown["state"], shown["used_by"], shown["first"]) == ("used", "d-2", "ann")
    assert (shown["notional"], shown["prices"], shown["granted_by"]) == (
        "59000.10", {"BTCUSDT": "59000.1"}, ["ann", "bob"],
    )  # fmt: skip
    assert used.note == "override ov-1 of ann and bob"


def test_the_first_token_is_nobodys_own():
    """Who holds it may be anybody."""
    assert (signer("ann").is_own, signer("bootstrap").is_own) == (True, False)
    assert signer(" Ann  Lee").folded == "ann lee"

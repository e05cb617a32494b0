"""Every kind of order a client can send is read, judged and accepted, in both key modes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.clients import matrix
from tests.clients.forms import FORMS, NOT_A_FORM, prepared
from tests.clients.parts import SUBJECTS, Request

pytestmark = pytest.mark.client

# Forms that some way of using some client has not; every other one must be shown.
MISSING = {
    "ccxt-spot": {"reduce_only", "oco", "batch", "leverage", "margin_mode"},
    "ccxt-futures": {"market_by_cost", "oco"},
    "python-binance-spot": {"reduce_only", "batch", "leverage", "margin_mode"},
    "python-binance-futures": {"market_by_cost", "oco", "margin_mode"},
    "binance-connector-spot": {"reduce_only", "batch", "leverage", "margin_mode"},
    "binance-futures-connector-futures": {"market_by_cost", "stop_loss", "oco", "margin_mode"},
    "binance-sdk-futures": {"market_by_cost", "oco", "margin_mode"},
}
CASES = [
    pytest.param(subject, form, id=f"{subject}-{form}")
    for subject in SUBJECTS
    for form in FORMS
    if form not in MISSING[f"{subject.environment}-{subject.market}"]
]


@pytest.mark.parametrize(("subject", "form"), CASES)
def test_every_form_is_accepted(client, house, form):
    """The exchange accepts what came through; from a passthrough bot, as the bot wrote it."""
    given = prepared(client, form)
    written_before, arrived_before = len(house.sent()), len(house.arrived())

    answer = client.place(form=form, **given)

    if form == "margin_mode":  # the exchange's own words pass through, and ccxt knows them
        assert answer["exception"] == "MarginModeAlreadySet", answer
    else:
        assert answer["outcome"] == "ok", answer
    written = [Request.read(raw) for raw in house.sent()[written_before:]]
    [sent] = [one for one in written if one.method in ("POST", "PUT")]
    [arrived] = [
        one
        for one in house.arrived()[arrived_before:]
        if one["method"] == sent.method and one["target"].partition("?")[0] == sent.target.partition("?")[0]
    ]
    assert arrived["status"] == (400 if form == "margin_mode" else 200)
    if client.mode == "passthrough":
        assert (arrived["target"], arrived["body"]) == (sent.target, sent.body)


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_what_a_client_lacks_is_listed(client):
    """A form that is left out above really is unknown to the driver or the client, not merely untested."""
    for form in MISSING[f"{client.subject.environment}-{client.subject.market}"]:
        answer = client.place(form=form, quantity=FORMS[form][0], price=FORMS[form][1])
        assert answer["outcome"] == "raised", form
        assert answer["exception"] in NOT_A_FORM, (form, answer)


def test_a_market_order_by_cost_is_scaled_in_its_own_unit(client_in, house):
    """An order in quote currency that is too large is made smaller in quote currency."""
    for subject in (one for one in SUBJECTS if one.market == "spot"):
        client = client_in(house, subject, "custody")

        answer = client.place("2000", form="market_by_cost")

        assert answer["outcome"] == "ok", answer
        [arrived] = house.orders()
        request = Request(arrived["method"], arrived["target"], arrived["headers"], arrived["body"])
        assert Decimal(request.parameters()["quoteOrderQty"]) <= 600


@pytest.mark.parametrize("subject", [one for one in SUBJECTS if one.market == "futures"], ids=str)
def test_a_batch_that_is_too_large_is_refused_whole(client, house):
    """No leg of it arrives, and the client raises what it was measured to raise."""
    answer = client.place("0.05", form="batch")

    assert answer["exception"] == matrix.raises(client.subject, 403, -2010), answer
    assert house.orders() == []

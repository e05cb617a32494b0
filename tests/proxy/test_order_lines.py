"""The log lines of a decision, made without the logger: what they hold, and that they are JSON whatever they hold."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from proxy.order_lines import as_line, told_by_risk_guard, told_of
from proxy.risk_guard import APPROVED
from rules import Caller, LeverageChange, OrderType, Reason, Verdict, evaluate
from tests import given

CALLER = Caller(account="main", exchange="binance", strategy="grid", bot="grid1")
ORDER = given.order(quantity="0.002", price="64240.50")


def decided(**changed):
    """The order as the gate allows it; `changed` are fields of the decision."""
    decision = evaluate(ORDER, given.facts(), given.limits())
    assert decision.verdict is Verdict.ALLOW
    return decision._replace(**changed)


def told(decision, instructions):
    """What is told of it."""
    return told_of(
        decision, CALLER, decision_id="d-1", instructions=instructions, endpoint="POST /fapi/v1/order",
        outcome="accepted", took_s=0.000250, upstream_s=0.02, profile="NORMAL",
    )  # fmt: skip


@drawn(name=st.text(max_size=40), sentence=st.text(max_size=80))
def test_a_line_is_one_line_of_json_that_says_what_it_was_given(name, sentence):
    """Event, level and time come first; quotes, line ends and control characters of any text break nothing."""
    line = as_line("order.decided", "2026-03-01T12:00:00.000000Z", {"strategy": name, "sentence": sentence, "n": 1})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "event": "order.decided", "level": "info", "timestamp": "2026-03-01T12:00:00.000000Z",
        "strategy": name, "sentence": sentence, "n": 1,
    }  # fmt: skip


def test_an_allowed_order_is_told_without_a_factor_and_scaled_ones_with_theirs():
    """A factor of one says nothing."""
    line = told(decided(), [ORDER])
    assert (line["decision"], line["scale_factor"], line["took_us"], line["upstream_us"]) == ("allow", None, 250, 20000)
    assert line["orders"] == ["BUY 0.002 BTCUSDT LIMIT at 64240.50"]
    scaled = told(decided(verdict=Verdict.SCALE_DOWN, scale_factor=Decimal("0.5")), [ORDER])
    assert scaled["scale_factor"] == Decimal("0.5")


@pytest.mark.parametrize(
    ("instruction", "brief"),
    [
        (given.order(type=OrderType.MARKET, quantity="1.50", price=None), "BUY 1.50 BTCUSDT MARKET"),
        (LeverageChange(symbol="ETHUSDT", leverage=Decimal(20)), "LeverageChange ETHUSDT"),
        (LeverageChange(symbol=None, leverage=Decimal(5)), "LeverageChange"),
    ],
    ids=["market", "leverage", "no symbol"],
)
def test_an_instruction_is_told_in_a_few_words(instruction, brief):
    """Side, amount, symbol, type, price: what is there."""
    assert told(decided(), [instruction])["orders"] == [brief]


def test_risk_guard_tells_what_it_knew_and_nothing_else():
    """An allow has its event; a block by a rule that it did not have has none."""
    event, beside = told_by_risk_guard(decided(), CALLER, [ORDER], "d-1", "NORMAL")
    assert (event, beside["trace_id"], beside["symbol"], beside["observed"]) == (APPROVED, "d-1", "BTCUSDT", None)
    unknown = decided(verdict=Verdict.BLOCK, reason=Reason.ORDER_RATE_EXCEEDS_LIMIT)
    assert told_by_risk_guard(unknown, CALLER, [ORDER], "d-1", "NORMAL") is None

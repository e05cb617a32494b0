"""The path that takes the time answers as the plain one does, and tells each stage of each order once."""

import asyncio

import pytest

from proxy.errors import UpstreamSilent, UpstreamUnreachable
from proxy.telemetry import TracedPipeline
from rules import EssLevel
from tests.house import PLAIN_KEY, VENUE_SECRET, open_house

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAGES = ["read", "gather", "judge", "record", "forward"]


@pytest.fixture
async def house(tmp_path):
    """A pipeline that hands its traces to a list."""
    async with open_house(tmp_path) as house:
        house.traces = []
        house.pipeline = TracedPipeline(house.parts, house.traces.append)
        yield house


def names_of(trace):
    """The stages in the order in which they began."""
    return [name for name, *_ in sorted(trace.stages, key=lambda stage: STAGES.index(stage[0]))]


async def test_an_allowed_order_is_told_stage_by_stage(house):
    """Read, gathered for, judged, recorded, forwarded; with the decision's name, verdict and reason."""
    answer, _ = await house.ask(house.order(headers=((b"TraceParent", PARENT), (b"tracestate", b"a=b"))))

    (trace,) = house.traces
    assert names_of(trace) == STAGES
    assert all(trace.began_s <= from_s <= to_s <= trace.ended_s for _, from_s, to_s in trace.stages)
    assert trace.told == {
        "http.response.status_code": 200, "riskgate.account": "desk", "riskgate.bot": "grid1",
        "riskgate.decision_id": dict(answer.headers)[b"X-Risk-Decision-Id"].decode(),
        "riskgate.endpoint": "POST /fapi/v1/order", "riskgate.exchange": "binance", "riskgate.outcome": "accepted",
        "riskgate.policy_revision": 1, "riskgate.reason": "all_risk_checks_passed", "riskgate.reducing": False,
        "riskgate.strategy": "grid", "riskgate.symbols": "BTCUSDT", "riskgate.verdict": "allow",
    }  # fmt: skip
    assert (trace.parents, trace.states) == ((PARENT,), (b"a=b",))


async def test_a_scaled_order_is_told_as_scaled(house):
    """It went all the way, smaller."""
    await house.ask(house.order(quantity="0.05"))

    (trace,) = house.traces
    assert (trace.told["riskgate.verdict"], names_of(trace)) == ("scale_down", STAGES)


async def test_a_blocked_order_ends_with_its_judgement(house):
    """Nothing was recorded before a send, and nothing was forwarded."""
    await house.ask(house.order(symbol="DOGEUSDT"))

    (trace,) = house.traces
    assert names_of(trace) == ["read", "gather", "judge"]
    assert (trace.told["riskgate.verdict"], trace.told["riskgate.outcome"]) == ("block", "blocked")
    assert trace.told["http.response.status_code"] == 403


async def test_what_the_last_look_refuses_was_not_forwarded(house):
    """Halted between record and send: the stages say how far it came, and the verdict is what became of it."""
    house.venue.before_last_look = lambda: house.latch.trip(
        level=EssLevel.HALT, scope="global", actor="me", reason="test", source="api"
    )
    await house.ask(house.order())

    (trace,) = house.traces
    assert names_of(trace) == STAGES[:-1]
    assert (trace.told["riskgate.verdict"], trace.told["riskgate.reason"]) == ("block", "ess_trading_halt_active")


async def test_what_could_not_be_sent_says_so(house):
    """The exchange cannot be reached: allowed, and not sent."""
    house.venue.fails = UpstreamUnreachable("the exchange cannot be reached")
    await house.ask(house.order())

    (trace,) = house.traces
    assert (trace.told["riskgate.verdict"], trace.told["riskgate.outcome"]) == ("allow", "not_sent")


async def test_an_answer_that_never_came_is_told_as_unknown(house):
    """The stage of forwarding ends when the waiting does."""
    house.venue.fails_after_send = UpstreamSilent("no answer")
    await house.ask(house.order())

    (trace,) = house.traces
    assert (trace.told["riskgate.outcome"], names_of(trace)) == ("unknown", STAGES)


async def test_what_was_refused_before_judging_is_told(house):
    """An unknown key: no account, no stages, the reason."""
    await house.ask(house.order(key="nobody"))

    (trace,) = house.traces
    assert trace.stages == []
    assert (trace.told["riskgate.verdict"], trace.told["riskgate.reason"]) == ("block", "key_unknown")
    assert "riskgate.account" not in trace.told


@pytest.mark.parametrize(("method", "path"), [("GET", "/fapi/v1/time"), ("DELETE", "/fapi/v1/order")])
async def test_what_is_no_order_is_not_told(house, method, path):
    """Reads and cancels pass untold."""
    await house.ask(house.request(method, path, symbol="BTCUSDT", orderId="7"))

    assert house.traces == []


async def test_orders_under_way_together_are_not_mixed(house):
    """Each task has its own: twelve at once, every trace whole and of one decision."""
    orders = [house.order(quantity="0.001", newClientOrderId=f"n{number}") for number in range(12)]
    answers = await asyncio.gather(*(house.pipeline.handle(one) for one in orders))

    assert [names_of(trace) for trace in house.traces] == [STAGES] * 12
    told = {trace.told["riskgate.decision_id"] for trace in house.traces}
    assert told == {dict(one.headers)[b"X-Risk-Decision-Id"].decode() for one in answers}


async def test_the_request_that_leaves_is_the_one_that_came(house):
    """Nothing is added for the sake of a trace, and what the bot added stays."""
    request = house.order(key=PLAIN_KEY, secret=VENUE_SECRET, headers=((b"traceparent", PARENT),))
    await house.ask(request)

    (sent,) = house.venue.sent
    assert sent is request

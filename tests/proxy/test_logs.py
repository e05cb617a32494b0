"""Logs: one line per order, no secrets, and a slow reader never slows an order."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from proxy import logs as logs_module
from proxy.clock import ManualClock
from proxy.logs import EVENTS, REDACTED, LineWriter, clean_text, configure, order_decided
from rules import (
    Caller,
    Decision,
    LeverageChange,
    Market,
    Order,
    OrderType,
    Reason,
    Side,
    Verdict,
)

PROXY = Path(logs_module.__file__).parent
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CALLER = Caller(account="spot-1", exchange="binance", strategy="grid", bot="grid1")
ORDER = Order(
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.LIMIT,
    market=Market.SPOT,
    quantity=Decimal("0.00000010"),
    price=Decimal(60000),
)
DECISION = Decision(
    verdict=Verdict.BLOCK,
    reason=Reason.POSITION_EXCEEDS_LIMIT,
    sentence="position 3 BTC would pass its limit of 2 BTC",
    breach=None,
    quantities=(),
    scale_factor=Decimal(0),
    risk_level="INFO",
    ess_active=False,
    timestamp=NOW,
    policy_revision=4,
    rules_run=(),
    reducing=False,
)


class Pipe:
    """Logging into a pipe that a test reads."""

    def __init__(self, form="json", level="info", risk_guard_events=False):
        self.read_end, self.write_end = os.pipe()
        self.logs = configure(
            clock=ManualClock(NOW), form=form, level=level, descriptor=self.write_end,
            risk_guard_events=risk_guard_events,
        )  # fmt: skip

    def text(self):
        """Everything that was written; ends the logging."""
        self.logs.close()
        os.close(self.write_end)
        with os.fdopen(self.read_end, "rb") as file:
            return file.read().decode()

    def lines(self):
        """The lines as JSON."""
        return [json.loads(line) for line in self.text().splitlines()]


def tell(instructions=(ORDER,), **more):
    """Tell one decision."""
    told = {"decision_id": "d-1", "endpoint": "POST /api/v3/order", "outcome": "blocked", "took_s": 0.000123} | more
    order_decided(DECISION, CALLER, instructions=instructions, **told)


def test_one_line_tells_the_whole_story():
    """Who, what, the answer, why, and how long it took; amounts in plain digits."""
    pipe = Pipe()
    tell(instructions=(ORDER, LeverageChange(symbol="ETHUSDT", leverage=Decimal(20))), upstream_s=0.05)
    (line,) = pipe.lines()

    assert line["event"] == "order.decided"
    assert line["timestamp"] == "2026-03-01T12:00:00.000000Z"
    assert line["orders"] == ["BUY 0.00000010 BTCUSDT LIMIT at 60000", "LeverageChange ETHUSDT"]
    assert (line["decision"], line["reason"]) == ("block", "position_exceeds_limit")
    assert (line["account"], line["strategy"], line["bot"]) == ("spot-1", "grid", "grid1")
    assert (line["took_us"], line["upstream_us"]) == (123, 50000)


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_order_is_told_again_as_risk_guard_did(form):
    """Its event, with the trace id, the profile, what was found and the limit, beside the one line of ours."""
    pipe = Pipe(form=form, risk_guard_events=True)
    tell(profile="DEFENSIVE")
    if form == "console":
        text = pipe.text()
        assert text.count("order.decided") == text.count("risk_guard_denied_position_cap") == 1
        return
    ours, beside = pipe.lines()
    assert (ours["event"], ours["profile_name"]) == ("order.decided", "DEFENSIVE")
    assert beside["event"] == "risk_guard_denied_position_cap"
    assert (beside["trace_id"], beside["profile_name"]) == (ours["decision_id"], "DEFENSIVE")
    assert {"account", "symbol", "observed", "limit"} < beside.keys()


def test_what_risk_guard_had_no_event_for_is_told_once():
    """A block by a rule that it did not have is ours alone."""
    pipe = Pipe(risk_guard_events=True)
    decision = DECISION._replace(reason=Reason.ORDER_RATE_EXCEEDS_LIMIT)
    order_decided(
        decision, CALLER, instructions=(ORDER,), decision_id="d-1", endpoint="POST /x", outcome="blocked", took_s=0.1
    )
    assert [line["event"] for line in pipe.lines()] == ["order.decided"]


def test_the_console_form_is_readable():
    """On a terminal the same line comes in words."""
    pipe = Pipe(form="console")
    tell()
    text = pipe.text()
    assert "order.decided" in text
    assert "position_exceeds_limit" in text
    assert not text.startswith("{")


def test_nothing_is_told_where_logging_is_not_configured():
    """Tools that use the pipeline without logs get none."""
    assert logs_module._current is None
    tell()


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": "CANARY"},
        {"apiKey": "CANARY"},
        {"X-MBX-APIKEY": "CANARY"},
        {"signature": "CANARY"},
        {"listenKey": "CANARY"},
        {"token": "CANARY"},
        {"Authorization": "Bearer CANARY"},
        {"headers": {"X-MBX-APIKEY": "CANARY"}},
        {"headers": [{"authorization": "CANARY"}]},
        {"secret": SecretStr("CANARY")},
        {"value": SecretStr("CANARY")},
        {"nested": {"deep": [SecretStr("CANARY")]}},
        {"body": b"symbol=BTCUSDT&signature=CANARY"},
        {"target": "/api/v3/order?symbol=BTCUSDT&signature=CANARY"},
        {"target": "/api/v3/userDataStream?listenKey=CANARY&x=1"},
        {"said": 'the venue said {"apiKey":"CANARY","code":-1}'},
        {"said": "{'secretKey': 'CANARY'}"},
        {"said": "header Authorization: Bearer CANARY"},
        {"said": '{\\"signature\\":\\"CANARY\\"}'},
        {"said": "header Authorization: Basic CANARY"},
        {"said": "{'Authorization': 'Basic CANARY'}"},
        {"said": "no answer of postgresql://risk:CANARY@db/policies"},
        {"said": "no answer of redis://:CANARY@db:6379/0"},
        {"said": "could not reach ntfys://desk:CANARY@ntfy.example/alerts"},
        {"said": "POST https://api.telegram.org/bot12345:CANARY/sendMessage"},
        {"said": "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----"},
        {"said": "-----BEGIN RSA PRIVATE KEY-----\nCANARY"},
        {"passphrase": "CANARY"},
        {"object": type("Leaky", (), {"__str__": lambda self: "signature=CANARY"})()},
    ],
)
def test_secrets_never_reach_the_output(fields):
    """By key, by type, inside structures and inside text."""
    pipe = Pipe()
    structlog.get_logger("t").info("thing.happened", **fields)
    text = pipe.text()
    assert "thing.happened" in text
    assert "CANARY" not in text


def test_an_address_without_a_secret_is_shown_whole():
    """A port is no password, and a name without one is told."""
    text = "http://127.0.0.1:8080/fapi/v1/order?a=1, postgresql://risk@db:5432/policies, https://[::1]:8443/x@y"
    assert logs_module.clean_text(text) == text


def test_secrets_in_exceptions_are_taken_out():
    """A traceback's text is cleaned like any other."""
    pipe = Pipe()
    try:
        raise ValueError("bad request /api/v3/order?signature=CANARY&x=1")
    except ValueError:
        structlog.get_logger("t").exception("thing.failed")
        logging.getLogger("library").exception("failed with token=CANARY")
    text = pipe.text()
    assert "ValueError" in text
    assert "CANARY" not in text


def test_what_is_no_secret_stays_readable():
    """Redaction takes the value and leaves the rest."""
    assert clean_text("/o?symbol=BTCUSDT&signature=abc&x=1") == f"/o?symbol=BTCUSDT&signature={REDACTED}&x=1"
    assert clean_text("signature invalid for bot grid1") == "signature invalid for bot grid1"


def test_what_libraries_log_comes_in_the_same_form():
    """Warnings of libraries are lines of ours."""
    pipe = Pipe()
    logging.getLogger("library").warning("careful with %s", "that")
    (line,) = pipe.lines()
    assert (line["event"], line["logger"], line["said"]) == ("library.said", "library", "careful with that")


def test_lower_levels_are_left_out():
    """At level warning, info is silent and order lines stay."""
    pipe = Pipe(level="warning")
    structlog.get_logger("t").info("thing.happened")
    structlog.get_logger("t").warning("thing.worse")
    tell()
    assert [line["event"] for line in pipe.lines()] == ["thing.worse", "order.decided"]


def test_a_blocked_pipe_stalls_nobody_and_what_is_lost_is_counted():
    """Nobody reads: 30,000 lines are handed over without waiting; the rest is dropped, and counted."""
    read_end, write_end = os.pipe()
    writer = LineWriter(write_end, lines_max=1000)
    begun = time.perf_counter()
    for _ in range(30_000):
        writer.write(b"x" * 200 + b"\n")
    took_s = time.perf_counter() - begun
    assert writer.dropped > 25_000
    assert took_s < 5

    read = []
    reader = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(read_end, 1 << 16), b"")))
    reader.start()
    writer.close()
    os.close(write_end)
    reader.join()
    os.close(read_end)
    assert b"".join(read).count(b"\n") + writer.dropped == 30_000


def test_a_reader_that_is_gone_is_counted():
    """A closed pipe raises nowhere."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    writer = LineWriter(write_end)
    writer.write(b"line\n")
    writer.close()
    os.close(write_end)
    assert writer.dropped == 1


def test_events_are_named_thing_happened():
    """`thing.happened`, sorted, each once."""
    assert list(EVENTS) == sorted(set(EVENTS))
    assert all(event.count(".") == 1 and event == event.lower() for event in EVENTS)


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_that_is_promised_is_told_somewhere(event):
    """A name on the list that nothing says any more would leave an alert silent."""
    sources = [path for path in PROXY.rglob("*.py") if path.name != "logs.py"]
    said = "".join(path.read_text() for path in sources)
    own = (PROXY / "logs.py").read_text().partition('"""The events that')[2]
    assert f'"{event}"' in said + own


ROOT = Path(__file__).parents[2]

UNCONFIGURED = """
import structlog
from proxy import logs

def fail(key):
    raise ValueError("it failed")

try:
    fail("a-key-" + "of-a-bot")
except ValueError:
    structlog.get_logger("riskgate").exception("request.failed", secret="a-key-" + "of-a-bot")
"""


def test_without_a_configuration_an_exception_tells_no_values():
    """A command that logs a failure shows where it happened, and not what the variables held."""
    ended = subprocess.run([sys.executable, "-c", UNCONFIGURED], capture_output=True, text=True, check=True, cwd=ROOT)

    assert "request.failed" in ended.stdout
    assert "it failed" in ended.stdout
    assert "a-key-of-a-bot" not in ended.stdout + ended.stderr

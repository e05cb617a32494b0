"""What is published: money as text, statistics as numbers, and a schema that says so."""

from __future__ import annotations

import json
from decimal import Decimal

import orjson
import pytest

from proxy.feeds.risk import read_signal
from proxy.global_risk.engine import GlobalRiskEngine
from proxy.global_risk.models import GlobalRiskSignal, money, schema
from proxy.wire import loads
from tests.proxy.global_risk.conftest import NOW

SEED_FIELDS = {
    "timestamp", "risk_level", "snapshot", "exposure_matrix", "var_result", "es_result", "systemic_signals",
    "overall_risk_score", "ess_tier_recommendation", "ess_action_required", "cro_alert_sent",
    "cro_approval_required", "risk_summary", "critical_issues", "warnings",
}  # fmt: skip


async def signal_of(desk) -> GlobalRiskSignal:
    """A signal of one position."""
    desk.know("BTCUSDT", [0.01, -0.02, 0.03] * 20)
    desk.hold(BTCUSDT="0.123")
    engine = GlobalRiskEngine(desk.book, desk.marks, lambda: desk.limits, desk.history, desk.clock)
    return await engine.evaluate()


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.00000000"), (0.1 + 0.2, "0.30000000"), (1e-9, "0E-8"), (12345678.123456789,
                        "12345678.12345679")],
)  # fmt: skip
def test_calculated_money_has_eight_places(value, text):
    """Noise beyond is cut."""
    assert str(money(value)) == text


async def test_money_is_text_and_statistics_are_numbers(desk):
    """In JSON no amount goes through a binary fraction, also none so small that it would be written 0E-8."""
    found = json.loads(orjson.dumps((await signal_of(desk)).model_dump(mode="json")))

    assert found["snapshot"]["total_notional"] == "6150.00000000"
    assert found["snapshot"]["positions"][0]["quantity"] == "0.123"
    assert isinstance(found["var_result"]["var_95"], str)
    assert "E" not in found["var_result"]["var_95"]
    assert isinstance(found["overall_risk_score"], float)
    assert isinstance(found["exposure_matrix"]["symbol_hhi"], float)


async def test_the_signal_has_the_seeds_fields(desk):
    """Whoever read the older service finds every field under its name."""
    assert set((await signal_of(desk)).model_dump()) >= SEED_FIELDS


async def test_the_schema_describes_the_signal(desk):
    """Every field published is in it and the other way round; money is text there too."""
    described = schema()
    found = (await signal_of(desk)).model_dump(mode="json")

    assert set(described["properties"]) == set(found)
    for name, part in (("RiskSnapshot", found["snapshot"]), ("ExposureMatrix", found["exposure_matrix"]),
                       ("VaRResult", found["var_result"]), ("ESResult", found["es_result"]),
                       ("HeldPosition", found["snapshot"]["positions"][0])):  # fmt: skip
        assert set(described["$defs"][name]["properties"]) == set(part), name
    assert described["$defs"]["VaRResult"]["properties"]["var_95"]["type"] == "string"


async def test_the_remote_facade_reads_what_is_published(desk):
    """The document that one process serves is the one that another believes: same level, score and issues."""
    signal = await signal_of(desk)
    body = orjson.dumps(signal.model_dump(mode="json"))
    fact = read_signal(loads(body, characters_max=len(body)), NOW)

    assert fact.as_of == signal.timestamp
    assert fact.value.level is signal.risk_level
    assert fact.value.score == Decimal(str(signal.overall_risk_score))
    assert fact.value.ess_tier == signal.ess_tier_recommendation.value

"""What monitoring reads of feeds, policy and limits."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry

from proxy.feeds import Health
from proxy.state_metrics import StateMetrics, share_used
from rules import Level, Market, Position, Use
from tests.house import open_house
from tests.proxy.test_accounts import POLICY, holding, views_of


def health(name, *, ready, age_s):
    """How a feed does."""
    return Health(name=name, ready=ready, last_success_at=None, age_s=age_s, last_error=None, failures=0, malformed=0)


@pytest.fixture
async def house(tmp_path):
    """A house with limits on every level."""
    async with open_house(tmp_path, policy=POLICY) as house:
        yield house


def registered(house, *feeds) -> CollectorRegistry:
    """What a scrape reads."""
    registry = CollectorRegistry()
    registry.register(StateMetrics(lambda: feeds, lambda: house.policies.age_s, views_of(house)))
    return registry


async def test_feeds_show_whether_they_deliver_and_since_when(house):
    """A feed that never delivered is not ready, and has no age rather than a young one."""
    registry = registered(house, health("market", ready=True, age_s=1.5), health("risk", ready=False, age_s=None))

    assert registry.get_sample_value("riskgate_feed_ready", {"feed": "market"}) == 1
    assert registry.get_sample_value("riskgate_feed_age_seconds", {"feed": "market"}) == 1.5
    assert registry.get_sample_value("riskgate_feed_ready", {"feed": "risk"}) == 0
    assert registry.get_sample_value("riskgate_feed_age_seconds", {"feed": "risk"}) is None


async def test_the_policys_age_grows_until_the_store_confirms_it(house):
    """What the store was asked for last, not when the policy was written."""
    assert registered(house).get_sample_value("riskgate_policy_age_seconds") == pytest.approx(house.policies.age_s)


async def test_limits_show_the_share_that_is_used(house):
    """0.06 BTC at 60,000 are 3,600: 60 % of the account's 6,000 and 120 % of the symbol's 3,000."""
    holding(house, quantity="0.06")
    registry = registered(house)
    worth = views_of(house).one("desk")["exposure"]["value"]
    at = {"account": "desk"}

    assert registry.get_sample_value("riskgate_limit_used_ratio", {**at, "limit": "exposure_account_max"}) == (
        pytest.approx(float(worth) / 6000)
    )
    assert registry.get_sample_value("riskgate_limit_used_ratio", {**at, "limit": "exposure_symbol_max"}) == (
        pytest.approx(float(worth) / 3000)
    )


async def test_a_limit_whose_fact_is_missing_has_no_sample(house):
    """A symbol without a price has an unknown exposure: monitoring shows a gap, not a zero."""
    holding(house)
    house.book.apply_snapshot(
        "plain", Market.LINEAR, as_of=house.clock.now(), positions={"NOPRICEUSDT": Position(both=Decimal(1))}, orders=()
    )
    registry = registered(house)

    assert registry.get_sample_value(
        "riskgate_limit_used_ratio", {"account": "desk", "limit": "exposure_symbol_max"}
    ) == pytest.approx(0.4, rel=0.1)
    assert registry.get_sample_value(
        "riskgate_limit_used_ratio", {"account": "plain", "limit": "exposure_symbol_max"}
    ) is None


@pytest.mark.parametrize(
    ("limit", "used", "hard", "expected"),
    [
        ("exposure_account_max", "30", "40", 0.75),
        ("exposure_account_max", "0", "0", 0.0),
        ("exposure_account_max", "1", "0", float("inf")),
        ("exposure_account_max", "-5", "40", 0.0),
        ("margin_free_min", "0.4", "0.2", 0.5),
        ("margin_free_min", "0", "0.2", float("inf")),
        ("margin_free_min", None, "0.2", None),
    ],
)
def test_a_share_is_of_the_limit_and_of_a_minimum_the_other_way_round(limit, used, hard, expected):
    """1 is reached either way; what is not known is no number."""
    use = Use(
        limit=limit, scope="account", used=None if used is None else Decimal(used), warn=Decimal(0),
        hard=Decimal(hard), level=Level.WITHIN, as_of=datetime.now(UTC), is_fresh=True,
    )  # fmt: skip

    assert share_used(use) == expected

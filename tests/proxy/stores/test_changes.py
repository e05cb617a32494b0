"""What differs between two policies is told place by place."""

from proxy.stores.changes import changes
from rules.profile import default_policy

MAIN = {"strategies": "any", "symbols": ["ETHUSDT", "BTCUSDT"]}


def test_equal_policies_differ_in_nothing():
    """The same limit written in two ways is the same limit."""
    one = default_policy(defaults={"trade_risk_max": "1.5%"})
    other = default_policy(defaults={"trade_risk_max_fraction": "0.015"})

    assert [str(change) for change in changes(one, other)] == []


def test_every_place_that_differs_is_named_with_both_values():
    """A value changed, one set, one removed, a list: dotted paths, in order."""
    before = default_policy(accounts={"main": {**MAIN, "leverage_max": "2"}})
    after = default_policy(
        accounts={"main": {**MAIN, "symbols": ["BTCUSDT"], "loss_daily_max": "1%"}}, active_mode="DEFENSIVE"
    )

    assert [str(change) for change in changes(before, after)] == [
        "accounts.main.leverage_max: 2 -> (not set)",
        "accounts.main.loss_daily_max: (not set) -> 1%",
        "accounts.main.symbols: [BTCUSDT, ETHUSDT] -> [BTCUSDT]",
        "active_mode: NORMAL -> DEFENSIVE",
    ]

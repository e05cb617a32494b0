"""What a policy admits that another does not."""

from datetime import UTC, datetime

from proxy.loosening import loosened
from rules.profile import GlobalPolicy

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def policy(**account):
    """A policy with one account."""
    return GlobalPolicy.model_validate(
        {"active_mode": "NORMAL", "accounts": {"main": {"strategies": "any", "symbols": ["BTCUSDT"], **account}}}
    )


def test_what_is_looser_is_named_by_account():
    """A longer list is looser, a tighter limit is not; a new account may trade."""
    assert loosened(policy(), policy(symbols=["BTCUSDT", "ETHUSDT"]), NOW) == ["account main: symbols"]
    assert loosened(policy(), policy(loss_daily_max="0.1%"), NOW) == []
    assert loosened(GlobalPolicy(active_mode="NORMAL"), policy(), NOW) == ["account main is new and may trade"]

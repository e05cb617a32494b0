"""The policy file: every problem with its line, and whether it is what the store holds."""

from datetime import UTC, datetime

import pytest

from proxy.config import SettingsInvalid
from proxy.policy_file import difference, read_policy_file
from proxy.stores.base import StoredPolicy
from rules.profile import default_policy

TEXT = """\
active_mode: NORMAL
accounts:
  main:
    strategies: any
    symbols: [BTCUSDT]
    leverage_max: 2
"""


def stored(policy, revision=3):
    """A policy as a store keeps it."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return StoredPolicy(policy=policy, revision=revision, updated_at=at, updated_by="ann", reason="because")


@pytest.fixture
def file(tmp_path):
    """A policy file that can be used."""
    file = tmp_path / "policy.yaml"
    file.write_text(TEXT)
    return file


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("leverage_max: 2", "leverage_max: 200", ":6: accounts.main.leverage_max: found '200'; expected a leverage"),
        ("leverage_max: 2", "leverag_max: 2", ":6: accounts.main.leverag_max: found an unknown key; expected"),
        ("leverage_max: 2", "trade_risk_max_percent: 0", ":6: accounts.main.trade_risk_max: found"),
        ("leverage_max: 2", "size: {order_notional_max: 3e2}", "expected a positive amount written as a string, "
         "like '300', with all its digits and no exponent"),
        ("    symbols: [BTCUSDT]\n", "", ":3: accounts.main.symbols: found nothing; expected a value"),
        ("NORMAL", "NORMALL", ":1: active_mode: found 'NORMALL'; expected one of"),
        ("leverage_max: 2", "\tleverage_max: 2", ":6: (top level): found character"),
        ("leverage_max: 2", "capital_profile: mirco", ":6: accounts.main.capital_profile: found 'mirco'; expected"),
    ],
)
def test_a_problem_has_its_line(file, old, new, said):
    """File, line, key, what was found and what was expected, as for the settings."""
    file.write_text(TEXT.replace(old, new))

    with pytest.raises(SettingsInvalid) as caught:
        read_policy_file(file)
    assert said in str(caught.value)
    assert "found found" not in str(caught.value)


def test_the_file_that_filled_the_store_differs_in_nothing(file):
    """Neither as written, nor as old variables tightened it when the store was filled."""
    assert difference(file, stored(read_policy_file(file)), {}) is None

    old = {"RM_MAX_LEVERAGE": "1"}
    tighter = default_policy(
        accounts={"main": {"strategies": "any", "symbols": ["BTCUSDT"], "leverage_max": "2"}},
        defaults={"leverage_max": "1"},
    )
    assert difference(file, stored(tighter), old) is None


def test_a_file_that_is_not_in_force_is_told_with_the_way_out(file):
    """The sentence names the revision that holds and the command that puts the file in its place."""
    said = difference(file, stored(default_policy()), {})

    assert "policy.yaml differs from the stored policy (revision 3), which is in force" in said
    assert f"`riskgate policy apply {file} --reason ...` makes it so" in said


def test_a_file_that_cannot_be_read_does_not_count(file):
    """The store holds; the sentence says so and what is wrong with the file."""
    file.write_text("active_mode: [")

    said = difference(file, stored(default_policy()), {})
    assert "is not in force; the stored policy (revision 3) is" in said

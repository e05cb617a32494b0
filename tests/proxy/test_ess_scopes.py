"""Scopes: which names there are, and whom a stop holds."""

import pytest

from proxy.ess_scopes import Scopes
from proxy.identity import Account

ACCOUNTS = {
    name: Account(name=name, exchange=exchange, mode="passthrough")
    for name, exchange in (("main", "binance"), ("desk", "binance"), ("far", "other"))
}
STRATEGIES = {"main": {"grid", "trend"}, "desk": {"grid"}}


def scopes(symbols=("BTCUSDT",)):
    """Three accounts on two exchanges."""
    return Scopes(ACCOUNTS, STRATEGIES, lambda: symbols)


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        ("global", ("main", "desk", "far")),
        ("symbol:BTCUSDT", ("main", "desk", "far")),
        ("exchange:binance", ("main", "desk")),
        ("strategy:grid", ("main", "desk")),
        ("strategy:trend", ("main",)),
        ("account:far", ("far",)),
        ("account:nobody", ()),
        ("recovery:main", ()),
    ],
)
def test_a_scope_holds_the_accounts_it_touches(scope, held):
    """Whoever is halted in part has to be read again as well."""
    assert scopes().accounts_under(scope) == held


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("global", None),
        ("account:main", None),
        ("symbol:BTCUSDT", None),
        ("account:mian", "there is no account 'mian'; known: desk, far, main"),
        ("strategy:", "there is no strategy ''; known: grid, trend"),
        ("symbol:ETHUSDT", "there is no symbol 'ETHUSDT'; known: BTCUSDT"),
    ],
)
def test_a_scope_that_holds_nothing_is_told(scope, said):
    """With the names that are known."""
    assert scopes().wrong_with(scope) == said


def test_before_the_venue_was_read_any_symbol_may_be_stopped():
    """Nobody is kept from halting because a list is not there yet; of a long one only the length is told."""
    assert scopes(()).wrong_with("symbol:ANYUSDT") is None
    assert "known: 50 of them" in str(scopes([f"S{number}" for number in range(50)]).wrong_with("symbol:ANYUSDT"))

"""An order that has to be refused, and is never sent."""

from datetime import UTC, datetime

import pytest

from proxy.clock import ManualClock
from proxy.ess import EssLatch
from proxy.triggers import rehearsal
from proxy.triggers.rehearsal import NotRefused, prove_refusal
from rules import CLEAR, Caller, EssLevel

CLOCK = ManualClock(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))
CALLER = Caller(account="main", exchange="binance", strategy="grid", bot="b1")
SCOPES = ["global", "exchange:binance", "account:main", "strategy:grid"]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("level", [EssLevel.REDUCE_ONLY, EssLevel.HALT])
def test_every_stop_that_a_trigger_can_set_refuses(level, scope):
    """Gate and last look, for every scope that a policy can name."""
    prove_refusal(level, scope, CALLER, CLOCK)


@pytest.mark.parametrize("scope", ["account:desk", "strategy:trend", "exchange:other"])
def test_a_stop_that_does_not_hold_the_order_is_no_proof(scope):
    """The rehearsal can fail: a scope that does not reach the bot lets its order pass."""
    with pytest.raises(NotRefused, match="the gate answered"):
        prove_refusal(EssLevel.HALT, scope, CALLER, CLOCK)


def test_a_gate_that_does_not_look_at_the_stop_is_found(monkeypatch):
    """A latch whose answer the gate never hears."""
    monkeypatch.setattr(EssLatch, "of_order", lambda self, caller, symbols: CLEAR)
    with pytest.raises(NotRefused, match="the gate answered"):
        prove_refusal(EssLevel.HALT, "global", CALLER, CLOCK)


def test_a_last_look_that_looks_away_is_found(monkeypatch):
    """The second of the two that have to refuse."""
    monkeypatch.setattr(EssLatch, "last_look", lambda self, account, **told: None)
    with pytest.raises(NotRefused, match="last look"):
        prove_refusal(EssLevel.HALT, "global", CALLER, CLOCK)


def test_a_rehearsal_leaves_nothing_behind(tmp_path, monkeypatch):
    """No file, no lane: the module does not even know one."""
    monkeypatch.chdir(tmp_path)
    prove_refusal(EssLevel.HALT, "global", CALLER, CLOCK)
    assert list(tmp_path.iterdir()) == []
    assert not any("upstream" in name or "pipeline" in name for name in vars(rehearsal))

"""Settings read again while orders flow give an account nothing that the reload says waits for a restart."""

from __future__ import annotations

import pytest

from proxy.app import App
from proxy.clock import ManualClock
from proxy.config import from_mapping
from proxy.errors import ConfigError
from tests.canary import KEY, SECRET, marked
from tests.house import NOW

OLD, NEW = marked("old"), marked("new")
ACCOUNT = {
    "exchange": "binance", "mode": "passthrough", "markets": ["futures"], "static_equity": "1000",
    "bots": {"grid1": {"key": OLD, "strategy": "grid"}},
}  # fmt: skip
NEW_KEY = {"grid1": {"key": NEW, "strategy": "grid"}}


@pytest.fixture
def app(tmp_path):
    """A proxy that was not started, with one account, whose settings a test replaces."""

    def settings(**changes):
        tree = {"data_dir": str(tmp_path / "data"), "accounts": {"main": ACCOUNT | changes}}
        return from_mapping(tree, base=tmp_path, source="riskgate.yaml")

    made = App(settings(), clock=ManualClock(NOW))
    made.again = lambda **changes: (
        setattr(made.reloading, "read", lambda _: settings(**changes)), made.reloading.again()
    )[1]
    return made


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        pytest.param({"transfers_allowed": True}, "accounts.main.transfers_allowed", id="transfers"),
        pytest.param(
            {"credentials": {"api_key": KEY, "secret": SECRET.decode()}}, "accounts.main.credentials", id="credentials"
        ),
    ],
)
async def test_a_bot_that_changes_brings_nothing_else_along(app, changes, place):
    """A key is replaced at once; what else of its account was written in the same file is not in force with it."""
    before = app.identities.of(OLD).account
    applied, waiting = app.again(bots=NEW_KEY, **changes)

    assert applied == ("accounts.main.bots.grid1.key",)
    assert any(name.startswith(place) for name in waiting)
    assert app.identities.of(NEW).account is before


async def test_a_mode_that_waits_is_not_in_force_with_a_bot(app):
    """A bot of an account that is to become custody would be read by the mode in force: it is still passthrough."""
    bots = {"grid1": {"key": NEW, "strategy": "grid", "secret": SECRET.decode()}}
    credentials = {"api_key": KEY, "secret": SECRET.decode()}
    try:
        app.again(bots=bots, mode="custody", credentials=credentials)
    except ConfigError:
        assert app.identities.of(OLD).account.mode == "passthrough"  # refused: nothing changed
    else:
        assert app.identities.of(NEW).in_custody is False

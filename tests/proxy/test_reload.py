"""Settings that are read again: all or nothing, and each change named as applied or waiting."""

from pathlib import Path

import pytest

from proxy.clock import SystemClock
from proxy.config import from_mapping
from proxy.identity import Account, Bot, Identities
from proxy.reload import Live, Reloading, ReloadRefused, differing

TREE = {
    "log": {"level": "info"},
    "accounts": {
        "main": {
            "exchange": "binance", "mode": "passthrough", "markets": ["futures"], "static_equity": "1000",
            "bots": {"grid1": {"key": "k" * 20, "strategy": "grid"}},
        }
    },
}  # fmt: skip


def settings(folder, source="riskgate.yaml", **changes):
    """Settings as a file would give them."""
    tree = {key: value for key, value in (TREE | changes).items() if value is not None}
    return from_mapping(tree, base=folder, source=source)


def bots_of(found):
    """Its bots, each on an account without credentials."""
    for name, account in found.accounts.items():
        owner = Account(name=name, exchange="binance", mode="passthrough", credentials=None)
        for bot, one in account.bots.items():
            yield Bot(name=bot, key=one.key.get_secret_value(), account=owner, strategy=one.strategy or bot,
                      prefixes={name: other.prefix for name, other in one.strategies.items()})


class Scene:
    """Reloads from settings that a test states."""

    def __init__(self, folder):
        self.folder = folder
        first = settings(folder)
        self.identities = Identities(bots_of(first), clock=SystemClock())
        self.levels = []
        live = Live(identities=self.identities, bots_of=bots_of, set_log_level=self.levels.append,
                    load_certificates=lambda _: ())  # fmt: skip
        self.reloading = Reloading(settings=first, live=live, read=settings)

    def again(self, **changes):
        """Reload with these sections changed."""
        self.reloading.read = lambda source: settings(self.folder, source, **changes)
        return self.reloading.again()


@pytest.fixture
def scene(tmp_path):
    """Settings in force: one account, one bot."""
    return Scene(tmp_path)


def account(**bots):
    """The accounts section with these bots."""
    return {"main": TREE["accounts"]["main"] | {"bots": bots}}


def test_nothing_changed_is_nothing_applied(scene):
    """The same file twice."""
    assert scene.again() == ((), ())


def test_what_is_live_is_applied_and_the_rest_waits(scene):
    """Level and keys at once, an address and an account after a restart, and told again until then."""
    changes = {"log": {"level": "debug"}, "listen": {"bind": "127.0.0.1:9999"},
               "accounts": account(grid1={"key": "n" * 20, "strategy": "grid"})}  # fmt: skip
    applied, waiting = scene.again(**changes)

    assert applied == ("accounts.main.bots.grid1.key", "log.level")
    assert waiting == ("listen.bind",)
    assert scene.levels == ["debug"]
    assert [bot.key for bot in scene.identities.bots] == ["n" * 20]
    assert scene.again(**changes) == ((), ("listen.bind",))


def test_a_new_bot_of_a_known_strategy_is_let_in_and_one_that_is_gone_is_not(scene):
    """Keys are those of the file from the next request on."""
    both = account(grid1={"key": "k" * 20, "strategy": "grid"}, grid2={"key": "z" * 20, "strategy": "grid"})
    applied, waiting = scene.again(accounts=both)
    assert (waiting, scene.identities.of("z" * 20).name) == ((), "grid2")
    assert all(name.startswith("accounts.main.bots.grid2") for name in applied)
    scene.again()
    assert [bot.name for bot in scene.identities.bots] == ["grid1"]


def test_another_strategy_waits_for_a_restart(scene):
    """What shows accounts was built for the strategies there were."""
    applied, waiting = scene.again(accounts=account(trend={"key": "t" * 20, "strategy": "trend"}))

    assert applied == ()
    assert any(name.startswith("accounts.main.bots.trend") for name in waiting)
    assert [bot.name for bot in scene.identities.bots] == ["grid1"]


def test_a_further_strategy_of_a_bot_waits_for_a_restart_and_its_prefix_does_not(scene):
    """The same for the strategies that a bot names with its orders."""
    bot = TREE["accounts"]["main"]["bots"]["grid1"]
    several = account(grid1=bot | {"strategies": {"trend": {"prefix": "tr-"}}})
    assert scene.again(accounts=several) == ((), ("accounts.main.bots.grid1.strategies.trend.prefix",))
    assert scene.identities.bots[0].strategies == ("grid",)
    own = account(grid1=bot | {"strategies": {"grid": {"prefix": "g-"}}})
    assert scene.again(accounts=own) == (("accounts.main.bots.grid1.strategies.grid.prefix",), ())
    assert scene.identities.bots[0].named_by("g-1") == "grid"


def test_what_is_wrong_changes_nothing(scene):
    """Two bots with one key beside a level that would be fine: neither is taken."""
    twice = account(grid1={"key": "k" * 20, "strategy": "grid"}, grid2={"key": "k" * 20, "strategy": "grid"})
    with pytest.raises(ReloadRefused):
        scene.again(accounts=twice, log={"level": "debug"})
    assert (scene.levels, len(scene.identities.bots)) == ([], 1)


def test_settings_without_a_file_cannot_be_read_again(tmp_path):
    """What was built in memory has nothing to be read from."""
    made = Scene(tmp_path)
    made.reloading.settings = settings(tmp_path, source="(built in)")
    with pytest.raises(ReloadRefused, match="expected a file"):
        made.reloading.again()


def test_differences_are_names_and_never_values(tmp_path):
    """A key that changed is told by its place."""
    after = settings(tmp_path, accounts=account(grid1={"key": "secret-" * 4, "strategy": "grid"}))
    assert differing(settings(tmp_path), after) == ["accounts.main.bots.grid1.key"]
    assert Path(str(after.data_dir)).is_absolute()

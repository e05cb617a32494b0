"""`status` of accounts, `headroom` and `settle`, as a person reads them."""

from __future__ import annotations

import pytest

from proxy.admin.answers import answer
from proxy.cli.accounts import account_lines, headroom_lines, overview_lines
from proxy.cli.main import run
from proxy.errors import UpstreamSilent
from proxy.wire import loads
from tests.house import open_house
from tests.proxy.test_accounts import CALLER, POLICY, holding, order, views_of

SETTLE = ["settle", "main", "d1", "--outcome", "failed", "--reason", "not there", "--actor", "ann"]


@pytest.fixture
def reach(admin, tmp_path):
    """Options that lead to the admin API."""
    (tmp_path / "token").write_text("t0ken")
    return ["--admin-url", admin.url, "--token-file", str(tmp_path / "token")]


@pytest.fixture
async def house(tmp_path):
    """A house with 0.02 BTC held, and prices of two seconds ago."""
    async with open_house(tmp_path, policy=POLICY) as house:
        holding(house)
        house.forward(2)
        yield house


def sent(document):
    """A document as it comes over the wire."""
    return loads(answer(document).body)


def line_with(lines, *words):
    """The one line that has all the words."""
    (found,) = [line for line in lines if all(word in line for word in words)]
    return found


async def test_the_overview_is_a_table_and_names_what_is_near(house):
    """Accounts by line; below, the limits that are used to four fifths and more."""
    holding(house, "0.095")
    lines = list(overview_lines(sent({"accounts": views_of(house).overview()})))

    assert line_with(lines, "desk", "clear", "100000").split() == ["desk", "clear", "100000", "5700", "1", "0", "0"]
    near = line_with(lines, "exposure_account_max")
    assert near.split()[:8] == ["desk", "exposure_account_max", "account", "5700", "4800", "6000", "95", "%"]
    assert "plain" in line_with(lines, "plain")
    assert list(overview_lines({})) == []


async def test_an_account_is_told_whole(house):
    """Equity and exposure, positions, orders, every limit with its age, and the facts that do not count."""
    house.venue.fails_after_send = UpstreamSilent("dropped")
    await house.ask(house.order())
    lines = list(account_lines(sent(views_of(house).one("desk"))))

    assert lines[0] == "account desk on binance (custody): clear, equity 100000, exposure 1500, leverage 0.015"
    assert line_with(lines, "BTCUSDT", "linear").split()[2:6] == ["0.02", "1200", "1500", "60000"]
    assert "decision" in line_with(lines, "UNKNOWN: BTCUSDT 0.005 of grid1")
    daily = line_with(lines, "loss_daily_max")
    assert daily.split() == ["loss_daily_max", "account", "0", "0.028", "0.035", "0", "%", "3500", "within", "0"]
    assert line_with(lines, "exposure_symbol_max").split()[-1] == "2"
    assert line_with(lines, "global_risk").split() == ["global_risk", "-", "5"]


async def test_legs_and_lost_policies_are_told(house):
    """Hedge legs by name; without a policy there are no limits to show."""
    shown = sent(views_of(house).one("desk"))
    (position,) = shown["positions"]
    position |= {"quantity": "0", "long": "1.5", "short": "2"}
    lines = list(account_lines({**shown, "limits": []}))

    assert "long 1.5, short 2" in line_with(lines, "BTCUSDT", "linear")
    assert "limits: not known, the policy is lost" in lines
    assert "positions: none" in list(account_lines({"name": "x"}))


async def test_headroom_is_one_line_and_why(house):
    """The answer, the rule that binds with its sentence, and what each rule leaves, tightest first."""
    lines = list(headroom_lines(sent(views_of(house).headroom(CALLER, order()))))

    assert lines[0] == "BUY BTCUSDT at 60000 for grid on desk: at most 0.005, in steps of 0.001"
    assert lines[1].startswith("bound by exposure_strategy: The strategy's exposure would be up to 1560")
    bounds = [line.split()[:2] for line in lines[5:]]
    assert bounds[0] == ["exposure_strategy", "0.005"]
    assert bounds == sorted(bounds, key=lambda row: float(row[1]))


def test_headroom_says_when_nothing_can_be_sent_or_nothing_bounds():
    """Below the exchange's minimum nothing can be sent; without limits any size can."""
    asked = {"side": "BUY", "symbol": "X", "strategy": "s", "account": "a", "price": None}
    none = list(headroom_lines({**asked, "quantity": "0", "step": "1", "quantity_min": "5", "sendable": False}))
    assert none[-1] == "nothing can be sent: the exchange takes no less than 5"
    assert list(headroom_lines({**asked, "unbounded": True})) == [
        "BUY X at the market for s on a: no limit bounds it",
    ]


def test_the_commands_ask_and_exit(admin, reach, capsys):
    """`status ACCOUNT` and `headroom` print; headroom exits 3 where nothing could be sent."""
    admin.more["/admin/v1/accounts/main"] = {"name": "main"}
    path = "/admin/v1/headroom?account=main&symbol=BTCUSDT&side=buy&price=5"
    admin.more[path] = {"quantity": "2", "sendable": True, "symbol": "BTCUSDT"}
    admin.more["/admin/v1/headroom?account=main&symbol=BTCUSDT&side=sell"] = {"quantity": "0", "sendable": False}

    assert run(["status", "main", *reach]) == 0
    assert capsys.readouterr().out.startswith("account main on")
    assert run(["status", "main", "--json", *reach]) == 0
    assert '"name": "main"' in capsys.readouterr().out
    assert run(["headroom", "main", "BTCUSDT", "buy", "--price", "5", *reach]) == 0
    assert "at most 2" in capsys.readouterr().out
    assert run(["headroom", "main", "BTCUSDT", "sell", "--json", *reach]) == 3


def test_status_shows_the_accounts_below_the_rest(admin, reach, capsys):
    """The stop first, the accounts last; --json has them too."""
    admin.more["/admin/v1/accounts"] = {"accounts": [{"name": "main", "state": "clear", "equity": {"value": "5"}}]}

    assert run(["status", *reach]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["main", "clear", "5", "-", "-", "-", "-"]
    assert run(["status", "--json", *reach]) == 0
    assert '"accounts": [' in capsys.readouterr().out


def test_settle_needs_a_reason_an_outcome_and_yes(admin, reach, capsys):
    """What cannot be taken back is asked for twice; then who, why and what are sent."""
    admin.more["/admin/v1/accounts/main/settle"] = {"settled": 1, "audited": False}

    assert run([*SETTLE, *reach]) == 3
    assert "gives its headroom back" in capsys.readouterr().err
    assert run([*SETTLE, "--yes", "--outcome", "perhaps", *reach]) == 2
    assert run([*SETTLE, "--yes", "--reason", " ", *reach]) == 2
    assert not [one for one in admin.asked if one[0] == "POST"]
    assert run([*SETTLE, "--yes", *reach]) == 0
    printed = capsys.readouterr()
    assert printed.out == "settled as failed: 1 order(s) of decision d1\n"
    assert "NOT on record" in printed.err
    assert admin.asked[-1][2] == {"decision_id": "d1", "outcome": "failed", "reason": "not there", "actor": "ann"}

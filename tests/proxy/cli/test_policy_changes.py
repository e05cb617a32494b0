"""The commands that change the policy in force, against a real admin listener."""

import asyncio
import json

import pytest

from proxy.cli.main import run
from proxy.cli.output import CommandFailed
from proxy.cli.policy_changes import assigned
from tests.proxy.admin.conftest import TOKEN, admin

__all__ = ["admin"]

BOTH = {name: {"strategies": "any", "symbols": ["BTCUSDT"]} for name in ("spot-1", "fut-1")}


@pytest.fixture
async def policy(admin, tmp_path, capsys):
    """Runs `riskgate policy ...`: exit code and what it printed."""
    token = tmp_path / "admin_token"
    token.write_text(TOKEN)
    body = {"policy": {"active_mode": "NORMAL", "accounts": BOTH}, "updated_by": "ann", "reason": "first"}
    assert (await admin.call("PUT", "/api/v2/policy", json=body, headers={"If-Match": '"1"'}))[0] == 200

    async def command(*words, to=("--admin-url", admin.base, "--token-file", str(token))):
        code = await asyncio.to_thread(run, ["policy", *words, *to])
        found = capsys.readouterr()
        lines = [line for line in found.out.splitlines() if "[info" not in line]  # the log of the listener itself
        return code, "\n".join(lines), found.err

    return command


async def test_values_are_read_by_path(policy):
    """One value as a word, a section as YAML; what is no place exits 1."""
    assert (await policy("get", "risk.max_leverage"))[:2] == (0, "5")
    assert (await policy("get", "ai.enable_rl"))[:2] == (0, "true")
    assert (await policy("get", "accounts.spot-1.symbols"))[:2] == (0, "- BTCUSDT")
    assert (await policy("get"))[1].startswith("# revision 2")
    code, _, said = await policy("get", "risk.nothing")
    assert (code, "found no policy value" in said) == (1, True)


async def test_set_shows_the_difference_and_changes_it(policy):
    """Several places in one revision; null removes; a dry run changes nothing and exits 1."""
    assignments = ("defaults.leverage_max=3", "accounts.spot-1.symbols=[BTCUSDT, ETHUSDT]")
    code, out, _ = await policy("set", *assignments, "--dry-run")
    assert code == 1
    assert out.splitlines() == [
        "  accounts.spot-1.symbols: [BTCUSDT] -> [BTCUSDT, ETHUSDT]",
        "  defaults.leverage_max: (not set) -> 3",
        "  looser: account spot-1: symbols",
    ]
    code, out, _ = await policy("set", *assignments, "--reason", "calmer")
    assert (code, out.splitlines()[-1]) == (0, "stored: revision 3, in force from now on")
    assert (await policy("set", "defaults.leverage_max=null", "--reason", "again"))[0] == 0
    assert "nothing changes" in (await policy("set", "defaults.leverage_max=null", "--reason", "again"))[1]
    assert (await policy("set", "defaults.leverage_max=2"))[0] == 2  # no reason


async def test_what_cannot_be_is_told_by_its_path(policy):
    """Exit 3 with every problem, and nothing changed."""
    code, _, said = await policy("set", "defaults.leverage_max=500", "--reason", "x")
    assert (code, "defaults.leverage_max: found '500'" in said) == (3, True)
    code, _, said = await policy("set", "defaults.leverage_max=2", "--reason", "x", "--revision", "1")
    assert (code, "somebody changed the policy meanwhile" in said) == (3, True)
    assert (await policy("get"))[1].startswith("# revision 2")


def test_assignments_are_paths_and_values():
    """Nested by path; lists and sections in YAML's short form; all else text."""
    assert assigned(["a.b=1", "a.c=[x, y]", "d={e: 2}", "f=null"]) == {
        "a": {"b": "1", "c": ["x", "y"]}, "d": {"e": "2"}, "f": None,
    }  # fmt: skip
    for wrong in (["a"], ["=1"], ["a..b=1"], ["a=1", "a.b=2"], ["a=[1"]):
        with pytest.raises(CommandFailed):
            assigned(wrong)


async def test_a_patch_is_a_part_of_a_policy(policy, tmp_path):
    """A file with one section changes that section."""
    file = tmp_path / "part.yaml"
    file.write_text("model_versions: {lstm: '2.3'}\n")
    assert (await policy("patch", str(file), "--reason", "trained"))[0] == 0
    assert (await policy("get", "model_versions.lstm"))[1] == "2.3"


async def test_modes_are_listed_and_used(policy):
    """The active one has a star; an unknown one changes nothing."""
    _, out, _ = await policy("list")
    assert [line.split()[:3] for line in out.splitlines() if "*" in line] == [["*", "NORMAL", "5"]]
    assert (await policy("use", "DEFENSIVE", "--reason", "volatile"))[1].startswith("DEFENSIVE is the risk mode")
    assert (await policy("use", "RECKLESS", "--reason", "x"))[0] == 3
    assert (await policy("get", "active_mode"))[1] == "DEFENSIVE"


async def test_history_diff_and_rollback_round_trip(policy, tmp_path):
    """What a change did stands in the history; rolled back, `diff` with the older file finds nothing."""
    _, before, _ = await policy("get")
    (tmp_path / "before.yaml").write_text(before)
    await policy("set", "defaults.leverage_max=3", "--reason", "calmer")
    assert (await policy("diff", str(tmp_path / "before.yaml")))[0] == 1
    _, out, _ = await policy("history", "--revision", "3")
    assert out.splitlines()[1:] == ["  defaults.leverage_max: (not set) -> 3"]

    assert (await policy("rollback", "2", "--reason", "a mistake"))[0] == 0
    assert (await policy("diff", str(tmp_path / "before.yaml")))[0] == 0
    _, out, _ = await policy("history")
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["4", "3", "2", "1"]
    assert (await policy("rollback", "99", "--reason", "x"))[0] == 3


async def test_presets_are_listed_applied_and_taken_off(policy):
    """Applying one takes its mode; --off takes its limits off."""
    assert (await policy("presets", "bear_market", "--reason", "falling"))[1] == (
        "preset bear_market, risk mode DEFENSIVE (revision 3)"
    )
    assert "*  bear_market" in (await policy("presets"))[1]
    assert (await policy("presets", "--off", "--reason", "over"))[1].startswith("preset none")
    assert (await policy("presets", "sideways", "--reason", "x"))[0] == 3
    assert (await policy("presets", "bear_market", "--off"))[0] == 2


async def test_a_file_is_validated_without_a_proxy(policy, tmp_path):
    """A whole policy exits 0 with its remarks, a mistyped one 2 with its line."""
    file = tmp_path / "policy.yaml"
    file.write_text("active_mode: NORMAL\ndefaults:\n  price: {floor: '1'}\n")
    code, out, said = await policy("validate", str(file), to=())
    assert (code, "mode NORMAL" in out, "price.floor" in said) == (0, True, True)
    file.write_text("active_mode: NORMAL\ndefault: {}\n")
    assert (await policy("validate", str(file), to=()))[0] == 2


async def test_json_is_for_machines(policy):
    """Every reading command has the API's own answer."""
    for words, key in ((("get", "active_mode"), "value"), (("list",), "modes"), (("history",), "revisions"),
                       (("history", "--revision", "2"), "changes"), (("presets",), "presets")):  # fmt: skip
        assert key in json.loads((await policy(*words, "--json"))[1])

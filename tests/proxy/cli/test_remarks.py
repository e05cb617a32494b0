"""What `check` remarks: allowed, and yet probably not meant."""

import asyncio

import pytest

from proxy.cli.main import run
from proxy.cli.remarks import of_streams
from proxy.clock import SystemClock
from proxy.config import from_mapping
from proxy.policy_file import read_policy_file
from proxy.stores import create_store
from tests.canary import marked


def stored(folder, text):
    """A policy store in the folder, filled with this policy."""
    file = folder / "seed.yaml"
    file.write_text(text)

    async def fill():
        policy = read_policy_file(file)
        store = await create_store("sqlite", policy, clock=SystemClock(), data_dir=folder / "data")
        await store.close()

    asyncio.run(fill())


def checked(folder, capsys):
    """What `check` prints for the folder, and its exit code."""
    capsys.readouterr()
    code = run(["check", "--config", str(folder / "riskgate.yaml")])
    return code, capsys.readouterr().out


def test_a_file_that_is_not_in_force_is_told_first(folder, capsys):
    """After the first start the store holds; the command that applies the file is named."""
    text = (folder / "policy.yaml").read_text()
    stored(folder, text)
    assert "differs from the stored policy" not in checked(folder, capsys)[1]

    (folder / "policy.yaml").write_text(text.replace("order_rate_max: 50", "order_rate_max: 10"))
    code, out = checked(folder, capsys)
    assert code == 0
    assert "policy.yaml differs from the stored policy (revision 1), which is in force, in 1 place" in out
    assert f"`riskgate policy apply {folder / 'policy.yaml'} --reason ...` makes it so" in out


def test_a_broken_file_beside_a_store_is_a_remark(folder, capsys):
    """It is not in force, so the proxy would start; the remark says both."""
    stored(folder, (folder / "policy.yaml").read_text())
    (folder / "policy.yaml").write_text("active_mode: [")

    code, out = checked(folder, capsys)
    assert code == 0
    assert "is not in force; the stored policy (revision 1) is" in out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("mode: custody  ", "static_equity: '500'\n    mode: custody  ", "static_equity takes the place of reading it"),
        ("mode: custody  ", "mode: custody  ", ""),
    ],
)
def test_an_account_that_is_never_read_places_nothing_and_check_says_so(folder, old, new, said, capsys):
    """Leverage and exposure would be unknown for ever; ready or not, no order for new exposure passes."""
    file = folder / "riskgate.yaml"
    file.write_text(file.read_text().replace(old, new))

    out = checked(folder, capsys)[1]
    assert ("account main places NO new exposure" in out) is bool(said)
    assert said in out


def test_passthrough_without_credentials_places_nothing_and_check_says_so(folder, capsys):
    """The remark names the way out: a key that may only read."""
    (folder / "riskgate.yaml").write_text(
        "policy_file: policy.yaml\n"
        "accounts: {main: {mode: passthrough, static_equity: '500', bots: {a: {key: '${file:data/bot_grid1_key}'}}}}\n"
    )

    out = checked(folder, capsys)[1]
    assert "account main places NO new exposure: it has no credentials" in out
    assert "a key that may only read is enough" in out


@pytest.mark.parametrize(("source", "said"), [("embedded", False), ("none", True)])
def test_scaling_by_var_without_the_engine_is_remarked(folder, capsys, source, said):
    """Nobody could tell what VaR leaves, so nothing new would pass."""
    settings, policy = folder / "riskgate.yaml", folder / "policy.yaml"
    settings.write_text(settings.read_text().replace("source: embedded", f"source: {source}"))
    policy.write_text(policy.read_text().replace('scaling: "off"', "scaling: by_var"))

    out = checked(folder, capsys)[1]
    assert ("account main scales by_var" in out) is said


def test_a_misspelt_account_is_named_from_both_sides(folder, capsys):
    """The settings' account without limits and the policy's account without settings are one typing error."""
    file = folder / "policy.yaml"
    file.write_text(file.read_text().replace("  main:", "  mian:"))

    out = checked(folder, capsys)[1]
    assert "account main is not in the policy (mian?)" in out
    assert "the policy's account mian is not in the settings (main?)" in out


def test_the_largest_order_is_told_in_money_where_equity_is_known(folder, capsys):
    """0.2% says little; 20 of 10000 says that the exchange's minimum may be above it."""
    out = checked(folder, capsys)[1]
    assert "account main: one order may be worth at most 0.2% of equity (capital_profiles.micro); " in out

    (folder / "data" / "day_start.json").write_text(
        '{"version": 2, "accounts": {"main": {"marks": {"day": '
        '{"at": "2026-01-05T00:00:01+00:00", "equity": "10000"}}}}}'
    )
    out = checked(folder, capsys)[1]
    assert "(capital_profiles.micro), which is 20.00 at an equity of 10000.00 (at 2026-01-05T00:00 UTC)" in out


@pytest.mark.parametrize(
    ("upstream", "account", "missing"),
    [
        ({}, {}, []),
        ({"fapi": "https://venue.example"}, {}, ["upstream.streams.fapi"]),
        (
            {"fapi": "https://venue.example", "api": "https://venue.example"}, {},
            ["upstream.streams.fapi", "upstream.streams.ws_api"],
        ),
        ({"fapi": "https://venue.example"}, {"markets": ["spot"]}, []),
        ({"fapi": "https://venue.example"}, {"stream": "off"}, []),
        ({"fapi": "https://venue.example", "streams": {"fapi": "wss://push.example"}}, {}, []),
        ({"fapi": "https://venue.example"}, {"credentials": None, "static_equity": "5"}, []),
    ],
)  # fmt: skip
def test_an_account_that_cannot_be_heard_is_told(tmp_path, upstream, account, missing):
    """At a host of which nobody said where it pushes, and only if the account is meant to be heard."""
    credentials = {"api_key": marked("k"), "secret": marked("s")}
    tree = {"mode": "passthrough", "credentials": credentials, **account}
    settings = from_mapping(
        {"upstream": upstream, "accounts": {"desk": {key: value for key, value in tree.items() if value is not None}}},
        base=tmp_path,
    )
    found = list(of_streams(settings, "desk", settings.accounts["desk"]))
    assert len(found) == bool(missing)
    assert all(name in found[0] for name in missing)

"""Changing the policy by the API: patches, history, rollback, drafts, presets, and the older v1 set."""

import asyncio
from datetime import timedelta

import pytest

from proxy.audit import read

POLICY = "/api/v2/policy"
BOTH = {name: {"strategies": "any", "symbols": ["BTCUSDT"]} for name in ("spot-1", "fut-1")}
WHO = {"updated_by": "ann", "reason": "calmer"}


@pytest.fixture
async def ready(admin):
    """A listener whose policy knows the accounts of the settings: revision 2."""
    body = {"policy": {"active_mode": "NORMAL", "accounts": BOTH}, **WHO}
    assert (await admin.call("PUT", POLICY, json=body, headers={"If-Match": '"1"'}))[0] == 200
    return admin


async def patch(admin, changes, revision=2, path=POLICY):
    """A PATCH of the policy."""
    headers = {} if revision is None else {"If-Match": f'"{revision}"'}
    return await admin.call("PATCH", path, json={"changes": changes, **WHO}, headers=headers)


async def effective(admin, **asked):
    """The limits in force, by name."""
    _, found, _ = await admin.get(POLICY + "/effective", params={"account": "spot-1", **asked})
    return {one["limit"]: (one["value"], one["source"]) for one in found["limits"]}


async def test_a_patch_merges_and_says_who(ready):
    """Only what is stated changes; the answer is the whole document, one revision on."""
    status, found, headers = await patch(ready, {"accounts": {"spot-1": {"leverage_max": "2"}}})

    assert (status, found["revision"], headers["ETag"], found["updated_by"]) == (200, 3, '"3"', "bootstrap (ann)")
    assert found["policy"]["accounts"]["spot-1"]["symbols"] == ["BTCUSDT"]
    assert found["policy"]["accounts"]["spot-1"]["leverage_max"] == "2"
    assert [one["act"] for one in read(ready.audit.directory)][-2:] == ["policy.patch", "policy.patch"]


async def test_of_two_writers_with_one_revision_the_second_is_told(ready):
    """412 with the revision in force, nothing lost; 428 for who names none."""
    first = await patch(ready, {"defaults": {"leverage_max": "3"}})
    second = await patch(ready, {"defaults": {"leverage_max": "4"}})

    assert (first[0], second[0], second[1]["revision"]) == (200, 412, 3)
    assert (await ready.get(POLICY))[1]["policy"]["defaults"]["leverage_max"] == "3"
    assert (await patch(ready, {}, revision=None))[0] == 428


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accounts": None}, "accounts.fut-1: found nothing"),
        ({"defaults": {"leverage_max": "500"}}, "defaults.leverage_max: found '500', expected a leverage from 1 to"),
        ({"opp_rankings": {"BTCUSDT": "1.5"}}, "opp_rankings.BTCUSDT: found '1.5', expected a rank from 0 to 1"),
        ({"active_preset": "sideways"}, "active_preset: found 'sideways', expected one of"),
        ({"ai": {"enable_rlx": True}}, "ai.enable_rlx: found an unknown key, expected enable_rl?"),
    ],
)
async def test_a_patch_that_is_not_right_changes_nothing(ready, changes, said):
    """Path, found and expected; the policy in force stays."""
    status, problem, _ = await patch(ready, changes)

    assert status == 422
    assert said in problem["detail"]
    assert (await ready.get(POLICY))[1]["revision"] == 2


async def test_a_dry_run_tells_and_changes_nothing(ready):
    """What would differ, and what would be looser."""
    changes = {"accounts": {"spot-1": {"symbols": "any"}}}
    status, found, _ = await patch(ready, changes, path=POLICY + "?dry_run=true")

    assert status == 200
    assert found["changes"] == [{"path": "accounts.spot-1.symbols", "before": "[BTCUSDT]", "after": "any"}]
    assert found["looser"] == ["account spot-1: symbols"]
    assert (await ready.get(POLICY))[1]["revision"] == 2
    for mistyped in ("?dry_run=perhaps", "?dryrun=true", "?dry_run=true&dry_run=true"):
        assert (await patch(ready, changes, path=POLICY + mistyped))[0] == 422
    assert (await ready.get(POLICY))[1]["revision"] == 2


async def test_history_lists_revisions_with_what_they_changed(ready):
    """Newest first, a page at a time, each with who, why and its difference."""
    await patch(ready, {"defaults": {"leverage_max": "3"}})
    _, found, _ = await ready.get(POLICY + "/history?limit=2")
    assert [(one["revision"], one["updated_by"]) for one in found["revisions"]] == [
        (3, "bootstrap (ann)"), (2, "bootstrap (ann)"),
    ]  # fmt: skip
    _, page, _ = await ready.get(POLICY + "/history?before=2")
    assert [one["revision"] for one in page["revisions"]] == [1]

    _, one, _ = await ready.get(POLICY + "/history/3")
    assert one["changes"] == [{"path": "defaults.leverage_max", "before": "(not set)", "after": "3"}]
    assert [(await ready.get(POLICY + path))[0] for path in (
        "/history/9", "/history/0", "/history/x", "/history?limit=0", "/history?limit=201", "/history?before=x",
    )] == [404, 422, 422, 422, 422, 422]  # fmt: skip


async def test_rolling_back_and_forth_ends_where_it_began(ready):
    """A rollback is a new revision with the older document; rolled back again, the newer one is back."""
    await patch(ready, {"defaults": {"leverage_max": "3"}})
    three = (await ready.get(POLICY))[1]["policy"]

    async def rollback(revision, seen):
        return await ready.post(POLICY + "/rollback", {"revision": revision, **WHO}, headers={"If-Match": f'"{seen}"'})

    status, back, _ = await rollback(2, 3)
    assert (status, back["revision"]) == (200, 4)
    assert "leverage_max" not in back["policy"]["defaults"]
    assert (await rollback(3, 4))[1]["policy"] == three
    assert (await rollback(2, 4))[0] == 412
    assert (await rollback(77, 5))[0] == 404
    status, problem, _ = await rollback(1, 5)  # the seed knew no accounts
    assert (status, problem["detail"][:18]) == (422, "accounts.fut-1: fo")


async def test_reset_goes_back_to_the_seed(admin):
    """The document that the store was created with, if the accounts are in it."""
    headers = {"If-Match": '"1"'}
    assert (await admin.post(POLICY + "/reset", WHO))[0] == 428
    assert (await admin.post(POLICY + "/reset", WHO, headers=headers))[0] == 422


async def test_a_draft_is_compared_and_published(ready):
    """Nothing is in force before it is published; afterwards it is gone from the list."""
    status, draft, headers = await ready.post(
        POLICY + "/drafts", {"changes": {"defaults": {"leverage_max": "1"}}, **WHO}
    )
    assert (status, draft["status"], draft["base_revision"], draft["stale"]) == (201, "open", 2, False)
    assert headers["Location"] == f"{POLICY}/drafts/{draft['id']}"
    assert (await ready.get(POLICY))[1]["revision"] == 2
    assert (await ready.get(f"{POLICY}/drafts/{draft['id']}/diff"))[1]["changes"] == [
        {"path": "defaults.leverage_max", "before": "(not set)", "after": "1"}
    ]

    status, found, _ = await ready.post(f"{POLICY}/drafts/{draft['id']}/publish", WHO)
    assert (status, found["revision"], found["policy"]["defaults"]["leverage_max"]) == (200, 3, "1")
    assert (await ready.get(POLICY + "/drafts"))[1] == {"drafts": []}
    assert (await ready.post(f"{POLICY}/drafts/{draft['id']}/publish", WHO))[0] == 404


async def test_a_draft_that_was_overtaken_is_not_published(ready):
    """It says that it is stale, and publishing it is 412."""
    _, draft, _ = await ready.post(POLICY + "/drafts", {"changes": {"defaults": {"leverage_max": "1"}}, **WHO})
    await patch(ready, {"defaults": {"slippage": "1%"}})

    assert (await ready.get(f"{POLICY}/drafts/{draft['id']}/diff"))[1]["stale"] is True
    assert (await ready.post(f"{POLICY}/drafts/{draft['id']}/publish", WHO))[0] == 412
    assert (await ready.call("DELETE", f"{POLICY}/drafts/{draft['id']}"))[1]["status"] == "deleted"
    assert (await ready.get(f"{POLICY}/drafts/{draft['id']}"))[0] == 404
    deleted = list(read(ready.audit.directory))[-1]
    assert (deleted["act"], deleted["before"]["id"], deleted["result"]) == (
        "policy.draft_delete", draft["id"], "deleted",
    )  # fmt: skip


@pytest.mark.parametrize("body", [{}, {"changes": {}, "policy": {}}, {"changes": {"acounts": {}}}, {"policy": {}}])
async def test_a_draft_that_is_not_right_is_not_kept(ready, body):
    """One of changes and policy, and what they come to is validated at once."""
    assert (await ready.post(POLICY + "/drafts", body | WHO))[0] == 422
    assert (await ready.get(POLICY + "/drafts"))[1] == {"drafts": []}


async def test_a_draft_takes_effect_at_its_hour(ready):
    """It is scheduled, on record, and in force once the hour has come, by the name that scheduled it."""
    _, draft, _ = await ready.post(POLICY + "/drafts", {"changes": {"defaults": {"leverage_max": "1"}}, **WHO})
    publish = f"{POLICY}/drafts/{draft['id']}/publish"
    assert (await ready.post(publish, WHO | {"effective_at": "tomorrow"}))[0] == 422
    status, found, _ = await ready.post(publish, WHO | {"effective_at": "2026-03-01T12:00:30Z"})
    assert (status, found["status"]) == (202, "scheduled")
    await asyncio.sleep(0.4)
    assert (await ready.get(POLICY))[1]["revision"] == 2

    ready.clock.advance(to=ready.clock.now() + timedelta(seconds=31))
    async with asyncio.timeout(5):
        while (await ready.get(POLICY))[1]["revision"] == 2:
            await asyncio.sleep(0.05)
    _, found, _ = await ready.get(POLICY)
    assert (found["policy"]["defaults"]["leverage_max"], found["updated_by"]) == ("1", "bootstrap (ann)")


async def test_a_scheduled_draft_that_was_overtaken_is_marked_and_changes_nothing(ready):
    """What others did since is not undone; the draft says why it failed."""
    _, draft, _ = await ready.post(POLICY + "/drafts", {"changes": {"defaults": {"leverage_max": "1"}}, **WHO})
    await ready.post(f"{POLICY}/drafts/{draft['id']}/publish", WHO | {"effective_at": "2026-03-01T12:00:30Z"})
    await patch(ready, {"defaults": {"slippage": "1%"}})

    ready.clock.advance(to=ready.clock.now() + timedelta(seconds=31))
    async with asyncio.timeout(5):
        while (await ready.get(f"{POLICY}/drafts/{draft['id']}"))[1]["status"] != "failed":
            await asyncio.sleep(0.05)
    assert (await ready.get(POLICY))[1]["revision"] == 3


async def test_a_preset_takes_its_mode_and_tightens(ready):
    """Its limits lie over the others and leave with it; the mode stays until somebody switches it."""
    status, found, _ = await ready.post(POLICY + "/presets", {"preset": "high_volatility", **WHO})
    assert (status, found["active"], found["active_preset"]) == (200, "DEFENSIVE", "high_volatility")
    assert (await effective(ready))["slippage"] == ("0.01", "presets.high_volatility")

    status, found, _ = await ready.post(POLICY + "/presets", {"preset": None, **WHO})
    assert (status, found["active"], found["active_preset"]) == (200, "DEFENSIVE", None)
    assert (await effective(ready))["slippage"] == ("0.005", "defaults")
    assert (await ready.post(POLICY + "/presets", {"preset": "sideways", **WHO}))[0] == 422
    known = (await ready.get(POLICY + "/presets"))[1]["presets"]
    assert set(known) == {"bull_market", "bear_market", "high_volatility"}


async def test_effective_says_where_each_limit_comes_from(ready):
    """The tightest layer is named, also where it is the symbol's."""
    await patch(ready, {
        "accounts": {"spot-1": {"by_symbol": {"ETHUSDT": {"open_positions_max": 1}}}},
        "strategies": {"trend": {"open_positions_max": 2}},
        "defaults": {"symbols_blocked": ["XRPUSDT"]},
    })  # fmt: skip

    assert (await effective(ready))["leverage_max"] == ("1", "capital_profiles.micro")
    assert (await effective(ready))["trade_notional_fraction_max"] == ("0.002", "capital_profiles.micro")
    assert (await effective(ready))["symbols_blocked"] == (["XRPUSDT"], "defaults")
    found = await effective(ready, strategy="trend", symbol="ETHUSDT")
    assert found["open_positions_max"] == (1, "accounts.spot-1.by_symbol.ETHUSDT")
    assert (await ready.get(POLICY + "/effective?account=nobody"))[0] == 404
    assert (await ready.get(POLICY + "/effective"))[0] == 422


async def test_v1_shows_what_is_in_force_and_what_was_written(ready):
    """Numbers as numbers; a looser value is written and does not loosen."""
    _, found, _ = await ready.get("/api/policy")
    assert (found["risk_mode"], found["max_risk_per_trade"], found["max_positions"]) == ("NORMAL", 0.015, 30)
    assert (found["global_min_confidence"], found["allowed_symbols"]) == (0.65, "any")

    status, found, _ = await ready.call(
        "PATCH", "/api/policy", json={"max_risk_per_trade": 0.025, "global_min_confidence": 0.72}
    )
    assert (status, found["max_risk_per_trade"], found["global_min_confidence"]) == (200, 0.015, 0.72)
    assert found["stated"] == {"max_risk_per_trade": 0.025, "max_positions": None, "global_min_confidence": 0.72}
    status, found, _ = await ready.call(
        "PATCH", "/api/policy", json={"risk_mode": "AGGRESSIVE", "max_risk_per_trade": 0.02, "updated_by": "msc"}
    )
    assert (status, found["risk_mode"], found["max_risk_per_trade"]) == (200, "AGGRESSIVE_SMALL_ACCOUNT", 0.02)
    assert (await ready.get(POLICY))[1]["updated_by"] == "bootstrap (msc)"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422), ({"max_risk_per_trade": 1.5}, 422), ({"max_risk_per_trade": -0.1}, 422),
        ({"max_positions": 101}, 422), ({"risk_mode": "RECKLESS"}, 422), ({"opp_rankings": {"A": 2}}, 422),
        ({"extra": 1}, 422),
        ({"allowed_symbols": []}, 200), ({"max_positions": 0}, 200), ({"opp_rankings": {"A": 0.5}}, 200),
    ],
)  # fmt: skip
async def test_v1_refuses_what_the_document_refuses(ready, body, status):
    """Out of range, unknown names and unknown keys change nothing."""
    assert (await ready.call("PATCH", "/api/policy", json=body))[0] == status
    assert (await ready.get(POLICY))[1]["revision"] == 2 + (status == 200)


async def test_v1_answers_every_path_of_its_table(ready):
    """Status, lists, versions, switching and resetting without a body, as its clients do."""
    await ready.call("PATCH", "/api/policy", json={
        "allowed_symbols": ["BTCUSDT"], "allowed_strategies": ["momentum", "mean_reversion"],
        "model_versions": {"lstm": "2.3"},
    })  # fmt: skip

    assert (await ready.get("/api/policy/status"))[1]["available"] is True
    assert (await ready.get("/api/policy/allowed_symbols"))[1] == {"allowed_symbols": ["BTCUSDT"]}
    assert (await ready.get("/api/policy/model_versions"))[1] == {"model_versions": {"lstm": "2.3"}}
    assert (await ready.get("/api/policy"))[1]["allowed_strategies"] == ["mean_reversion", "momentum"]
    assert (await ready.call("POST", "/api/policy/risk_mode/DEFENSIVE"))[1] == {"risk_mode": "DEFENSIVE"}
    assert (await ready.get("/api/policy/risk_mode"))[1] == {"risk_mode": "DEFENSIVE"}
    assert (await ready.call("POST", "/api/policy/reset"))[0] == 422  # this seed knows no accounts
    assert (await ready.call("PATCH", "/api/policy", token=None, json={}))[0] == 401

"""What the console's pages show: read from memory and from the end of the record, never on an order's way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from proxy import audit
from proxy.admin.answers import Problem
from proxy.admin.parts import AdminParts
from proxy.admin.policy_changes import differences
from proxy.errors import StoreError
from proxy.loosening import loosened
from proxy.stores.base import validated
from proxy.stores.changes import document

DECISIONS_KEPT = 1000
ACTS_KEPT = 300
READ_AT_ONCE_MAX = 5000
HISTORY_SHOWN = 20
DECISION_KINDS = frozenset({"decision", "refusal"})
# Told with their decision, or with the action that they belong to.
PASSING = frozenset({"outcome", "late", "sent", "action.cancel", "action.countdown"})
WINDOWS_S = (60, 300, 3600)
WORST_FIRST = {"reached": 0, "unknown": 1, "warning": 2, "within": 3}


class Recent:
    """The newest decisions and acts of the record, read on as it grows while somebody looks."""

    def __init__(self, parts: AdminParts) -> None:
        self.decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS_KEPT)  # newest first
        self.acts: deque[dict[str, Any]] = deque(maxlen=ACTS_KEPT)
        self._parts = parts
        self._seen = 0
        self._reading = asyncio.Lock()

    async def refresh(self) -> int:
        """Read what was recorded since; the number of the newest record that is known."""
        async with self._reading:
            upto = self._parts.audit.last_sequence
            count = min(upto - self._seen, READ_AT_ONCE_MAX)
            if count > 0:
                newest = await asyncio.to_thread(audit.newest, self._parts.audit.directory, limit=count)
                for record in reversed(newest):
                    if self._seen < record["seq"] <= upto:
                        self._keep(record)
                self._seen = upto
        return self._seen

    def _keep(self, record: dict[str, Any]) -> None:
        if record["kind"] in DECISION_KINDS:
            self.decisions.appendleft(record)
        elif record["kind"] not in PASSING and "decision_id" not in record:
            self.acts.appendleft(record)


def scopes_of(parts: AdminParts) -> list[tuple[str, list[str]]]:
    """Everything that can be stopped from a list, by kind; a symbol is typed."""
    accounts = sorted(parts.accounts)
    if parts.scopes is None:
        return [("account", accounts)]
    return [(kind, sorted(parts.scopes.names(kind))) for kind in ("exchange", "account", "strategy")]


def tiles_of(parts: AdminParts, status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How every part does, in words; the parts whose failing stops orders come first."""
    found = status.get("parts", {})
    policy = found.get("policy", {})
    stored = "error" not in policy
    tiles = [
        _tile("Record", bool(found.get("audit", {}).get("ready", True)), "written", "cannot be written",
              f"{status.get('audit', {}).get('sequence', 0):,} records"),
        _tile("Policy store", stored, "answers", "lost", f"read {policy['age_s']} s ago" if stored and "age_s" in policy
              else str(policy.get("error", ""))),
        _tile("Stop on disk", parts.ess.durable, "stored", "not stored", f"epoch {parts.ess.epoch}"),
    ]  # fmt: skip
    if parts.loop_lag_s is not None:
        lag_ms = parts.loop_lag_s() * 1000
        tiles.append(_tile("Event loop", lag_ms < 100, "on time", "late", f"{lag_ms:.1f} ms behind"))
    unknown = status.get("reservations", {}).get("unknown", 0)
    flying = status.get("in_flight", 0)
    tiles.append(_tile("Exchange", not unknown, "answers", f"{unknown} of unknown fate", f"{flying} in flight"))
    tiles += _feeds(found.get("feeds", {}))
    tiles += _dead_man(status.get("accounts", {}))
    for account, wrong in found.get("facts", {}).items():
        if wrong:
            tiles.append(_tile(f"Facts of {account}", False, "", "missing", "; ".join(wrong)))  # noqa: FBT003 - a tile
    return tiles


def _tile(name: str, ok: bool, well: str, ill: str, detail: str) -> dict[str, Any]:  # noqa: FBT001 - what is shown
    return {"name": name, "ok": ok, "word": well if ok else ill, "detail": detail}


def _dead_man(accounts: Mapping[str, Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """One tile for each account that asks for the dead man's switch."""
    for name, account in accounts.items():
        report = account.get("dead_man")
        if report is None:
            continue
        failing, armed = report["failing"], report["armed"]
        wound = f"countdown on {', '.join(armed)}" if armed else f"{len(report['leases_s'])} leases"
        detail = f"countdown not taken on {', '.join(failing)}" if failing else wound
        yield _tile(f"Dead man's switch of {name}", not failing, "armed" if armed else "watching", "failing", detail)


def _feeds(feeds: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One tile for what belongs together: all market data, all of one account, the risk signal."""
    groups: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, health in feeds.items():
        kind, _, rest = name.partition(".")
        owner = rest.partition(".")[0]
        title = {"market": "Market data", "account": f"Account {owner}", "losses": f"Losses of {owner}",
                 "risk": "Global risk", "lookup": "Order look-up"}.get(kind, kind.capitalize())  # fmt: skip
        groups.setdefault(title, []).append((name, health))
    tiles = []
    for title, members in groups.items():
        ill = [(name, health) for name, health in members if not health.get("ready")]
        ages = [health["age_s"] for _, health in members if health.get("age_s") is not None]
        detail = f"{len(members)} feeds" if len(members) > 1 else "1 feed"
        detail += f", newest {min(ages):.1f} s" if ages else ""
        if ill:
            name, health = ill[0]
            detail = f"{name.rpartition('.')[2]}: {health.get('error') or 'nothing heard yet'}"
        tiles.append(_tile(title, not ill, "heard", "not heard", detail))
    return tiles


def accounts_of(parts: AdminParts) -> list[dict[str, Any]]:
    """Every account with all of its limits, the nearest first."""
    views = parts.account_views
    if views is None:
        return []
    found = []
    told = parts.status().get("accounts", {})
    for name in views.names:
        one = views.one(name)
        one["dead_man"] = told.get(name, {}).get("dead_man")
        one["limits"] = sorted(
            one["limits"], key=lambda use: (WORST_FIRST.get(str(use["level"]), 0), -_share(use["share"]))
        )
        # What is listed as a position may be orders only.
        one["held"] = sum(any((held["quantity"], held["long"], held["short"])) for held in one["positions"])
        found.append(one)
    return found


def _share(share: object) -> float:
    return 0.0 if share is None else float(str(share))


def bots_of(parts: AdminParts, decisions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every configured bot, with what it did among the newest decisions."""
    bots: dict[tuple[str, str], dict[str, Any]] = {}
    for bot in () if parts.identities is None else parts.identities.bots:
        bots[bot.account.name, bot.name] = {
            "name": bot.name, "account": bot.account.name, "mode": bot.account.mode,
            "strategy": ", ".join(bot.strategies), "allow": 0, "scale_down": 0, "block": 0, "seen": None,
        }  # fmt: skip
    for record in decisions:
        caller = _caller(record)
        mine = bots.get((caller.get("account", ""), caller.get("bot", "")))
        if mine is None:
            continue
        mine["seen"] = mine["seen"] or record["at"]
        mine[record.get("decision", "block")] += 1
    return list(bots.values())


def picked(
    decisions: Iterable[dict[str, Any]], wanted: Mapping[str, str], *, after: int = 0, at_most: int
) -> list[dict[str, Any]]:
    """The decisions that a person filtered for."""
    found: list[dict[str, Any]] = []
    for record in decisions:
        if record["seq"] <= after or len(found) >= at_most:
            break
        if _fits(record, wanted):
            found.append(record)
    return found


def _caller(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whose request it was; what was refused before it was judged names account and bot itself."""
    return record.get("caller") or record


def _fits(record: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    caller = _caller(record)
    symbols = {str(order.get("symbol", "")).casefold() for order in record.get("orders") or ()}
    return all((
        not wanted.get("outcome") or record.get("decision", "block") == wanted["outcome"],
        not wanted.get("account") or caller.get("account") == wanted["account"],
        not wanted.get("bot") or caller.get("bot") == wanted["bot"],
        not wanted.get("reason") or record.get("reason") == wanted["reason"],
        not wanted.get("symbol") or wanted["symbol"].casefold() in symbols,
    ))  # fmt: skip


async def policy_of(parts: AdminParts) -> dict[str, Any] | None:
    """The policy in force, what its last change was, and its history; None while the store does not answer."""
    try:
        stored = await parts.store.get()
        history = await parts.store.history(limit=HISTORY_SHOWN)
        before = await parts.store.get_revision(stored.revision - 1) if stored.revision > 1 else stored
    except StoreError:
        return None
    return {
        "stored": stored,
        "modes": {name: one.model_dump(mode="json") for name, one in stored.policy.risk_profiles.items()},
        "history": history,
        "changes": differences(before.policy, stored.policy),
    }


async def preview_of(parts: AdminParts, mode: str) -> dict[str, Any]:
    """What switching to a mode would change, changing nothing."""
    stored = await parts.store.get()
    if mode not in stored.policy.risk_profiles:
        known = ", ".join(sorted(stored.policy.risk_profiles))
        raise Problem(404, f"there is no risk mode {mode[:64]!r}; known: {known}")
    after = validated(document(stored.policy) | {"active_mode": mode})
    profiles = stored.policy.risk_profiles
    here, there = (profiles[name].model_dump(mode="json") for name in (stored.policy.active_mode, mode))
    return {
        "mode": mode,
        "revision": stored.revision,
        "rows": [
            {"path": name, "before": here.get(name), "after": there.get(name)}
            for name in sorted({*here, *there})
            if name != "name" and here.get(name) != there.get(name)
        ],
        "looser": loosened(stored.policy, after, parts.clock.now()),
    }


async def revision_of(parts: AdminParts, revision: int) -> dict[str, Any]:
    """A revision, what it changed, and what bringing it back would change now."""
    found = await parts.store.get_revision(revision)
    stored = await parts.store.get()
    before = await parts.store.get_revision(revision - 1) if revision > 1 else found
    return {
        "stored": found,
        "changes": differences(before.policy, found.policy),
        "back": differences(stored.policy, found.policy),
        "looser": loosened(stored.policy, found.policy, parts.clock.now()),
        "current": stored.revision,
    }


def symbols_of(accounts: Iterable[Mapping[str, Any]]) -> Collection[str]:
    """The symbols that accounts hold or have orders in."""
    return sorted({
        str(one["symbol"])
        for account in accounts
        for one in (*account["positions"], *account["orders"]["working"])
    })  # fmt: skip



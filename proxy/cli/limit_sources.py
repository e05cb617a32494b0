"""Which layer of the policy set the limits that an order was judged by: asked of the revision that judged it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from proxy.cli.admin_client import AdminClient
from proxy.cli.checking import read_sections
from proxy.cli.output import CommandFailed
from proxy.clock import SystemClock
from proxy.errors import ConfigError, PolicyInvalid, StoreError
from proxy.stores import SQLITE_NAME, open_store
from proxy.stores.base import StoredPolicy, validated
from rules import GOVERNED, RULEBOOK, PolicyGap, effective_with_sources

HISTORY = "/api/v2/policy/history"
CLOCKS_DIFFER = timedelta(minutes=1)  # of the machine that judged and the one that changed the policy


class SourcesUnknown(Exception):
    """Where the limits come from cannot be told; the sentence says why."""


def sources_of(record: Mapping[str, Any], config: Path | None, data_dir: Path | None) -> dict[str, str]:
    """The layer behind each rule's limit; empty for a record that no limit was applied to."""
    revision = record.get("policy_revision")
    if not revision or not record.get("rules_run"):
        return {}
    try:
        stored = _revision(int(revision), config, data_dir)
    except (StoreError, ConfigError, CommandFailed) as error:
        raise SourcesUnknown(str(error)) from None
    decided_at = datetime.fromisoformat(str(record["at"]))
    if stored.updated_at > decided_at + CLOCKS_DIFFER:
        raise SourcesUnknown(f"revision {revision} of the policy is newer than the decision: the store was made anew")
    return _layers(record, stored, decided_at)


def _layers(record: Mapping[str, Any], stored: StoredPolicy, decided_at: datetime) -> dict[str, str]:
    caller = record.get("caller") or {}
    try:
        _, layers = effective_with_sources(
            stored.policy, revision=stored.revision, account=str(caller.get("account")),
            strategy=str(caller.get("strategy")), now=decided_at,
        )  # fmt: skip
    except PolicyGap as error:
        raise SourcesUnknown(str(error)) from None
    symbol = (record.get("orders") or [{}])[0].get("symbol")
    governor = record.get("governor") or {}
    tightened = f" x safety governor {governor['level']}" if governor.get("directive") == "MODIFY" else ""
    return {
        rule.name: (layers.get(f"by_symbol.{symbol}.{rule.limit}") or layers.get(rule.limit, ""))
        + (tightened if rule.limit in GOVERNED else "")
        for rule in RULEBOOK
        if rule.limit is not None
    }


def _revision(revision: int, config: Path | None, data_dir: Path | None) -> StoredPolicy:
    """A revision from where the settings keep policies; a data folder that is named alone has a file at most."""
    if data_dir is not None:
        if not (data_dir / SQLITE_NAME).is_file():
            raise SourcesUnknown(f"there is no policy store in {data_dir}")
        return asyncio.run(_stored("sqlite", data_dir, None, revision))
    settings = read_sections(config, "admin", "data_dir", "store")
    if settings.store.url == "memory":
        return _told(AdminClient.of(settings), revision)
    password = settings.store.password
    secret = None if password is None else password.get_secret_value()
    return asyncio.run(_stored(settings.store.url, settings.data_dir, secret, revision))


async def _stored(url: str, data_dir: Path, password: str | None, revision: int) -> StoredPolicy:
    store = await open_store(url, clock=SystemClock(), data_dir=data_dir, password=password)
    try:
        return await store.get_revision(revision)
    finally:
        await store.close()


def _told(admin: AdminClient, revision: int) -> StoredPolicy:
    """A store in memory is in the running proxy alone."""
    found = admin.get(f"{HISTORY}/{revision}")
    try:
        return StoredPolicy(
            policy=validated(found["policy"]),
            revision=int(found["revision"]),
            updated_at=datetime.fromisoformat(found["updated_at"]),
            updated_by=str(found["updated_by"]),
            reason=str(found["reason"]),
        )
    except (PolicyInvalid, KeyError, TypeError, ValueError) as error:
        raise SourcesUnknown(f"the proxy's policy cannot be read here; is it another version? {error}") from None

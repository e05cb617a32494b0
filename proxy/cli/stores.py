"""`store status`, `create` and `migrate`: the policy store itself, whether or not a proxy is running."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from proxy.cli.checking import read_settings
from proxy.cli.output import CommandFailed, Exit, say, tell
from proxy.clock import SystemClock
from proxy.config import Settings
from proxy.errors import StoreError
from proxy.policy_file import read_policy_file
from proxy.stores import create_store, migrate_store, open_store, read_legacy, shown, store_exists, tightened


def status(config: Path | None) -> None:
    """Print where the store is and its latest revision."""
    settings = _settings(config)

    async def asked(place: dict[str, Any]) -> None:
        store = await open_store(settings.store.url, **place)
        try:
            (last,) = await store.history(limit=1)
        finally:
            await store.close()
        say(f"{shown(settings.store.url)}: revision {last.revision}, {last.updated_at:%Y-%m-%d %H:%M:%S}Z,")
        say(f"by {' '.join(last.updated_by.split())}: {' '.join(last.reason.split())}")

    _run(settings, asked)


def create(config: Path | None) -> None:
    """Make the store from the policy file."""
    settings = _settings(config)
    if settings.policy_file is None:
        raise CommandFailed("policy_file is not set; expected the file that the store is made from", Exit.USAGE)
    seed, kept = tightened(read_policy_file(settings.policy_file), read_legacy(os.environ))
    for sentence in kept:
        tell(f"riskgate: remark: {sentence}")

    async def made(place: dict[str, Any]) -> None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await (await create_store(settings.store.url, seed, **place)).close()
        say(f"made {shown(settings.store.url)}, revision 1, from {settings.policy_file}")

    _run(settings, made)


def migrate(config: Path | None) -> None:
    """Bring the store to the schema of this version."""
    settings = _settings(config)

    async def migrated(place: dict[str, Any]) -> None:
        if not await store_exists(settings.store.url, **place):
            raise CommandFailed(f"no policy store at {shown(settings.store.url)}")
        schemas = await migrate_store(settings.store.url, **place)
        if schemas is None or schemas[0] == schemas[1]:
            say(f"{shown(settings.store.url)}: nothing to migrate")
        else:
            say(f"{shown(settings.store.url)}: migrated from schema {schemas[0]} to {schemas[1]}")

    _run(settings, migrated)


def _settings(config: Path | None) -> Settings:
    settings = read_settings(config)
    if settings.store.url == "memory":
        raise CommandFailed("store.url is memory: there is nothing outside the running proxy", Exit.USAGE)
    return settings


def _run(settings: Settings, work: Callable[[dict[str, Any]], Coroutine[Any, Any, None]]) -> None:
    password = settings.store.password
    place: dict[str, Any] = {
        "clock": SystemClock(),
        "data_dir": settings.data_dir,
        "password": None if password is None else password.get_secret_value(),
    }
    try:
        asyncio.run(work(place))
    except StoreError as error:
        raise CommandFailed(str(error)) from None

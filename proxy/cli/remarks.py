"""What `riskgate check` and `run` remark: allowed, and yet probably not meant."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson

from proxy.clock import SystemClock
from proxy.config import Account, Settings
from proxy.errors import StoreError
from proxy.policy_file import difference, read_policy_file
from proxy.stores import open_store, store_exists
from proxy.stores.base import StoredPolicy
from rules.limits import PolicyGap, effective_with_sources
from rules.profile import GlobalPolicy, warnings

DAY_START_FILE = "day_start.json"


def remarks(settings: Settings) -> list[str]:
    """Every remark on settings and policy; raises SettingsInvalid for a policy file that cannot be used."""
    found = [line for name, account in settings.accounts.items() for line in of_account(name, account)]
    found += [line for name, account in settings.accounts.items() for line in of_streams(settings, name, account)]
    try:
        stored = stored_policy(settings)
    except StoreError as error:
        return [*found, f"the policy store cannot be read, and nothing starts with it: {error}"]
    if stored is not None and settings.policy_file is not None:
        said = difference(settings.policy_file, stored)
        found = [said, *found] if said else found
    # What is in force counts; before the first start that is the file.
    if stored is not None:
        policy = stored.policy
    elif settings.policy_file is not None:
        policy = read_policy_file(settings.policy_file)
    else:
        return [*found, "policy_file is not set and there is no policy store yet: `run` refuses to start"]
    return [*found, *of_policy(settings, policy), *warnings(policy)]


def stored_policy(settings: Settings) -> StoredPolicy | None:
    """The policy the store holds; None before the first start, and for a store that forgets."""
    return None if settings.store.url == "memory" else asyncio.run(_stored(settings))


async def _stored(settings: Settings) -> StoredPolicy | None:
    store, password = settings.store, settings.store.password
    place: dict[str, Any] = {
        "clock": SystemClock(),
        "data_dir": settings.data_dir,
        "password": None if password is None else password.get_secret_value(),
    }
    if not await store_exists(store.url, **place):
        return None
    opened = await open_store(store.url, **place)
    try:
        return await opened.get()
    finally:
        await opened.close()


def of_account(name: str, account: Account) -> Iterator[str]:
    """An account that is not read cannot open anything, however ready everything else is."""
    if account.static_equity is None and account.credentials is not None:
        return
    why, instead = "it has no credentials", "Give it credentials; a key that may only read is enough"
    if account.credentials is not None:
        why, instead = "static_equity takes the place of reading it", "Remove static_equity"
    yield (
        f"account {name} places NO new exposure: {why}, so its positions, leverage and losses are never known. "
        f"Cancels pass, and what the exchange itself keeps from opening. {instead}"
    )


def of_streams(settings: Settings, name: str, account: Account) -> Iterator[str]:
    """An account that should be heard, at a host of which nobody said where it pushes."""
    if account.stream == "off" or account.credentials is None or account.static_equity is not None:
        return
    pushes = settings.upstream.pushes
    missing = []
    if "futures" in account.markets and pushes.fapi is None:
        missing.append("upstream.streams.fapi")
    if "spot" in account.markets and pushes.ws_api is None:
        missing.append("upstream.streams.ws_api")
    if missing:
        yield (
            f"account {name} is read, not heard: where the exchange pushes is not known. Set {' and '.join(missing)}, "
            f"or accounts.{name}.stream: off"
        )


def of_policy(settings: Settings, policy: GlobalPolicy) -> Iterator[str]:
    """Accounts that only one of the two documents knows, and what the limits mean in money."""
    for name in settings.accounts:
        if name not in policy.accounts:
            yield f"account {name} is not in the policy{_meant(name, policy.accounts)}: `run` refuses to start"
    for name in policy.accounts:
        if name not in settings.accounts:
            near = _meant(name, settings.accounts)
            yield f"the policy's account {name} is not in the settings{near}: it limits nobody"
    if policy.risk_source.kind != "none" and settings.global_risk.source == "none":
        yield "the policy requires a global risk signal, and global_risk.source is none: new exposure is blocked"
    for name, own in policy.accounts.items():
        if own.scaling == "by_var" and settings.global_risk.source != "embedded":
            yield (
                f"account {name} scales by_var, which only the embedded engine can work out, and global_risk.source is "
                f"{settings.global_risk.source}: its new exposure is blocked"
            )
    interval, age_max = settings.global_risk.interval, policy.ages.risk_s
    if policy.risk_source.kind == "required" and Decimal(str(interval)) * 2 > age_max:
        yield (
            f"global_risk.interval is {interval:g} s and a signal may be at most {age_max:f} s old: one that comes "
            "late blocks new exposure; half of that age leaves room"
        )
    for name in settings.accounts:
        yield from _order_in_money(settings, policy, name)


def _meant(name: str, known: object) -> str:
    near = get_close_matches(name, list(known), n=1)  # type: ignore[call-overload]
    return f" ({near[0]}?)" if near else ""


def _order_in_money(settings: Settings, policy: GlobalPolicy, name: str) -> Iterator[str]:
    """The tightest of all limits on one order, as a share and, where equity is known, in money."""
    try:
        limits, sources = effective_with_sources(
            policy, revision=0, account=name, strategy="", now=SystemClock().now()
        )
    except PolicyGap:
        return
    share = limits.trade_notional_fraction_max
    if share is None:
        return
    said = (
        f"account {name}: one order may be worth at most {(share * 100).normalize():f}% of equity "
        f"({sources['trade_notional_fraction_max']})"
    )
    equity, since = _equity(settings, name)
    if equity is not None:
        said += f", which is {share * equity:.2f} at an equity of {equity:.2f} ({since})"
    yield f"{said}; the exchange has minimums of its own, often 5 to 100"


def _equity(settings: Settings, name: str) -> tuple[Decimal | None, str]:
    """The equity last known without asking anybody: as configured, or as it was when the day began."""
    static = settings.accounts[name].static_equity
    if static is not None:
        return static, "static_equity"
    file: Path = settings.data_dir / DAY_START_FILE
    try:
        row = orjson.loads(file.read_bytes())["accounts"][name]
        start = row["marks"]["day"]
        return Decimal(start["equity"]), f"at {start['at'][:16]} UTC"
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
        return None, ""  # a remark only: the feed says what is wrong with the file

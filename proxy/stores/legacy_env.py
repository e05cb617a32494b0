"""Variables of older installations, read as aliases. A value may only tighten.

`QUANTUM_RISK_MODE`, `QT_RISK_MODE` name the risk mode; `QT_MAX_RISK_PER_TRADE` is a fraction of
equity, `RM_RISK_PER_TRADE_PCT` a percentage; `QT_MAX_POSITIONS`, `QT_CONFIDENCE_THRESHOLD` and
`RM_MAX_LEVERAGE` are plain. What cannot be read stops the start: a default in its place
would be a limit that nobody chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog
from pydantic import ValidationError

from proxy.errors import ConfigError
from proxy.stores.base import validated
from rules.limits import TIGHTER, of_risk_profile
from rules.profile import MODE_ALIASES, Defaults, GlobalPolicy, explain

log = structlog.get_logger("riskgate.policies")

MODE_VARIABLES = ("QUANTUM_RISK_MODE", "QT_RISK_MODE")

# The variable, the key (with its unit) that reads it, and the limit it states.
LIMIT_VARIABLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "QT_MAX_RISK_PER_TRADE": ("trade_risk_max_fraction", "trade_risk_max"),
        "RM_RISK_PER_TRADE_PCT": ("trade_risk_max_percent", "trade_risk_max"),
        "QT_MAX_POSITIONS": ("open_positions_max", "open_positions_max"),
        "QT_CONFIDENCE_THRESHOLD": ("confidence_min", "confidence_min"),
        "RM_MAX_LEVERAGE": ("leverage_max", "leverage_max"),
    }
)


class LegacySettings(NamedTuple):
    """What the variables say: a mode, limits by their name in the policy, and what to tell the operator."""

    mode: str | None
    limits: Mapping[str, Any]
    notices: tuple[str, ...]


def read_legacy(environ: Mapping[str, str]) -> LegacySettings:
    """Read the old variables; an unreadable value, or two that disagree on the mode, is a ConfigError."""
    notices = []
    modes = {}
    for name in MODE_VARIABLES:
        if name in environ:
            modes[name] = MODE_ALIASES.get(environ[name].strip(), environ[name].strip())
            notices.append(f"{name} is deprecated: write active_mode into the policy")
    if len(set(modes.values())) > 1:
        found = " and ".join(f"{name}={value}" for name, value in modes.items())
        raise ConfigError(f"environment: found {found}, expected one risk mode")
    limits: dict[str, Any] = {}
    for name, (key, limit) in LIMIT_VARIABLES.items():
        if name not in environ:
            continue
        try:
            read = getattr(Defaults.model_validate({key: environ[name].strip()}), limit)
        except ValidationError as error:
            raise ConfigError(f"environment: {name}: {explain(error)[0]}") from None
        limits[limit] = _tighter(limit, limits[limit], read) if limit in limits else read
        notices.append(f"{name} is deprecated: write {key} under defaults in the policy")
    for notice in notices:
        log.warning("settings.deprecated", notice=notice)
    return LegacySettings(next(iter(modes.values()), None), MappingProxyType(limits), tuple(notices))


def tightened(policy: GlobalPolicy, legacy: LegacySettings) -> tuple[GlobalPolicy, tuple[str, ...]]:
    """The policy with the old variables applied where they tighten, and what was left alone and why."""
    document = policy.model_dump(mode="json", exclude_none=True)
    kept = []
    if legacy.mode is not None and legacy.mode != policy.active_mode:
        if legacy.mode not in policy.risk_profiles:
            known = ", ".join(sorted(policy.risk_profiles))
            raise ConfigError(f"environment: found the risk mode {legacy.mode[:64]!r}, expected one of {known}")
        if looser := _looser_in(policy, legacy.mode):
            kept.append(
                f"risk mode {policy.active_mode} is kept: {legacy.mode} from the environment would loosen"
                f" {', '.join(looser)}; switch it in the policy"
            )
        else:
            document["active_mode"] = legacy.mode
    defaults = Defaults.model_validate(document["defaults"])
    stated = {
        limit: value if getattr(defaults, limit) is None else _tighter(limit, getattr(defaults, limit), value)
        for limit, value in legacy.limits.items()
    }
    document["defaults"] |= {
        f"{limit}_fraction" if limit == "trade_risk_max" else limit: value for limit, value in stated.items()
    }
    if "trade_risk_max" in stated:
        document["defaults"].pop("trade_risk_max", None)
    for sentence in kept:
        log.warning("settings.ignored", notice=sentence)
    return validated(document), tuple(kept)


def _tighter(limit: str, one: Any, other: Any) -> Any:  # noqa: ANN401 - a Decimal or an int, as the limit is
    name = "trade_notional_fraction_max" if limit == "trade_risk_max" else limit
    return TIGHTER[name](one, other)


def _looser_in(policy: GlobalPolicy, mode: str) -> list[str]:
    """The limits that the other risk profile has looser than the active one."""
    now, then = of_risk_profile(policy.risk_profile), of_risk_profile(policy.risk_profiles[mode])
    return [name for name, value in then.items() if TIGHTER[name](now[name], value) != value]

"""Variables of older installations, read as aliases. A value may only tighten.

`QUANTUM_RISK_MODE`, `QT_RISK_MODE` name the risk mode; `QT_MAX_RISK_PER_TRADE` is a fraction of
equity, `RM_RISK_PER_TRADE_PCT` a percentage; `QT_MAX_POSITIONS`, `QT_CONFIDENCE_THRESHOLD` and
`RM_MAX_LEVERAGE` are plain; those of RiskGuard are amounts of money, prices, seconds and a list of
symbols. What cannot be read stops the start: a default in its place would be a limit that nobody chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from proxy.errors import ConfigError
from proxy.stores.base import validated
from rules.limits import TIGHTER, of_risk_profile
from rules.profile import MODE_ALIASES, AgesPolicy, Defaults, GlobalPolicy, explain

M = TypeVar("M", bound=BaseModel)

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
        "QT_MAX_DAILY_LOSS": ("loss_daily_money_max", "loss_daily_money_max"),
    }
)

# The variable, and the section of the defaults and the key in it that it states.
SECTION_VARIABLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "QT_MAX_NOTIONAL_PER_TRADE": ("size", "order_notional_max"),
        "QT_MAX_POSITION_PER_SYMBOL": ("size", "exposure_symbol_max"),
        "QT_MAX_GROSS_EXPOSURE": ("size", "exposure_total_max"),
        "QT_MIN_UNIT_PRICE": ("price", "floor"),
        "QT_MAX_UNIT_PRICE": ("price", "ceiling"),
    }
)
SYMBOLS_VARIABLE = "QT_ALLOWED_SYMBOLS"
PRICE_AGE_VARIABLE = "QT_MAX_PRICE_STALENESS_SECONDS"
KILL_VARIABLE = "QT_KILL_SWITCH"
NO_EFFECT: Mapping[str, str] = MappingProxyType(
    {
        "QT_FAILSAFE_RESET_MINUTES": "an emergency stop does not end by itself",
        "QT_ADMIN_TOKEN": "the admin token stands in the data directory",
        "QT_RISK_STATE_DB": "state is kept in the data directory",
    }
)
FLAGS: Mapping[str, bool] = MappingProxyType(
    {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
)


class LegacySettings(NamedTuple):
    """What the variables say: a mode, limits by their name in the policy, and what to tell the operator."""

    mode: str | None
    limits: Mapping[str, Any]
    notices: tuple[str, ...]
    sections: Mapping[tuple[str, str], Any] = MappingProxyType({})  # by section of the defaults and key
    symbols: frozenset[str] | None = None
    price_age_max_s: Decimal | None = None
    kill_switch: bool = False  # the emergency stop is engaged at the start


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
        read = getattr(_read(name, Defaults, {key: environ[name].strip()}), limit)
        limits[limit] = _tighter(limit, limits[limit], read) if limit in limits else read
        notices.append(f"{name} is deprecated: write {key} under defaults in the policy")
    sections: dict[tuple[str, str], Any] = {}
    for name, (section, key) in SECTION_VARIABLES.items():
        if name in environ:
            stated = _read(name, Defaults, {section: {key: environ[name].strip()}})
            sections[section, key] = getattr(getattr(stated, section), key)
            notices.append(f"{name} is deprecated: write {section}.{key} under defaults in the policy")
    notices += [f"{name} has no effect: {why}" for name, why in NO_EFFECT.items() if name in environ]
    price_age = None
    if PRICE_AGE_VARIABLE in environ:
        price_age = _read(PRICE_AGE_VARIABLE, AgesPolicy, {"price_s": environ[PRICE_AGE_VARIABLE].strip()}).price_s
        notices.append(f"{PRICE_AGE_VARIABLE} is deprecated: write ages.price_s into the policy")
    symbols, kills = _symbols(environ, notices), _kills(environ, notices)
    for notice in notices:
        log.warning("settings.deprecated", notice=notice)
    return LegacySettings(
        next(iter(modes.values()), None), MappingProxyType(limits), tuple(notices),
        sections=MappingProxyType(sections), symbols=symbols, price_age_max_s=price_age, kill_switch=kills,
    )  # fmt: skip


def _read(name: str, model: type[M], stated: Mapping[str, object]) -> M:
    try:
        return model.model_validate(stated)
    except ValidationError as error:
        raise ConfigError(f"environment: {name}: {explain(error)[0]}") from None


def _symbols(environ: Mapping[str, str], notices: list[str]) -> frozenset[str] | None:
    if SYMBOLS_VARIABLE not in environ:
        return None
    named = [name.strip().upper() for name in environ[SYMBOLS_VARIABLE].split(",") if name.strip()]
    if not named:
        # Unset admits any; set to nothing, it was read as "any" by some and as "none" by others.
        raise ConfigError(f"environment: {SYMBOLS_VARIABLE}: found no name, expected symbols like BTCUSDT,ETHUSDT")
    notices.append(f"{SYMBOLS_VARIABLE} is deprecated: write symbols under defaults in the policy")
    found = _read(SYMBOLS_VARIABLE, Defaults, {"symbols": named}).symbols
    assert not isinstance(found, str)
    return found


def _kills(environ: Mapping[str, str], notices: list[str]) -> bool:
    if KILL_VARIABLE not in environ:
        return False
    stated = FLAGS.get(environ[KILL_VARIABLE].strip().lower())
    if stated is None:
        raise ConfigError(f"environment: {KILL_VARIABLE}: found {environ[KILL_VARIABLE]!r:.20}, expected true or false")
    notices.append(f"{KILL_VARIABLE} is deprecated: use `riskgate halt`")
    return stated


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
    for (section, key), value in legacy.sections.items():
        written = document["defaults"].setdefault(section, {})
        known = getattr(getattr(defaults, section), key)
        limit = key if section == "size" else f"{section}_{key}"
        written[key] = value if known is None else TIGHTER[limit](known, value)
    if legacy.symbols is not None:
        listed = defaults.symbols
        document["defaults"]["symbols"] = sorted(legacy.symbols if isinstance(listed, str) else legacy.symbols & listed)
    if legacy.price_age_max_s is not None:
        document["ages"]["price_s"] = min(policy.ages.price_s, legacy.price_age_max_s)
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

"""What people write about limits: profiles, accounts, strategies and symbols, in one document.

Everything is strict, frozen and refuses unknown keys at every depth, because a mistyped
limit that is ignored is no limit. A limit is a positive magnitude. A share of equity carries
its unit: "1.5%", or the unit in the key (`trade_risk_max_fraction: "0.015"`,
`trade_risk_max_percent: "1.5"`); a bare number could be read as either and is refused.

How the layers become one set of limits is in `rules/limits.py` and nowhere else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    WrapSerializer,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rules.facts import DOLLAR_COINS, LossBase
from rules.limits import OF_ACCOUNT_SUMS, TIGHTER, RiskSource, stated_by
from rules.losses import Rung

# 15 + 12 digits stay exact in the 28 digits of decimal arithmetic, also when a percentage becomes a fraction.
PLAIN_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,12})?", re.ASCII)
EXPONENT = re.compile(r"[0-9.]{1,40}[eE][+-]?[0-9]{1,9}", re.ASCII)  # 3e2: read by some as 300, by others as text
ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}", re.ASCII)
TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
LEVERAGE_HIGHEST = 125
ANY: Literal["any"] = "any"

V = TypeVar("V")


# --- reading values ---------------------------------------------------------------------------


def _expected(what: str) -> PydanticCustomError:
    """An error that `explain` turns into "found ..., expected <what>"."""
    return PydanticCustomError("expected", "expected {expected}", {"expected": what})


def _wrong(sentence: str) -> PydanticCustomError:
    """An error of a whole section; the sentence itself names what was found and expected."""
    return PydanticCustomError("section", "{sentence}", {"sentence": sentence})


def _number(given: object, what: str) -> Decimal:
    """A plain non-negative number, exact; binary floats and exponents are refused."""
    text = ""
    if isinstance(given, str):
        text = given
    elif isinstance(given, int) and not isinstance(given, bool):
        text = str(given)
    elif isinstance(given, Decimal) and given.is_finite():
        text = format(given, "f")
    elif isinstance(given, float):
        raise _expected(f"{what}, written as a string so that no digit is lost")
    if text.startswith("-"):
        raise _expected(f"{what}; limits are positive magnitudes")
    if EXPONENT.fullmatch(text):
        raise _expected(f"{what}, with all its digits and no exponent")
    if not PLAIN_NUMBER.fullmatch(text):
        raise _expected(what)
    return Decimal(text)


def _between(low: int | str, high: int | str, what: str) -> Callable[[object], Decimal]:
    lowest, highest = Decimal(low), Decimal(high)

    def read(given: object) -> Decimal:
        number = _number(given, what)
        if not lowest <= number <= highest:
            raise _expected(what)
        return number

    return read


def _above_nothing(what: str, highest: Decimal | None = None) -> Callable[[object], Decimal]:
    def read(given: object) -> Decimal:
        number = _number(given, what)
        if not number > 0 or (highest is not None and number > highest):
            raise _expected(what)
        return number

    return read


class Stated(NamedTuple):
    """A share whose unit stands in its key: the key as written, the unit and the value."""

    key: str
    unit: str  # "fraction" or "percent"
    value: object


SHARE = "a share of equity with its unit"


def _fraction(given: object) -> Decimal:
    """A share in (0, 1] with its unit; internally always a fraction."""
    if isinstance(given, Stated):
        what = f"{given.key} to be above 0 and at most {100 if given.unit == 'percent' else 1}"
        number = _number(given.value, what)
        share = number.scaleb(-2) if given.unit == "percent" else number
    elif isinstance(given, str) and given.endswith("%"):
        what = "a percentage above 0% and at most 100%, like '1.5%'"
        share = _number(given.removesuffix("%").rstrip(" "), what).scaleb(-2)
    else:
        raise _expected(
            f"{SHARE}, as a bare number can be read two ways: write '1.5%',"
            " or put the unit into the key (..._percent: '1.5' or ..._fraction: '0.015')"
        )
    if not 0 < share <= 1:
        raise _expected(what)
    return share


def _confidence(given: object) -> Decimal:
    what = "a confidence from 0 to 1, like '0.65'"
    if isinstance(given, str) and given.endswith("%"):
        number = _number(given.removesuffix("%"), what).scaleb(-2)
    else:
        number = _number(given, what)
    if number > 1:
        raise _expected(what)
    return number


def _counting(lowest: int, highest: int | None = None) -> Callable[[object], int]:
    what = f"a whole number of at least {lowest}" if highest is None else f"a whole number from {lowest} to {highest}"

    def read(given: object) -> int:
        number = _number(given, what)
        if number != number.to_integral_value() or number < lowest or (highest is not None and number > highest):
            raise _expected(what)
        return int(number)

    return read


def _flag(given: object) -> bool:
    """True or false; as words too, because strictly read YAML holds only strings."""
    if isinstance(given, bool):
        return given
    if given in ("true", "false"):
        return given == "true"
    raise _expected("true or false")


def _instant(given: object) -> datetime:
    what = "an instant with its offset, like '2026-01-31T18:00:00Z'"
    instant = given
    if isinstance(given, str):
        try:
            instant = datetime.fromisoformat(given)
        except ValueError:
            raise _expected(what) from None
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise _expected(what)
    return instant.astimezone(UTC)


def _zone(given: object) -> str:
    what = "a time zone by its IANA name, like 'UTC' or 'Europe/Prague'"
    if not isinstance(given, str) or not ZONE.fullmatch(given):
        raise _expected(what)
    try:
        ZoneInfo(given)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _expected(what) from None
    return given


def _time_of_day(given: object) -> time:
    what = "a time of day like '00:00' or '17:00'"
    if isinstance(given, time) and given.tzinfo is None:
        return given
    if not isinstance(given, str) or not TIME_OF_DAY.fullmatch(given):
        raise _expected(what)
    return time.fromisoformat(given)


def _loss_base(given: object) -> LossBase:
    if isinstance(given, str) and given in set(LossBase):
        return LossBase(given)
    raise _expected("one of " + ", ".join(LossBase))


def _whitelist(given: object) -> frozenset[str] | Literal["any"]:
    what = "'any', or a list of names (an empty list admits none)"
    if given == ANY:
        return ANY
    if not isinstance(given, list | tuple | set | frozenset):
        raise _expected(what)
    for name in given:
        # "any" or "*" inside a list would look like a wildcard and silently match nothing.
        if not isinstance(name, str) or not re.fullmatch(r"\S{1,64}", name) or name in (ANY, "*"):
            raise _expected(f"{what}; {name!r} is no name")
    return frozenset(given)


def _names(given: object) -> frozenset[str]:
    what = "a list of names"
    if not isinstance(given, list | tuple | set | frozenset):
        raise _expected(what)
    for name in given:
        # "any" or "*" would look like a wildcard and silently match nothing.
        if not isinstance(name, str) or not re.fullmatch(r"\S{1,64}", name) or name in (ANY, "*"):
            raise _expected(f"{what}; {name!r} is no name")
    return frozenset(given)


def _plain(number: Decimal) -> str:
    return format(number, "f")


def _percentage(share: Decimal) -> str:
    return format(share.scaleb(2), "f") + "%"


_AS_TEXT = PlainSerializer(_plain, return_type=str)

Money: TypeAlias = Annotated[
    Decimal, BeforeValidator(_above_nothing("a positive amount written as a string, like '300'")), _AS_TEXT
]
Amount: TypeAlias = Annotated[
    Decimal, BeforeValidator(_above_nothing("a positive number written as a string, like '0.5'")), _AS_TEXT
]
Seconds: TypeAlias = Annotated[
    Decimal, BeforeValidator(_above_nothing("a positive number of seconds, like '5'")), _AS_TEXT
]
Leverage: TypeAlias = Annotated[
    Decimal,
    BeforeValidator(_between(1, LEVERAGE_HIGHEST, f"a leverage from 1 to {LEVERAGE_HIGHEST}, like '5'")),
    _AS_TEXT,
]
Factor: TypeAlias = Annotated[
    Decimal, BeforeValidator(_above_nothing("a factor above 0 and at most 1, like '0.5'", Decimal(1))), _AS_TEXT
]
ServedFactor: TypeAlias = Annotated[
    Decimal, BeforeValidator(_above_nothing("a factor above 0 and at most 2, like '1.0'", Decimal(2))), _AS_TEXT
]
Fraction: TypeAlias = Annotated[
    Decimal, SHARE, BeforeValidator(_fraction), PlainSerializer(_percentage, return_type=str)
]
Confidence: TypeAlias = Annotated[Decimal, BeforeValidator(_confidence), _AS_TEXT]
Positions: TypeAlias = Annotated[int, BeforeValidator(_counting(0, 100))]
Count: TypeAlias = Annotated[int, BeforeValidator(_counting(1))]
Flag: TypeAlias = Annotated[bool, BeforeValidator(_flag)]
Instant: TypeAlias = Annotated[
    datetime, BeforeValidator(_instant), PlainSerializer(datetime.isoformat, return_type=str)
]
Zone: TypeAlias = Annotated[str, BeforeValidator(_zone)]
TimeOfDay: TypeAlias = Annotated[
    time,
    BeforeValidator(_time_of_day),
    PlainSerializer(lambda at: at.isoformat(timespec="minutes"), return_type=str),
]
Whitelist: TypeAlias = Annotated[
    frozenset[str] | Literal["any"],
    PlainValidator(_whitelist),
    PlainSerializer(lambda names: names if names == ANY else sorted(names)),
]
Names: TypeAlias = Annotated[frozenset[str], PlainValidator(_names), PlainSerializer(lambda names: sorted(names))]
Rank: TypeAlias = Annotated[
    Decimal, BeforeValidator(_between(0, 1, "a rank from 0 to 1, like '0.8'")), _AS_TEXT
]
Version: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Words: TypeAlias = Annotated[str, StringConstraints(max_length=500)]
Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^\S{1,64}$")]
Frozen: TypeAlias = Annotated[
    Mapping[Name, V],
    AfterValidator(lambda named: MappingProxyType(dict(named))),
    WrapSerializer(lambda named, handler: handler(dict(named))),
]


# --- models -----------------------------------------------------------------------------------


def _is_fraction(annotation: object) -> bool:
    return SHARE in getattr(annotation, "__metadata__", ()) or any(
        _is_fraction(part) for part in get_args(annotation) if part is not annotation
    )


@cache
def _fractions(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a model that are shares and may carry their unit in the key."""
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if SHARE in field.metadata or _is_fraction(field.annotation)
    )


class Written(BaseModel):
    """Base of everything people write."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _units_in_keys(cls, given: object) -> object:
        """Take `x_percent` and `x_fraction` for `x`; stating a share twice is refused."""
        if not isinstance(given, Mapping):
            return given
        read: dict[Any, object] = dict(given)
        if "settings" in cls.model_fields:
            _take_long_forms(cls, read)
        for name in _fractions(cls):
            keys = [key for key in (name, f"{name}_fraction", f"{name}_percent") if key in read]
            if len(keys) > 1:
                raise _wrong(f"found {' and '.join(keys)}, expected one of them")
            if keys and keys[0] != name:
                key = keys[0]
                read[name] = Stated(key, key.rpartition("_")[2], read.pop(key))
        return read


class LimitSetting(Written):
    """What a limit's long form says beside its value. `limit` is the value of one that is not enforced."""

    limit: Any = None
    unit: str | None = None
    warn_at: Fraction | None = None
    action: Literal["block", "scale_down"] | None = None
    mode: Literal["enforce", "shadow", "off"] = "enforce"

    @property
    def written(self) -> dict[str, Any]:
        """As people write it, without the value."""
        said = self.model_dump(mode="json", exclude_none=True, exclude={"limit"})
        return {name: value for name, value in said.items() if (name, value) != ("mode", "enforce")}


class Limited(Written):
    """A section of limits, each written short (`leverage_max: "3"`) or long (`leverage_max: {limit: "3", ...}`).

    A limit that is not enforced is not in its field, so that nobody who reads the section can take it for one that
    is; its value is kept with what is said of it.
    """

    settings: tuple[tuple[str, LimitSetting], ...] = ()  # taken from the long forms, never written as such

    @model_validator(mode="after")
    def _only_what_is_enforced(self) -> Self:
        kept = []
        for name, setting in self.settings:
            value = getattr(self, name, None)
            if setting.mode != "enforce" and value is not None:
                if type(self).model_fields[name].is_required():
                    expected = "enforce: a profile has all its limits"
                    raise _wrong(f"{name}.mode: found {setting.mode!r}, expected {expected}")
                self.__dict__[name] = None
                setting = setting.model_copy(update={"limit": value})
            if setting.written:
                kept.append((name, setting))
        self.__dict__["settings"] = tuple(kept)
        return self

    @property
    def limit_settings(self) -> dict[str, LimitSetting]:
        """What is said of limits beside their values, by the limit."""
        return dict(self.settings)

    @model_serializer(mode="wrap")
    def _long_forms(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        enforced = {name: setting.limit for name, setting in self.settings if setting.mode != "enforce"}
        written = handler(self.model_copy(update=enforced) if enforced else self)
        written.pop("settings", None)
        for name, setting in self.settings:
            if said := setting.written:
                written[name] = {"limit": written[name], **said}
        return written

    def stated(self, name: str) -> bool:
        """Whether a limit is stated, enforced or not."""
        return getattr(self, name) is not None or any(name == said for said, _ in self.settings)


MONEY_UNITS = DOLLAR_COINS
SAID = ("unit", "warn_at", "action", "mode")


def _take_long_forms(model: type[BaseModel], read: dict[Any, object]) -> None:
    """Take `x: {limit: ..., mode: ...}` apart into `x` and what is said of it."""
    if isinstance(read.get("settings", ()), Mapping | list):
        raise _wrong("settings: found an unknown key, expected what is said of a limit beside its value")
    said: list[tuple[str, LimitSetting]] = []
    for name in _limits_of(model):
        given = read.get(name)
        if not isinstance(given, Mapping):
            continue
        if unknown := sorted({str(key) for key in given} - {"limit", *SAID}):
            raise _wrong(f"{name}: found {unknown[0]}, expected limit, {', '.join(SAID)}")
        if "limit" not in given:
            raise _wrong(f"{name}: found no limit beside {', '.join(sorted(given))}, expected its value")
        read[name], unit = _with_unit(model, name, given["limit"], given.get("unit"))
        beside = {key: value for key, value in given.items() if key not in ("limit", "unit")} | unit
        try:
            said.append((name, LimitSetting.model_validate(beside)))
        except ValidationError as error:
            raise _wrong("; ".join(f"{name}.{line}" for line in explain(error, LimitSetting))) from None
    if said:
        read["settings"] = tuple(said)


def _with_unit(model: type[BaseModel], name: str, value: object, unit: object) -> tuple[object, dict[str, object]]:
    """A value whose unit may stand beside it, and the unit where it is worth keeping."""
    if unit is None:
        return value, {}
    if name in _fractions(model):
        units = {"percent": "percent", "%": "percent", "fraction": "fraction"}
        if not isinstance(unit, str) or unit not in units:
            raise _wrong(f"{name}.unit: found {_shown(unit)}, expected one of {', '.join(units)}")
        has_sign = isinstance(value, str) and value.endswith("%")
        if has_sign and units[unit] == "fraction":
            raise _wrong(f"{name}: found {value} in fractions, expected a number without %")
        return value if has_sign else Stated(name, units[unit], value), {}
    known = ("x",) if name == "leverage_max" else MONEY_UNITS if _is_money(name) else ()
    if unit not in known:
        expected = ", ".join(known) or "none: this limit has no unit"
        raise _wrong(f"{name}.unit: found {_shown(unit)}, expected {expected}")
    return value, {"unit": unit}


def _is_money(name: str) -> bool:
    return "notional" in name or name.startswith("exposure_") or "_money_" in name


@cache
def _limits_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a section that are limits: numbers and switches, without the windows they are counted in."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        if {Decimal, int, bool} & {field.annotation, *_parts_of(field.annotation)}
        and not name.endswith("_s")
        and name not in ("scaling_factor", "leverage_min", "critical_allows_reducing")
    )


def _parts_of(annotation: object) -> Iterator[object]:
    for part in get_args(annotation):
        yield part
        yield from _parts_of(part)


class AiFlags(Written):
    """Which parts of a trading system may act: served to them by `ai.<name>`, and judged by nobody here."""

    enable_rl: Flag = True
    enable_meta_strategy: Flag = True
    enable_pal: Flag = True
    enable_pba: Flag = True
    enable_clm: Flag = True
    enable_retraining: Flag = True
    enable_dynamic_tpsl: Flag = True


AI_FLAGS = tuple(AiFlags.model_fields)


def _ai_flags(given: object) -> frozenset[str]:
    names = _names(given)
    if unknown := sorted(names - set(AI_FLAGS)):
        raise _expected(f"names of {', '.join(AI_FLAGS)}; {unknown[0]!r} is none")
    return names


class RiskProfile(Limited):
    """A risk mode: what everybody may do while it is active.

    `scaling_factor` and `leverage_min` are served to clients; the gate never enlarges an order.
    """

    name: Name
    leverage_max: Leverage
    leverage_min: Leverage = Decimal(1)
    trade_risk_max: Fraction  # one order's notional / equity
    drawdown_daily_max: Fraction
    open_positions_max: Positions
    position_notional_max: Money
    confidence_min: Confidence
    new_positions_allowed: Flag = True
    scaling_factor: ServedFactor = Decimal(1)
    # What is switched off while this mode is active, whatever `ai` says.
    ai_off: Annotated[
        frozenset[str], PlainValidator(_ai_flags), PlainSerializer(lambda names: sorted(names))
    ] = frozenset()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.leverage_min > self.leverage_max:
            raise _wrong(
                f"found leverage_min {self.leverage_min} above leverage_max {self.leverage_max}, expected at most that"
            )
        return self


class CapitalProfile(Limited):
    """A rung of the capital ladder: what an account may do at its stage."""

    name: Name
    loss_daily_max: Fraction
    loss_weekly_max: Fraction
    trade_risk_max: Fraction
    open_positions_max: Positions
    leverage_max: Leverage


class SizeLimits(Limited):
    """How large an order, a position and the sums of positions may be, and how many orders may rest.

    Amounts are in the account's currency, quantities in base units; concentration is exposure in one coin as a
    share of equity, free margin a share of the contracts' wallet, a distance the move of prices that liquidates.
    """

    order_notional_max: Money | None = None
    order_quantity_max: Amount | None = None
    position_notional_max: Money | None = None
    exposure_symbol_max: Money | None = None
    exposure_strategy_max: Money | None = None
    exposure_account_max: Money | None = None
    exposure_exchange_max: Money | None = None
    exposure_total_max: Money | None = None
    exposure_asset_max: Money | None = None
    exposure_net_max: Money | None = None
    concentration_max: Fraction | None = None
    margin_free_min: Fraction | None = None
    liquidation_distance_min: Fraction | None = None
    open_orders_max: Count | None = None
    open_orders_symbol_max: Count | None = None
    approval_notional_min: Money | None = None  # requests worth this much wait for a person's word


class PriceLimits(Limited):
    """Which prices are plausible. Collars are shares of the reference price."""

    floor: Amount | None = None
    ceiling: Amount | None = None
    collar_up: Fraction | None = None
    collar_down: Fraction | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise _wrong(f"found floor {self.floor} above ceiling {self.ceiling}, expected at most that")
        return self


class RateLimits(Limited):
    """How many orders, and how many identical ones, per window of seconds."""

    order_rate_max: Count | None = None
    order_rate_window_s: Seconds | None = None
    duplicates_max: Count | None = None
    duplicate_window_s: Seconds | None = None

    @model_validator(mode="after")
    def _windows_have_a_limit(self) -> Self:
        for window, limit in (("order_rate_window_s", "order_rate_max"), ("duplicate_window_s", "duplicates_max")):
            if getattr(self, window) is not None and not self.stated(limit):
                raise _wrong(f"found {window} alone, expected {limit} beside it")
        return self


class Overrides(Limited):
    """Limits that a layer states on top of the profiles. The tightest wins, so they only ever tighten."""

    leverage_max: Leverage | None = None
    trade_risk_max: Fraction | None = None  # one order's notional / equity
    trade_stop_loss_max: Fraction | None = None  # one order's loss at its stop / equity
    loss_daily_max: Fraction | None = None
    loss_daily_money_max: Money | None = None  # the day's loss in money
    loss_weekly_max: Fraction | None = None
    drawdown_max: Fraction | None = None  # from the high-water mark
    loss_streak_max: Count | None = None  # closed trades in a row that lost
    loss_cooldown_s: Seconds | None = None  # how long nothing opens after the last of them
    open_positions_max: Positions | None = None
    confidence_min: Confidence | None = None
    confidence_required: Flag | None = None
    rank_min: Rank | None = None  # of a symbol, in `opp_rankings`; one without a rank has none that is enough
    new_positions_allowed: Flag | None = None
    margin_changes_allowed: Flag | None = None
    slippage: Fraction | None = None  # a higher one is stricter: market orders are priced worse
    warning_factor: Factor | None = None
    size: SizeLimits = SizeLimits()
    price: PriceLimits = PriceLimits()
    rate: RateLimits = RateLimits()

    @model_validator(mode="after")
    def _cooldown_has_a_streak(self) -> Self:
        if self.loss_cooldown_s is not None and not self.stated("loss_streak_max"):
            raise _wrong("found loss_cooldown_s alone, expected loss_streak_max beside it")
        return self


class SymbolPolicy(Overrides):
    """What holds for one symbol on top of everything else."""

    scaling: Literal["off"] | None = None


class StrategyPolicy(Overrides):
    """What holds for one strategy on every account."""

    symbols: Whitelist = ANY
    symbols_blocked: Names | None = None
    scaling: Literal["off"] | None = None


class LossPreset(NamedTuple):
    """What a contract with a prop firm says about losses; docs/policies.md names the sources."""

    base: LossBase
    time_zone: str
    day_starts_at: str
    loss_daily_max: Decimal
    drawdown_max: Decimal
    capital: str | None = None  # None: the account's own, which must be written
    trailing_locks: bool = True


def _topstep(capital: int, lost_max: int) -> LossPreset:
    # Daily loss limits are 2 % of every account size; a trading day begins at 17:00 in Chicago.
    share = Decimal(lost_max) / Decimal(capital)
    return LossPreset(
        LossBase.TRAILING_EOD, "America/Chicago", "17:00", Decimal("0.02"), share, capital=str(capital)
    )


LOSS_PRESETS: Mapping[str, LossPreset] = MappingProxyType(
    {
        "ftmo_2_step": LossPreset(
            LossBase.INITIAL_CAPITAL, "Europe/Prague", "00:00", Decimal("0.05"), Decimal("0.10")
        ),
        "ftmo_1_step": LossPreset(
            LossBase.TRAILING_EOD, "Europe/Prague", "00:00", Decimal("0.03"), Decimal("0.10"), trailing_locks=False
        ),
        "topstep_50k": _topstep(50_000, 2_000),
        "topstep_100k": _topstep(100_000, 3_000),
        "topstep_150k": _topstep(150_000, 4_500),
    }
)


class LadderRung(Written):
    """From this drawdown on, size is scaled by this factor."""

    drawdown: Fraction
    factor: Factor


def _preset(given: object) -> str:
    if isinstance(given, str) and given in LOSS_PRESETS:
        return given
    raise _expected("one of " + ", ".join(LOSS_PRESETS))


class LossPolicy(Written):
    """How an account's losses are measured. A preset states what a contract says; the rest may not contradict it."""

    preset: Annotated[str, BeforeValidator(_preset)] | None = None
    base: Annotated[LossBase, BeforeValidator(_loss_base), PlainSerializer(str, return_type=str)] = (
        LossBase.START_OF_DAY_EQUITY
    )
    initial_capital: Money | None = None
    trailing_locks: Flag = True  # the floor of trailing_eod stops rising at the initial capital
    time_zone: Zone = "UTC"
    day_starts_at: TimeOfDay = time(0, 0)
    drawdown_trigger: Literal["raw", "min_ema"] = "raw"
    drawdown_ema_span_s: Seconds | None = None
    warn_at: Fraction = Decimal("0.8")  # share of a limit from which its use is a warning
    ladder: tuple[LadderRung, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: object) -> object:
        """Write what the preset says into what was left out; what contradicts it is refused."""
        if not isinstance(given, Mapping) or given.get("preset") not in LOSS_PRESETS:
            return given
        preset = LOSS_PRESETS[given["preset"]]
        states: dict[str, object] = {
            "base": preset.base.value,
            "time_zone": preset.time_zone,
            "day_starts_at": preset.day_starts_at,
            "trailing_locks": preset.trailing_locks,
        }
        if preset.capital is not None:
            states["initial_capital"] = preset.capital
        for name, value in states.items():
            if name in given and str(given[name]).lower() != str(value).lower():
                raise _wrong(f"found {name} {given[name]}, expected nothing or what {given['preset']} says: {value}")
        return {**given, **states}

    @model_validator(mode="before")
    @classmethod
    def _rungs(cls, given: object) -> object:
        if isinstance(given, Mapping) and isinstance(given.get("ladder"), list):
            return {**given, "ladder": tuple(given["ladder"])}
        return given

    @model_validator(mode="after")
    def _complete(self) -> Self:
        contract = self.base is not LossBase.START_OF_DAY_EQUITY
        if contract and self.initial_capital is None:
            raise _wrong(f"found base {self.base} without initial_capital, expected the capital it counts from")
        if not contract and self.initial_capital is not None:
            raise _wrong(f"found initial_capital with base {self.base}, which does not use it, expected neither")
        averaged = self.drawdown_trigger == "min_ema"
        if averaged != (self.drawdown_ema_span_s is not None):
            raise _wrong("found one of drawdown_trigger min_ema and drawdown_ema_span_s, expected both or neither")
        if averaged and contract:
            raise _wrong(f"found drawdown_trigger min_ema with base {self.base}, expected raw: its floor is exact")
        for before, after in pairwise(self.ladder):
            if after.drawdown <= before.drawdown or after.factor > before.factor:
                raise _wrong("found rungs of the ladder out of order, expected deeper ones later, with lower factors")
        return self

    @property
    def limits(self) -> Mapping[str, Decimal]:
        """The limits that the preset states, under the names of `Limits`."""
        if self.preset is None:
            return {}
        preset = LOSS_PRESETS[self.preset]
        return {"loss_daily_max": preset.loss_daily_max, "drawdown_max": preset.drawdown_max}

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The ladder as the arithmetic reads it."""
        return tuple(Rung(rung.drawdown, rung.factor) for rung in self.ladder)


class GovernorPolicy(Written):
    """The safety governor: how careful an account has to be, by its losses and the risk signal.

    Shares are of the tightest daily loss limit in force; at that limit itself new exposure is blocked.
    """

    enabled: Flag = False
    cautious_at: Fraction = Decimal("0.7")
    emergency_at: Amount = Decimal("1.6")
    streak_cautious: Count = 5  # closed trades in a row that lost
    streak_block: Count = 8
    streak_cooldown_s: Seconds = Decimal(3600)  # how long the last of them blocks

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.emergency_at < 1:
            raise _wrong(f"found emergency_at {self.emergency_at}, expected at least 1, the limit itself")
        if self.streak_block <= self.streak_cautious:
            raise _wrong(
                f"found streak_block {self.streak_block} and streak_cautious {self.streak_cautious},"
                " expected the row that blocks to be the longer one"
            )
        return self


class AccountPolicy(Overrides):
    """What holds for one account. Both whitelists must be written: 'any', or a list."""

    capital_profile: Name = "micro"
    strategies: Whitelist
    symbols: Whitelist
    strategies_blocked: Names | None = None
    symbols_blocked: Names | None = None
    scaling: Literal["off", "allowed", "to_limit", "by_var", "fixed_factor"] = "off"  # allowed: to_limit
    scaling_factor: Factor | None = None  # of fixed_factor; half of what is asked, unless stated
    critical_allows_reducing: Flag = False
    losses: LossPolicy = LossPolicy()
    governor: GovernorPolicy = GovernorPolicy()
    by_symbol: Frozen[SymbolPolicy] = Field(default_factory=dict, validate_default=True)

    @model_validator(mode="after")
    def _factor_has_its_scaling(self) -> Self:
        if self.scaling_factor is not None and self.scaling != "fixed_factor":
            raise _wrong(f"found scaling_factor with scaling {self.scaling}, expected it only with fixed_factor")
        return self


class Defaults(Overrides):
    """What holds for every account. `slippage` and `warning_factor` start here; other layers tighten them."""

    slippage: Fraction = Decimal("0.005")
    warning_factor: Factor = Decimal("0.5")
    strategies: Whitelist = ANY
    symbols: Whitelist = ANY
    strategies_blocked: Names | None = None
    symbols_blocked: Names | None = None
    scaling: Literal["off"] | None = None
    governor: GovernorPolicy = GovernorPolicy()


class PresetLimits(Overrides):
    """What holds for every account while a preset is on."""

    strategies_blocked: Names | None = None
    symbols_blocked: Names | None = None
    scaling: Literal["off"] | None = None


class Preset(Written):
    """A market's weather in one word: the risk mode to take with it, and limits that tighten while it is on."""

    description: Words = ""
    active_mode: Name | None = None
    limits: PresetLimits = PresetLimits()


class TemporaryOverride(Written):
    """Limits that replace others for a time, tighter or looser, and never beyond the document's `ceiling`."""

    account: Name | None = None  # None: every one
    strategy: Name | None = None
    symbol: Name | None = None  # None: every symbol, as far as its own limits go
    limits: Overrides
    starts_at: Instant | None = None
    until: Instant
    granted_by: Words = ""
    reason: Words = ""

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.starts_at is not None and self.starts_at >= self.until:
            raise _wrong(f"found until {self.until.isoformat()}, expected an instant after starts_at")
        return self

    def holds(self, account: str, strategy: str, now: datetime) -> bool:
        """Whether it is in force at an instant, for somebody."""
        if now >= self.until or (self.starts_at is not None and now < self.starts_at):
            return False
        return self.account in (None, account) and self.strategy in (None, strategy)


class ExecutionConfig(Written):
    """How a strategy executes: served to whoever executes for it, and judged by nobody here."""

    position_size_max: Fraction
    leverage_max: Leverage
    confidence_min: Confidence
    cooldown_s: Seconds
    open_positions_max: Positions


class AgesPolicy(Written):
    """The oldest a fact may be, in seconds."""

    price_s: Seconds = Decimal(5)
    account_s: Seconds = Decimal(10)
    risk_s: Seconds = Decimal(5)
    leverage_s: Seconds = Decimal(300)
    filters_s: Seconds = Decimal(86400)


class TriggerPolicy(Written):
    """What one trigger of the emergency stop does when it finds something.

    `alert` tells and records; nothing is engaged by it. For `cooldown_s` after that the same trigger does nothing
    more on the same scope: whoever releases a stop is not overruled by what it was engaged for. With `expires_s`
    the stop ends by itself, unless a person or another trigger has joined in.
    """

    level: Literal["off", "alert", "reduce_only", "halt"] = "alert"
    scope: Literal["global", "exchange", "account", "strategy"] = "account"
    cooldown_s: Seconds = Decimal(300)
    expires_s: Seconds | None = None


class EmergencyDrawdownPolicy(TriggerPolicy):
    """The day's loss is 1.6 times what the active risk mode allows."""

    level: Literal["off", "alert", "reduce_only", "halt"] = "halt"


class LossTriggerPolicy(TriggerPolicy):
    """A loss limit of day or week, or the drawdown limit, is reached."""

    level: Literal["off", "alert", "reduce_only", "halt"] = "reduce_only"


class GlobalRiskTriggerPolicy(TriggerPolicy):
    """The global risk signal demands action; `settings`: what `global_risk.trip` says."""

    level: Literal["settings", "off", "alert", "reduce_only", "halt"] = "settings"  # type: ignore[assignment]
    scope: Literal["global", "exchange", "account", "strategy"] = "global"


class BypassTriggerPolicy(TriggerPolicy):
    """An order was found that did not come through the proxy; `settings`: what `accounts.NAME.bypass` says."""

    level: Literal["settings", "off", "alert", "reduce_only", "halt"] = "settings"  # type: ignore[assignment]


class ErrorStormPolicy(TriggerPolicy):
    """So many orders of an account were not sent, or their answers lost, within the window."""

    errors: Count = 20
    window_s: Seconds = Decimal(60)


class DataFeedPolicy(TriggerPolicy):
    """Equity or exposure of an account has been missing or too old for so long."""

    after_s: Seconds = Decimal(300)


class BlockRatePolicy(TriggerPolicy):
    """So large a share of a strategy's orders was blocked within the window, of at least so many."""

    scope: Literal["global", "exchange", "account", "strategy"] = "strategy"
    share: Fraction = Decimal("0.9")
    orders_min: Count = 50
    window_s: Seconds = Decimal(60)


class RejectStreakPolicy(TriggerPolicy):
    """The exchange rejected so many orders of a strategy one after the other."""

    scope: Literal["global", "exchange", "account", "strategy"] = "strategy"
    rejections: Count = 20


class TriggersPolicy(Written):
    """What engages the emergency stop without a person."""

    emergency_drawdown: EmergencyDrawdownPolicy = EmergencyDrawdownPolicy()
    loss: LossTriggerPolicy = LossTriggerPolicy()
    global_risk: GlobalRiskTriggerPolicy = GlobalRiskTriggerPolicy()
    bypass: BypassTriggerPolicy = BypassTriggerPolicy()
    error_storm: ErrorStormPolicy = ErrorStormPolicy()
    data_feed: DataFeedPolicy = DataFeedPolicy()
    block_rate: BlockRatePolicy = BlockRatePolicy()
    reject_streak: RejectStreakPolicy = RejectStreakPolicy()


class RiskSourcePolicy(Written):
    """How the global risk signal binds. `profile_checks_only` lapses to `required` at `until`."""

    kind: Annotated[
        RiskSource, BeforeValidator(lambda given: _risk_source(given)), PlainSerializer(str, return_type=str)
    ] = RiskSource.REQUIRED
    until: Instant | None = None

    @model_validator(mode="after")
    def _limited_in_time(self) -> Self:
        degraded = self.kind is RiskSource.PROFILE_CHECKS_ONLY
        if degraded and self.until is None:
            raise _wrong("found profile_checks_only without until, expected the instant at which it ends")
        if not degraded and self.until is not None:
            raise _wrong(f"found until with {self.kind}, expected it only with profile_checks_only")
        return self


class RiskLimitsPolicy(Written):
    """What the global risk engine measures the whole book against; at `warning_share` of a limit it warns.

    Shares are of all accounts' equity; where a limit is stated in money as well, the lower one counts.
    Correlation and concentration are judged from a leverage of `structure_from_leverage` on: a book of one
    symbol is as concentrated as can be, and that says nothing of its risk as long as it is small.
    """

    leverage_max: Leverage = Decimal(5)  # notional of all accounts / their equity
    drawdown_daily_max: Fraction = Decimal("0.05")
    var_95_max: Fraction = Decimal("0.1")
    var_99_max: Fraction = Decimal("0.2")
    es_975_max: Fraction = Decimal("0.25")
    var_95_money_max: Money | None = None
    var_99_money_max: Money | None = None
    es_975_money_max: Money | None = None
    position_money_max: Money | None = None
    correlation_max: Factor = Decimal("0.8")
    symbol_concentration_max: Factor = Decimal("0.6")
    exchange_concentration_max: Factor = Decimal("0.8")
    structure_from_leverage: Amount = Decimal(3)
    liquidity_score_min: Factor = Decimal("0.5")
    correlation_spike: Factor = Decimal("0.2")
    volatility_spike: Amount = Decimal(2)
    warning_share: Factor = Decimal("0.8")


def _risk_source(given: object) -> RiskSource:
    if isinstance(given, str) and given in set(RiskSource):
        return RiskSource(given)
    raise _expected("one of " + ", ".join(RiskSource))


MODE_ALIASES: Mapping[str, str] = MappingProxyType({"AGGRESSIVE": "AGGRESSIVE_SMALL_ACCOUNT"})

RISK_PROFILES: Mapping[str, RiskProfile] = MappingProxyType(
    {
        name: RiskProfile.model_validate(
            {
                "name": name, "leverage_max": leverage, "leverage_min": lowest, "trade_risk_max": trade,
                "drawdown_daily_max": drawdown, "open_positions_max": positions, "position_notional_max": notional,
                "confidence_min": confidence, "scaling_factor": scaling, "ai_off": ai_off,
            }
        )
        for name, leverage, lowest, trade, drawdown, positions, notional, confidence, scaling, ai_off in (
            ("AGGRESSIVE_SMALL_ACCOUNT", 7, 2, "3%", "6%", 15, "300", "0.60", "1.5", []),
            ("NORMAL", 5, 1, "1.5%", "5%", 30, "1000", "0.65", "1.0", []),
            ("DEFENSIVE", 3, 1, "0.75%", "3%", 10, "500", "0.75", "0.7", ["enable_clm", "enable_retraining"]),
        )
    }
)

CAPITAL_PROFILES: Mapping[str, CapitalProfile] = MappingProxyType(
    {
        name: CapitalProfile.model_validate(
            {
                "name": name, "loss_daily_max": daily, "loss_weekly_max": weekly, "trade_risk_max": trade,
                "open_positions_max": positions, "leverage_max": leverage,
            }
        )
        for name, daily, weekly, trade, positions, leverage in (
            ("micro", "0.5%", "2%", "0.2%", 2, 1),
            ("low", "1%", "3.5%", "0.5%", 3, 2),
            ("normal", "2%", "7%", "1%", 5, 3),
            ("aggressive", "3.5%", "12%", "2%", 8, 5),
        )
    }
)
CAPITAL_LADDER = tuple(CAPITAL_PROFILES)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        name: Preset.model_validate(given)
        for name, given in {
            "bull_market": {
                "description": "prices rise: the risk mode for small accounts",
                "active_mode": "AGGRESSIVE_SMALL_ACCOUNT",
            },
            "bear_market": {
                "description": "prices fall: fewer and surer trades",
                "active_mode": "DEFENSIVE",
                "limits": {"trade_risk_max": "0.5%", "confidence_min": "0.8", "open_positions_max": 5},
            },
            "high_volatility": {
                "description": "prices jump: less leverage, dearer markets, narrow collars",
                "active_mode": "DEFENSIVE",
                "limits": {
                    "leverage_max": "2", "slippage": "1%", "warning_factor": "0.25", "trade_risk_max": "0.5%",
                    "price": {"collar_up": "3%", "collar_down": "3%"},
                },
            },
        }.items()
    }
)

EXECUTION_CONFIGS: Mapping[str, ExecutionConfig] = MappingProxyType(
    {
        name: ExecutionConfig.model_validate(
            {
                "position_size_max": size, "leverage_max": leverage, "confidence_min": confidence,
                "cooldown_s": cooldown, "open_positions_max": positions,
            }
        )
        for name, size, leverage, confidence, cooldown, positions in (
            ("conservative", "2%", 5, "0.65", 600, 3),
            ("moderate", "5%", 10, "0.50", 300, 5),
            ("aggressive", "10%", 20, "0.40", 120, 8),
            ("defensive", "1%", 3, "0.75", 900, 2),
        )
    }
)


class GlobalPolicy(Written):
    """The whole document. Its revision is kept by the store, beside it.

    Listed profiles are all there are: a document that lists risk profiles without
    AGGRESSIVE_SMALL_ACCOUNT cannot be switched to it. Left out, the built-in ones apply.
    """

    active_mode: Name
    risk_profiles: Frozen[RiskProfile] = Field(default_factory=lambda: RISK_PROFILES)
    capital_profiles: Frozen[CapitalProfile] = Field(default_factory=lambda: CAPITAL_PROFILES)
    defaults: Defaults = Defaults()
    accounts: Frozen[AccountPolicy] = Field(default_factory=dict, validate_default=True)
    strategies: Frozen[StrategyPolicy] = Field(default_factory=dict, validate_default=True)
    symbols: Frozen[SymbolPolicy] = Field(default_factory=dict, validate_default=True)
    ages: AgesPolicy = AgesPolicy()
    triggers: TriggersPolicy = TriggersPolicy()
    risk_source: RiskSourcePolicy = RiskSourcePolicy()
    risk_limits: RiskLimitsPolicy = RiskLimitsPolicy()
    ceiling: Overrides | None = None  # what no layer and no override passes
    overrides: Frozen[TemporaryOverride] = Field(default_factory=dict, validate_default=True)
    presets: Frozen[Preset] = Field(default_factory=lambda: PRESETS)
    active_preset: Name | None = None
    ai: AiFlags = AiFlags()
    execution: Frozen[ExecutionConfig] = Field(default_factory=lambda: EXECUTION_CONFIGS)
    opp_rankings: Frozen[Rank] = Field(default_factory=dict, validate_default=True)  # by symbol, as a ranker wrote them
    model_versions: Frozen[Version] = Field(default_factory=dict, validate_default=True)  # as a trainer wrote them
    _switched_off: tuple[str, ...] = PrivateAttr(default=())
    _as_if_tried: GlobalPolicy | None = PrivateAttr(default=None)
    _sums_asked: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="before")
    @classmethod
    def _names_from_keys(cls, given: object) -> object:
        """Write each profile's key into it as its name, and an alias of a mode as the mode."""
        if not isinstance(given, Mapping):
            return given
        read = dict(given)
        for section in ("risk_profiles", "capital_profiles"):
            if isinstance(profiles := read.get(section), Mapping):
                read[section] = {
                    key: {"name": key, **profile} if isinstance(profile, Mapping) else profile
                    for key, profile in profiles.items()
                }
        if isinstance(mode := read.get("active_mode"), str):
            read["active_mode"] = MODE_ALIASES.get(mode, mode)
        return read

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for section in (self.risk_profiles, self.capital_profiles):
            for key, profile in section.items():
                if profile.name != key:
                    raise _wrong(f"found the profile {key!r} with the name {profile.name!r}, expected one name")
                if key in MODE_ALIASES:
                    raise _wrong(f"found a profile {key!r}, expected another name: it stands for {MODE_ALIASES[key]}")
        if self.active_mode not in self.risk_profiles:
            raise _wrong(f"active_mode: found {self.active_mode!r}, expected one of {_listed(self.risk_profiles)}")
        if self.active_preset is not None and self.active_preset not in self.presets:
            raise _wrong(f"active_preset: found {self.active_preset!r}, expected one of {_listed(self.presets)}")
        for name, account in self.accounts.items():
            if account.capital_profile not in self.capital_profiles:
                raise _wrong(
                    f"accounts.{name}.capital_profile: found {account.capital_profile!r},"
                    f" expected one of {_listed(self.capital_profiles)}"
                )
        return self

    @model_validator(mode="after")
    def _overrides_stay_below_the_ceiling(self) -> Self:
        ceiling = {} if self.ceiling is None else stated_by(self.ceiling)
        for name, override in self.overrides.items():
            for limit, value in stated_by(override.limits).items():
                if limit not in ceiling:
                    raise _wrong(f"overrides.{name}.limits: found {limit}, expected it under ceiling as well")
                if TIGHTER[limit](value, ceiling[limit]) != value:
                    raise _wrong(
                        f"overrides.{name}.limits: found {limit} {value}, expected at most the ceiling's"
                        f" {ceiling[limit]}"
                    )
        return self

    @property
    def instants(self) -> tuple[datetime, ...]:
        """When the limits change by themselves, in order."""
        ends = [one.until for one in self.overrides.values()]
        begins = [one.starts_at for one in self.overrides.values() if one.starts_at is not None]
        degraded = [] if self.risk_source.until is None else [self.risk_source.until]
        return tuple(sorted({*ends, *begins, *degraded}))

    @model_validator(mode="after")
    def _worked_out_once(self) -> Self:
        """What takes a walk over thousands of sections is done when they are read, not when an order comes."""
        said = tuple(_settings(self))
        self._switched_off = tuple(place for place, setting in said if setting.mode == "off")
        self._sums_asked = _sums_asked(self)
        if any(setting.mode == "shadow" for _, setting in said):
            tried = _as_if_tried(self)
            tried._sums_asked = _sums_asked(tried)
            self._as_if_tried = tried
        return self

    def symbols_ask_for_sums(self, account: str) -> bool:
        """Whether a limit of a symbol, for everybody or for an account, is compared with sums of the account."""
        return not self._sums_asked.isdisjoint((EVERYBODY, account))

    @property
    def switched_off(self) -> tuple[str, ...]:
        """The places of the document whose limit is switched off."""
        return self._switched_off

    @property
    def as_if_tried(self) -> GlobalPolicy | None:
        """The policy as if every limit in shadow mode were enforced; None where none is."""
        return self._as_if_tried

    @property
    def risk_profile(self) -> RiskProfile:
        """The active risk profile."""
        return self.risk_profiles[self.active_mode]

    @property
    def ai_flags(self) -> Mapping[str, bool]:
        """The flags in force: what the document switches on and the active mode does not switch off."""
        return {name: getattr(self.ai, name) and name not in self.risk_profile.ai_off for name in AI_FLAGS}

    def mode_named(self, name: str) -> str | None:
        """The canonical name of a mode or of its alias; None if there is no such profile."""
        canonical = MODE_ALIASES.get(name, name)
        return canonical if canonical in self.risk_profiles else None


def _settings(section: BaseModel, path: str = "") -> Iterator[tuple[str, LimitSetting]]:
    """What is said of limits anywhere in a document, with the place of each."""
    if isinstance(section, Limited):
        yield from ((f"{path}{name}", setting) for name, setting in section.settings)
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{path}{name}.")
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                if isinstance(inner, BaseModel):
                    yield from _settings(inner, f"{path}{name}.{key}.")


EVERYBODY = ""


def _sums_asked(policy: GlobalPolicy) -> frozenset[str]:
    """The accounts whose symbols have a limit that is compared with sums of the account; EVERYBODY for `symbols`."""
    sections = {EVERYBODY: policy.symbols} | {name: one.by_symbol for name, one in policy.accounts.items()}
    return frozenset(
        name
        for name, symbols in sections.items()
        if any(getattr(one.size, limit) is not None for one in symbols.values() for limit in OF_ACCOUNT_SUMS)
    )


M = TypeVar("M", bound=BaseModel)


def _as_if_tried(section: M) -> M:
    """The section with its limits in shadow mode in their fields; the very same where there are none."""
    changed: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            if (inside := _as_if_tried(value)) is not value:
                changed[name] = inside
        elif isinstance(value, Mapping):
            inner = {
                key: _as_if_tried(one) if isinstance(one, BaseModel) else one for key, one in value.items()
            }
            if any(inner[key] is not value[key] for key in inner):
                changed[name] = MappingProxyType(inner)
    if isinstance(section, Limited):
        tried = {name: setting for name, setting in section.settings if setting.mode == "shadow"}
        changed |= {name: setting.limit for name, setting in tried.items()}
        if tried:
            enforced = {"mode": "enforce", "limit": None}
            changed["settings"] = tuple(
                (name, setting.model_copy(update=enforced) if name in tried else setting)
                for name, setting in section.settings
            )
    return section.model_copy(update=changed) if changed else section


def default_policy(**changes: object) -> GlobalPolicy:
    """The built-in policy (mode NORMAL, no accounts) with sections replaced."""
    return GlobalPolicy.model_validate({"active_mode": "NORMAL", **changes})


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"


# --- explaining -------------------------------------------------------------------------------


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> list[str]:
    """One line per error: the path, what was found and what was expected."""
    root = model or _MODELS.get(error.title)
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(step) for step in problem["loc"] if step != "[key]") or "the document"
        if problem["type"] == "section":
            sentence = problem["ctx"]["sentence"]
            path = ".".join(str(step) for step in problem["loc"])
            lines.append(f"{path}: {sentence}" if path else sentence)
        elif problem["type"] == "missing":
            lines.append(f"{place}: found nothing, expected a value{_meaning(root, problem['loc'])}")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{place}: found an unknown key, expected {_neighbours(root, problem['loc'])}")
        elif problem["type"] == "expected":
            lines.append(f"{place}: found {_shown(problem['input'])}, expected {problem['ctx']['expected']}")
        else:
            message = problem["msg"].removeprefix("Input should be ")
            lines.append(f"{place}: found {_shown(problem['input'])}, expected {message}")
    return lines


def _shown(found: object) -> str:
    if isinstance(found, Stated):
        return f"{found.key} {found.value!r}"
    if isinstance(found, Mapping):
        return "a section"
    if isinstance(found, Decimal):
        return format(found, "f")[:60]
    text = repr(found)
    return text if len(text) <= 60 else text[:57] + "..."


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _model_at(root: type[BaseModel] | None, path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that stands at a path, walking through optional values and mappings by name."""
    here, named = root, False
    for step in path:
        if here is None:
            return None
        if named:  # the key of a mapping: the model is already its value's
            named = False
            continue
        field = here.model_fields.get(str(step))
        if field is None:
            return None
        here = next(_models_in(field.annotation), None)
        named = "Mapping" in str(field.annotation)
    return here


def _neighbours(root: type[BaseModel] | None, path: tuple[int | str, ...]) -> str:
    owner = _model_at(root, path[:-1])
    if owner is None:
        return "a known one"
    known = list(owner.model_fields)
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"{close[0]}?" if close else "one of " + ", ".join(known)


def _meaning(root: type[BaseModel] | None, path: tuple[int | str, ...]) -> str:
    owner = _model_at(root, path[:-1])
    field = owner.model_fields.get(str(path[-1])) if owner else None
    if field is not None and any(isinstance(part, PlainValidator) for part in field.metadata):
        return ": 'any', or a list of names (an empty list admits none)"
    return ""


_MODELS: dict[str, type[BaseModel]] = {
    model.__name__: model
    for model in (
        RiskProfile, CapitalProfile, SizeLimits, PriceLimits, RateLimits, Overrides, SymbolPolicy, StrategyPolicy,
        AccountPolicy, Defaults, AgesPolicy, RiskSourcePolicy, RiskLimitsPolicy, GlobalPolicy, AiFlags,
        PresetLimits, Preset, ExecutionConfig, TemporaryOverride, LimitSetting,
    )
}


# --- warnings ---------------------------------------------------------------------------------

# AGGRESSIVE_SMALL_ACCOUNT has lower money and position caps than NORMAL by design: the account is
# small. So only shares, leverage and confidence are compared between those two.
_RELATIVE = ("leverage_max", "trade_risk_max", "drawdown_daily_max")
_ABSOLUTE = ("open_positions_max", "position_notional_max")
_CAPITAL = ("loss_daily_max", "loss_weekly_max", "trade_risk_max", "open_positions_max", "leverage_max")


def warnings(policy: GlobalPolicy) -> list[str]:
    """What is allowed and yet probably not meant; nothing here stops a policy from applying."""
    found = [
        *_mode_order(policy, "DEFENSIVE", "NORMAL", (*_RELATIVE, *_ABSOLUTE)),
        *_mode_order(policy, "NORMAL", "AGGRESSIVE_SMALL_ACCOUNT", _RELATIVE),
    ]
    rungs = [policy.capital_profiles[name] for name in CAPITAL_LADDER if name in policy.capital_profiles]
    for lower, higher in pairwise(rungs):
        found += [
            f"capital_profiles.{lower.name}.{name} {getattr(lower, name)} is looser than"
            f" {higher.name}'s {getattr(higher, name)}"
            for name in _CAPITAL
            if getattr(lower, name) > getattr(higher, name)
        ]
    for path, layer in _layers_over_all_symbols(policy):
        found += [
            f"{path}.{section}.{name} applies to every symbol, whose prices differ; write it under by_symbol or symbols"
            for section, name in (("price", "floor"), ("price", "ceiling"), ("size", "order_quantity_max"))
            if getattr(getattr(layer, section), name) is not None
        ]
    found += [
        f"presets.{name}.active_mode {preset.active_mode} is no risk profile here: the preset cannot be applied"
        for name, preset in policy.presets.items()
        if preset.active_mode is not None and policy.mode_named(preset.active_mode) is None
        and PRESETS.get(name) != preset
    ]
    for name, account in policy.accounts.items():
        found += [
            f"accounts.{name}.by_symbol.{symbol} has no effect: the account's symbols do not list it"
            for symbol in account.by_symbol
            if account.symbols != ANY and symbol not in account.symbols
        ]
        if account.losses.ladder and not (account.governor.enabled or policy.defaults.governor.enabled):
            found.append(f"accounts.{name}.losses.ladder binds nothing: the safety governor, which follows it, is off")
    return found


def _mode_order(policy: GlobalPolicy, strict: str, loose: str, names: tuple[str, ...]) -> Iterator[str]:
    if strict not in policy.risk_profiles or loose not in policy.risk_profiles:
        return
    tighter, wider = policy.risk_profiles[strict], policy.risk_profiles[loose]
    for name in names:
        if getattr(tighter, name) > getattr(wider, name):
            yield (
                f"risk_profiles.{strict}.{name} {getattr(tighter, name)} is looser than"
                f" {loose}'s {getattr(wider, name)}"
            )
    if tighter.confidence_min < wider.confidence_min:
        yield (
            f"risk_profiles.{strict}.confidence_min {tighter.confidence_min} is looser than"
            f" {loose}'s {wider.confidence_min}"
        )
    if tighter.new_positions_allowed and not wider.new_positions_allowed:
        yield f"risk_profiles.{strict} allows new positions and {loose} does not"


def _layers_over_all_symbols(policy: GlobalPolicy) -> Iterator[tuple[str, Overrides]]:
    yield "defaults", policy.defaults
    yield from ((f"accounts.{name}", account) for name, account in policy.accounts.items())
    yield from ((f"strategies.{name}", strategy) for name, strategy in policy.strategies.items())

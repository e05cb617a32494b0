"""What applies to an order: the tightest of risk mode, capital profile, account, strategy and symbol.

`None` means that no limit of that kind applies. Fractions are fractions of equity
(0.015 is 1.5 %), money is in the account's currency, ages and windows are in seconds.

Layers become one set of limits in `effective`, here and nowhere else. Every layer states
some limits; `TIGHTER` says for each limit which of two values is the stricter one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from operator import and_, or_
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rules.directive import Governing

if TYPE_CHECKING:
    from rules.profile import (
        AccountPolicy,
        Defaults,
        GlobalPolicy,
        GovernorPolicy,
        Overrides,
        PresetLimits,
        RiskProfile,
        TemporaryOverride,
    )

ORDER_RATE_WINDOW_S: Final = Decimal(10)
DUPLICATE_WINDOW_S: Final = Decimal(2)
LOSS_COOLDOWN_S: Final = Decimal(3600)
SCALING_FACTOR: Final = Decimal("0.5")
NOTHING_NAMED: Final[frozenset[str]] = frozenset()
NO_RANK: Final = Decimal(-1)  # below every rank that can be written


class RiskSource(StrEnum):
    """How the global risk signal binds."""

    REQUIRED = "required"  # missing or stale blocks new exposure
    PROFILE_CHECKS_ONLY = "profile_checks_only"  # explicit, visible, for a stated time
    NONE = "none"  # this installation has no such signal, and says so in every record


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """The oldest a fact may be, in seconds."""

    price_s: Decimal = Decimal(5)
    account_s: Decimal = Decimal(10)
    risk_s: Decimal = Decimal(5)
    leverage_s: Decimal = Decimal(300)
    filters_s: Decimal = Decimal(86400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits in force for one account, strategy and symbol."""

    policy_revision: int
    profile: str  # name of the active risk profile
    capital_profile: str

    strategies: frozenset[str] | None = None  # None admits any; an empty set admits none
    symbols: frozenset[str] | None = None
    strategies_blocked: frozenset[str] | None = None  # whatever the lists above say
    symbols_blocked: frozenset[str] | None = None
    rank_min: Decimal | None = None  # of the symbol, among `ranks`
    ranks: Mapping[str, Decimal] = field(default_factory=dict)  # as a ranker wrote them
    confidence_min: Decimal | None = None
    confidence_required: bool = False

    leverage_max: Decimal | None = None
    margin_changes_allowed: bool = True

    trade_notional_fraction_max: Decimal | None = None  # single-trade risk: notional / equity
    trade_stop_loss_fraction_max: Decimal | None = None  # loss at the stop / equity, where a stop is known

    loss_daily_max: Decimal | None = None
    loss_daily_money_max: Decimal | None = None  # the same in money
    loss_weekly_max: Decimal | None = None
    drawdown_max: Decimal | None = None  # from the high-water mark
    loss_streak_max: int | None = None  # closed trades in a row that lost
    loss_cooldown_s: Decimal = LOSS_COOLDOWN_S  # how long nothing opens after the last of them

    new_positions_allowed: bool = True
    open_positions_max: int | None = None
    position_notional_max: Decimal | None = None
    exposure_symbol_max: Decimal | None = None
    exposure_strategy_max: Decimal | None = None
    exposure_account_max: Decimal | None = None
    exposure_exchange_max: Decimal | None = None
    exposure_total_max: Decimal | None = None
    exposure_asset_max: Decimal | None = None  # one coin, over all symbols and markets of the account
    exposure_net_max: Decimal | None = None  # the account's long side less its short side, or the other way round
    concentration_max: Decimal | None = None  # exposure in one coin / equity
    margin_free_min: Decimal | None = None  # free margin / equity of the contracts' wallet
    liquidation_distance_min: Decimal | None = None  # the adverse move of prices that liquidates
    open_orders_max: int | None = None
    open_orders_symbol_max: int | None = None

    price_floor: Decimal | None = None
    price_ceiling: Decimal | None = None
    collar_up: Decimal | None = None  # fraction of the reference a buy may be above it
    collar_down: Decimal | None = None  # fraction of the reference a sell may be below it

    order_quantity_max: Decimal | None = None
    order_notional_max: Decimal | None = None
    order_rate_max: int | None = None  # orders per rate window
    order_rate_window_s: Decimal = ORDER_RATE_WINDOW_S
    duplicates_max: int | None = None  # identical orders per duplicate window
    duplicate_window_s: Decimal = DUPLICATE_WINDOW_S
    approval_notional_min: Decimal | None = None  # requests worth this much wait for a person's word

    slippage: Decimal = Decimal("0.005")  # a market order is priced this much worse than the book
    scaling_allowed: bool = False
    scaling_by_var: bool | None = None  # True: VaR and ES of the account bound an order's size as well
    scaling_factor: Decimal | None = None  # a breach of size is cured by this share of what is asked, or not at all
    warning_factor: Decimal = Decimal("0.5")  # a WARNING signal scales new exposure to this share
    critical_allows_reducing: bool = False
    risk_source: RiskSource = RiskSource.REQUIRED
    governor: Governing | None = None  # where the safety governor is on, how it governs
    ages: Ages = Ages()
    by_symbol: Mapping[str, Limits] = field(default_factory=dict)
    never_scaled: frozenset[str] = NOTHING_NAMED  # limits whose breach blocks, though scaling is allowed
    warn_at: Mapping[str, Decimal] = field(default_factory=dict)  # share of a limit from which its use is a warning
    shadow: Limits | None = None  # these with the limits that are only tried: judged, recorded, not enforced
    limits_off: tuple[str, ...] = ()  # the places of the document whose limit is switched off, for the record

    def of(self, symbol: str) -> Limits:
        """The limits for one symbol."""
        return self.by_symbol.get(symbol, self)


# What is compared with sums of the whole account that are gathered for these limits alone.
OF_ACCOUNT_SUMS = (
    "exposure_asset_max", "exposure_net_max", "concentration_max", "margin_free_min", "liquidation_distance_min",
    "open_orders_max", "open_orders_symbol_max",
)


def asks_for_sums(limits: Limits) -> bool:
    """Whether one of the limits, for any symbol, is compared with sums of the whole account."""
    if limits.shadow is not None and asks_for_sums(limits.shadow):
        return True
    if isinstance(limits.by_symbol, BySymbol):
        return limits.by_symbol.asks_for_sums or _compares_sums(limits)
    return any(_compares_sums(one) for one in (limits, *limits.by_symbol.values()))


def _compares_sums(limits: Limits) -> bool:
    return any(getattr(limits, name) is not None for name in OF_ACCOUNT_SUMS)


class BySymbol(Mapping[str, "Limits"]):
    """The limits of symbols, each worked out when an order first asks: thousands of them are written, few traded."""

    def __init__(self, symbols: Iterable[str], made: Callable[[str], Limits], *, asks_for_sums: bool) -> None:
        self._symbols = frozenset(symbols)
        self._made = made
        self._kept: dict[str, Limits] = {}
        self.asks_for_sums = asks_for_sums

    def __getitem__(self, symbol: str) -> Limits:
        """The limits of a symbol that has its own."""
        found = self._kept.get(symbol)
        if found is None:
            if symbol not in self._symbols:
                raise KeyError(symbol)
            found = self._kept[symbol] = self._made(symbol)
        return found

    def get(self, symbol: str, default: Any = None) -> Any:  # noqa: ANN401 - as Mapping has it
        """The limits of a symbol, or the default: without an exception, as every order asks."""
        return self[symbol] if symbol in self._symbols else default

    def __contains__(self, symbol: object) -> bool:
        """Whether a symbol has limits of its own."""
        return symbol in self._symbols

    def __iter__(self) -> Iterator[str]:
        """The symbols, in order."""
        return iter(sorted(self._symbols))

    def __len__(self) -> int:
        """How many symbols have limits of their own."""
        return len(self._symbols)


class PolicyGap(LookupError):
    """The policy says nothing about what was asked for: no such account, or no such profile."""


class Layer(NamedTuple):
    """One layer of the policy: where it stands in the document and the limits it states."""

    source: str
    stated: Mapping[str, object]


# --- which of two values is stricter ----------------------------------------------------------

_RISK_SOURCES = (RiskSource.REQUIRED, RiskSource.PROFILE_CHECKS_ONLY, RiskSource.NONE)  # strictest first


def _stricter_source(one: RiskSource, other: RiskSource) -> RiskSource:
    return min(one, other, key=_RISK_SOURCES.index)


def _stricter_governing(one: Governing, other: Governing) -> Governing:
    return Governing(
        loss_daily_max=min(one.loss_daily_max, other.loss_daily_max),
        cautious_at=min(one.cautious_at, other.cautious_at),
        emergency_at=min(one.emergency_at, other.emergency_at),
        streak_cautious=min(one.streak_cautious, other.streak_cautious),
        streak_block=min(one.streak_block, other.streak_block),
        streak_cooldown_s=max(one.streak_cooldown_s, other.streak_cooldown_s),
        signal_counts=one.signal_counts or other.signal_counts,
    )


def _earlier(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    """Of two shares from which a limit warns, the lower one."""
    return {
        name: min(share for share in (one.get(name), other.get(name)) if share is not None)
        for name in {*one, *other}
    }


# Fewer orders in a longer window is at least as strict as either of two rates, so a count takes
# the lowest and its window the highest.
TIGHTER: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        "strategies": and_,
        "symbols": and_,
        "strategies_blocked": or_,
        "symbols_blocked": or_,
        "rank_min": max,
        "confidence_min": max,
        "confidence_required": or_,
        "leverage_max": min,
        "margin_changes_allowed": and_,
        "trade_notional_fraction_max": min,
        "trade_stop_loss_fraction_max": min,
        "loss_daily_max": min,
        "loss_daily_money_max": min,
        "loss_weekly_max": min,
        "drawdown_max": min,
        "loss_streak_max": min,
        "loss_cooldown_s": max,
        "new_positions_allowed": and_,
        "open_positions_max": min,
        "position_notional_max": min,
        "exposure_symbol_max": min,
        "exposure_strategy_max": min,
        "exposure_account_max": min,
        "exposure_exchange_max": min,
        "exposure_total_max": min,
        "exposure_asset_max": min,
        "exposure_net_max": min,
        "concentration_max": min,
        "margin_free_min": max,
        "liquidation_distance_min": max,
        "open_orders_max": min,
        "open_orders_symbol_max": min,
        "price_floor": max,
        "price_ceiling": min,
        "collar_up": min,
        "collar_down": min,
        "order_quantity_max": min,
        "order_notional_max": min,
        "order_rate_max": min,
        "order_rate_window_s": max,
        "duplicates_max": min,
        "duplicate_window_s": max,
        "approval_notional_min": min,
        "slippage": max,
        "scaling_allowed": and_,
        "scaling_by_var": or_,
        "scaling_factor": min,
        "warning_factor": min,
        "critical_allows_reducing": and_,
        "never_scaled": or_,
        "warn_at": _earlier,
        "risk_source": _stricter_source,
        "governor": _stricter_governing,
    }
)

_WINDOWS: Final = {
    "order_rate_window_s": "order_rate_max",
    "duplicate_window_s": "duplicates_max",
    "loss_cooldown_s": "loss_streak_max",
}


# --- from layers to limits --------------------------------------------------------------------

_OF_RISK_PROFILE: Final = {
    "leverage_max": ("leverage_max",),
    "trade_risk_max": ("trade_notional_fraction_max", "trade_stop_loss_fraction_max"),
    "drawdown_daily_max": ("loss_daily_max",),
    "open_positions_max": ("open_positions_max",),
    "position_notional_max": ("position_notional_max",),
    "confidence_min": ("confidence_min",),
    "new_positions_allowed": ("new_positions_allowed",),
}
_OF_CAPITAL_PROFILE: Final = {
    "leverage_max": ("leverage_max",),
    "trade_risk_max": ("trade_notional_fraction_max", "trade_stop_loss_fraction_max"),
    "loss_daily_max": ("loss_daily_max",),
    "loss_weekly_max": ("loss_weekly_max",),
    "open_positions_max": ("open_positions_max",),
}
_OF_OVERRIDES: Final = {
    "leverage_max": ("leverage_max",),
    # A stop's loss is never allowed to be larger than the order itself may be.
    "trade_risk_max": ("trade_notional_fraction_max", "trade_stop_loss_fraction_max"),
    "trade_stop_loss_max": ("trade_stop_loss_fraction_max",),
    "loss_daily_max": ("loss_daily_max",),
    "loss_daily_money_max": ("loss_daily_money_max",),
    "loss_weekly_max": ("loss_weekly_max",),
    "drawdown_max": ("drawdown_max",),
    "loss_streak_max": ("loss_streak_max",),
    "open_positions_max": ("open_positions_max",),
    "confidence_min": ("confidence_min",),
    "confidence_required": ("confidence_required",),
    "rank_min": ("rank_min",),
    "new_positions_allowed": ("new_positions_allowed",),
    "margin_changes_allowed": ("margin_changes_allowed",),
    "slippage": ("slippage",),
    "warning_factor": ("warning_factor",),
}
_OF_SIZE: Final = {
    name: (name,)
    for name in (
        "order_notional_max", "order_quantity_max", "position_notional_max", "exposure_symbol_max",
        "exposure_strategy_max", "exposure_account_max", "exposure_exchange_max", "exposure_total_max",
        "exposure_asset_max", "exposure_net_max", "concentration_max", "margin_free_min", "liquidation_distance_min",
        "open_orders_max", "open_orders_symbol_max", "approval_notional_min",
    )
}
_OF_PRICE: Final = {
    "floor": ("price_floor",),
    "ceiling": ("price_ceiling",),
    "collar_up": ("collar_up",),
    "collar_down": ("collar_down",),
}
_OF_RATE: Final = {name: (name,) for name in ("order_rate_max", "duplicates_max")}


def effective(policy: GlobalPolicy, *, revision: int, account: str, strategy: str, now: datetime) -> Limits:
    """The limits in force for an account and a strategy at an instant (aware UTC)."""
    return _in_force(policy, revision=revision, account=account, strategy=strategy, now=now)[0]


def effective_with_sources(
    policy: GlobalPolicy, *, revision: int, account: str, strategy: str, now: datetime, symbol: str | None = None
) -> tuple[Limits, Mapping[str, str]]:
    """The limits in force, and which layer of the document set each of them.

    Limits of a symbol are named `by_symbol.<symbol>.<limit>`, where they differ from the account's; with `symbol`
    only that one's are.
    """
    limits, sources, of_symbol = _in_force(policy, revision=revision, account=account, strategy=strategy, now=now)
    found = dict(sources)
    for one in limits.by_symbol if symbol is None else {symbol} & set(limits.by_symbol):
        found |= {
            f"by_symbol.{one}.{name}": source
            for name, source in of_symbol(one)[1].items()
            if source != sources.get(name)
        }
    return limits, MappingProxyType({**found, "risk_source": "risk_source"})


def _in_force(
    policy: GlobalPolicy, *, revision: int, account: str, strategy: str, now: datetime
) -> tuple[Limits, dict[str, str], Callable[[str], tuple[Limits, dict[str, str]]]]:
    """The limits, the layer of each, and what works out those of a symbol."""
    owner = policy.accounts.get(account)
    if owner is None:
        raise PolicyGap(f"no policy for account {account!r}, expected one of {', '.join(policy.accounts) or 'none'}")
    layers = list(_layers(policy, account, owner, strategy))
    common: dict[str, Any] = {
        "policy_revision": revision,
        "profile": policy.active_mode,
        "capital_profile": owner.capital_profile,
        "risk_source": _risk_source(policy, now),
        "ages": Ages(**{name: getattr(policy.ages, name) for name in type(policy.ages).model_fields}),
        "ranks": policy.opp_rankings,
    }
    lifted = [one for one in policy.overrides.items() if one[1].holds(account, strategy, now)]
    stated, sources = _lifted(policy, lifted, None, *tightest(layers))
    _complete_governor(stated, common["risk_source"])
    # What is lifted for every symbol is what the symbols' own limits narrow again.
    base = [Layer(sources[name], {name: value}) for name, value in stated.items()] if lifted else layers

    def of_symbol(symbol: str) -> tuple[Limits, dict[str, str]]:
        narrowed = tightest([*base, *_symbol_layers(policy, account, owner, symbol)])
        own, own_sources = _lifted(policy, lifted, symbol, *narrowed)
        own["governor"] = stated.get("governor")  # of the account: its losses are no symbol's
        return Limits(**common, **own), own_sources

    symbols = {*policy.symbols, *owner.by_symbol, *(one.symbol for _, one in lifted if one.symbol is not None)}
    asks = policy.symbols_ask_for_sums(account)
    by_symbol = BySymbol(symbols, lambda symbol: of_symbol(symbol)[0], asks_for_sums=asks)
    tried = policy.as_if_tried
    limits = Limits(
        **common,
        **stated,
        by_symbol=by_symbol,
        shadow=None if tried is None else _in_force(
            tried, revision=revision, account=account, strategy=strategy, now=now
        )[0],
        limits_off=_off_for(policy, account, strategy),
    )
    return limits, sources, of_symbol


def _asks_for_sums(written: Overrides) -> bool:
    """Whether a section states a limit that is compared with sums of the whole account."""
    return any(getattr(written.size, name) is not None for name in OF_ACCOUNT_SUMS)


def _off_for(policy: GlobalPolicy, account: str, strategy: str) -> tuple[str, ...]:
    """The limits that are switched off, of those that could concern an account and a strategy."""
    preset = policy.active_preset
    own = ("defaults.", "symbols.", f"accounts.{account}.", f"strategies.{strategy}.", f"presets.{preset}.")
    return tuple(place for place in policy.switched_off if place.startswith(own))


def _lifted(
    policy: GlobalPolicy,
    lifted: Iterable[tuple[str, TemporaryOverride]],
    symbol: str | None,
    values: dict[str, Any],
    sources: dict[str, str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The limits with those that are replaced for a time; nothing passes the ceiling."""
    own = [Layer(f"overrides.{name}", stated_by(one.limits)) for name, one in lifted if one.symbol == symbol]
    if not own or policy.ceiling is None:
        return values, sources
    ceiling = stated_by(policy.ceiling)
    replaced, by = tightest(own)
    bounded = Layer("ceiling", {name: ceiling[name] for name in replaced})
    replaced, by = tightest([*(Layer(by[name], {name: value}) for name, value in replaced.items()), bounded])
    return values | replaced, sources | by


def tightest(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """The strictest value of every limit that some layer states, and the layer it comes from."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, stated in layers:
        for name, value in stated.items():
            if name not in values:
                values[name], sources[name] = value, source
                continue
            strictest = TIGHTER[name](values[name], value)
            if strictest == values[name]:
                continue  # of equals, the first layer is named
            # Whitelists narrow each other: then both layers set the limit.
            sources[name] = source if strictest == value else f"{sources[name]} and {source}"
            values[name] = strictest
    return values, sources


def _complete_governor(stated: dict[str, Any], source: RiskSource) -> None:
    """The governor measures by the tightest daily loss of all layers, and heeds a signal only where one is required."""
    governor: Governing | None = stated.get("governor")
    if governor is not None:
        stated["governor"] = governor._replace(
            loss_daily_max=stated.get("loss_daily_max", Decimal(1)), signal_counts=source is RiskSource.REQUIRED
        )


def _risk_source(policy: GlobalPolicy, now: datetime) -> RiskSource:
    """The degraded mode ends by itself; after that the signal is required again."""
    setting = policy.risk_source
    if setting.until is not None and now >= setting.until:
        return RiskSource.REQUIRED
    return setting.kind


def _layers(policy: GlobalPolicy, account: str, owner: AccountPolicy, strategy: str) -> Iterator[Layer]:
    """The layers that hold for every symbol, from the widest to the narrowest."""
    mode = policy.risk_profiles.get(policy.active_mode)
    capital = policy.capital_profiles.get(owner.capital_profile)
    if mode is None or capital is None:
        raise PolicyGap(f"no risk profile {policy.active_mode!r} or no capital profile {owner.capital_profile!r}")
    yield Layer(f"risk_profiles.{mode.name}", of_risk_profile(mode))
    yield Layer(
        f"capital_profiles.{capital.name}",
        _stated(capital, _OF_CAPITAL_PROFILE) | _said(capital, _OF_CAPITAL_PROFILE),
    )
    yield Layer(
        "defaults",
        {
            **_overrides(policy.defaults),
            **_whitelists(policy.defaults.strategies, policy.defaults.symbols),
            **_blocked(policy.defaults),
            **_scaling(policy.defaults.scaling),
            **_governor(policy.defaults.governor),
        },
    )
    if policy.active_preset is not None:
        preset = policy.presets[policy.active_preset].limits
        yield Layer(
            f"presets.{policy.active_preset}", {**_overrides(preset), **_blocked(preset), **_scaling(preset.scaling)}
        )
    yield Layer(
        f"accounts.{account}",
        {
            **_overrides(owner),
            **_whitelists(owner.strategies, owner.symbols),
            **_blocked(owner),
            **_scaling(owner.scaling, owner.scaling_factor),
            **_governor(owner.governor),
            "critical_allows_reducing": owner.critical_allows_reducing,
        },
    )
    if owner.losses.limits:
        yield Layer(f"accounts.{account}.losses.preset", owner.losses.limits)
    if policy.ceiling is not None:
        yield Layer("ceiling", _overrides(policy.ceiling))
    if (own := policy.strategies.get(strategy)) is not None:
        yield Layer(
            f"strategies.{strategy}",
            {
                **_overrides(own),
                **_whitelists("any", own.symbols),
                **_stated(own, {"symbols_blocked": ("symbols_blocked",)}),
                **_scaling(own.scaling),
            },
        )


def _symbol_layers(policy: GlobalPolicy, account: str, owner: AccountPolicy, symbol: str) -> Iterator[Layer]:
    for source, own in (
        (f"symbols.{symbol}", policy.symbols.get(symbol)),
        (f"accounts.{account}.by_symbol.{symbol}", owner.by_symbol.get(symbol)),
    ):
        if own is not None:
            yield Layer(source, {**_overrides(own), **_scaling(own.scaling)})


def of_risk_profile(profile: RiskProfile) -> dict[str, object]:
    """What a risk profile states, under the names of `Limits`: to compare one mode with another."""
    return _stated(profile, _OF_RISK_PROFILE) | _said(profile, _OF_RISK_PROFILE)


def _said(*sections: object) -> dict[str, object]:
    """What sections, each followed by its names, say of their limits beside the values."""
    never_scaled: set[str] = set()
    warn_at: dict[str, Decimal] = {}
    for written, names in zip(sections[::2], sections[1::2], strict=True):
        for name, setting in written.limit_settings.items():  # type: ignore[attr-defined]
            for limit in names.get(name, ()):  # type: ignore[attr-defined]
                if setting.action == "block":
                    never_scaled.add(limit)
                if setting.warn_at is not None and setting.mode == "enforce":
                    warn_at[limit] = setting.warn_at
    said: dict[str, object] = {"never_scaled": frozenset(never_scaled)} if never_scaled else {}
    return said | ({"warn_at": warn_at} if warn_at else {})


def stated_by(written: Overrides) -> dict[str, object]:
    """What a section states, under the names of `Limits`."""
    return _overrides(written)


def _stated(written: object, names: Mapping[str, tuple[str, ...]]) -> dict[str, object]:
    """What a section states, under the names of `Limits`."""
    return {
        limit: value
        for name, limits in names.items()
        if (value := getattr(written, name)) is not None
        for limit in limits
    }


def _overrides(written: Overrides) -> dict[str, object]:
    stated = _stated(written, _OF_OVERRIDES)
    # Both may state the stop's loss: the tighter one holds.
    if written.trade_risk_max is not None and written.trade_stop_loss_max is not None:
        stated["trade_stop_loss_fraction_max"] = min(written.trade_risk_max, written.trade_stop_loss_max)
    rate = written.rate
    stated |= _stated(written.size, _OF_SIZE) | _stated(written.price, _OF_PRICE) | _stated(rate, _OF_RATE)
    # A limit without its window takes the usual one, so that layers compare like with like.
    if rate.order_rate_max is not None:
        stated["order_rate_window_s"] = rate.order_rate_window_s or ORDER_RATE_WINDOW_S
    if rate.duplicates_max is not None:
        stated["duplicate_window_s"] = rate.duplicate_window_s or DUPLICATE_WINDOW_S
    if written.loss_streak_max is not None:
        stated["loss_cooldown_s"] = written.loss_cooldown_s or LOSS_COOLDOWN_S
    return stated | _said(
        written, _OF_OVERRIDES, written.size, _OF_SIZE, written.price, _OF_PRICE, rate, _OF_RATE
    )


def _whitelists(strategies: frozenset[str] | str, symbols: frozenset[str] | str) -> dict[str, object]:
    """Lists as they are; 'any' states nothing."""
    named = {"strategies": strategies, "symbols": symbols}
    return {name: listed for name, listed in named.items() if not isinstance(listed, str)}


def _blocked(written: Defaults | AccountPolicy | PresetLimits) -> dict[str, object]:
    return _stated(written, {name: (name,) for name in ("strategies_blocked", "symbols_blocked")})


def _scaling(scaling: str | None, factor: Decimal | None = None) -> dict[str, object]:
    if scaling is None:
        return {}
    stated: dict[str, object] = {"scaling_allowed": scaling != "off"}
    if scaling == "by_var":
        stated["scaling_by_var"] = True
    elif scaling == "fixed_factor":
        stated["scaling_factor"] = SCALING_FACTOR if factor is None else factor
    return stated


def _governor(written: GovernorPolicy) -> dict[str, object]:
    """How an account is governed, still without the limit that it is measured by."""
    if not written.enabled:
        return {}
    names = ("cautious_at", "emergency_at", "streak_cautious", "streak_block", "streak_cooldown_s")
    stated = {name: getattr(written, name) for name in names}
    return {"governor": Governing(loss_daily_max=Decimal(1), signal_counts=False, **stated)}


def stricter_of(one: Limits, other: Limits) -> Limits:
    """Of two sets of limits of one policy, the stricter value of each: for where nobody knows which of them holds."""
    values: dict[str, Any] = {}
    for name, stricter in TIGHTER.items():
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is None or theirs is None:
            values[name] = theirs if mine is None else mine
        else:
            values[name] = stricter(mine, theirs)
    by_symbol = BySymbol(
        {*one.by_symbol, *other.by_symbol},
        lambda symbol: stricter_of(one.of(symbol), other.of(symbol)),
        asks_for_sums=any(
            isinstance(own, BySymbol) and own.asks_for_sums for own in (one.by_symbol, other.by_symbol)
        ),
    )
    return replace(one, **values, by_symbol=by_symbol)


# --- comparing limits -------------------------------------------------------------------------


def looser(one: Limits, other: Limits) -> tuple[str, ...]:
    """The limits in which `one` admits something that `other` does not, also for single symbols."""
    found = [name for name in TIGHTER if _is_looser(name, one, other)]
    if other.rank_min is not None:
        found += [f"ranks.{name}" for name in sorted(one.ranks) if one.ranks[name] > other.ranks.get(name, NO_RANK)]
    found += [f"ages.{age.name}" for age in fields(Ages) if getattr(one.ages, age.name) > getattr(other.ages, age.name)]
    for symbol in sorted({*one.by_symbol, *other.by_symbol}):
        found += [
            f"by_symbol.{symbol}.{name}" for name in TIGHTER if _is_looser(name, one.of(symbol), other.of(symbol))
        ]
    return tuple(found)


def no_looser(one: Limits, other: Limits) -> bool:
    """Whether `one` admits nothing that `other` does not."""
    return not looser(one, other)


def _is_looser(name: str, one: Limits, other: Limits) -> bool:
    mine, theirs = getattr(one, name), getattr(other, name)
    if name in _WINDOWS and getattr(other, _WINDOWS[name]) is None:
        return False  # the window of a rate that is not limited binds nobody
    if theirs is None or mine is None:
        return theirs is not None
    return bool(TIGHTER[name](mine, theirs) != mine)

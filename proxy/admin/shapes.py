"""What the admin API answers: one shape a document, which the published OpenAPI tells to programs.

They describe and are never built: handlers answer plain documents, and the tests hold every answer against these.
Amounts are text, so that no digit is lost; what is not known is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from proxy.global_risk.models import (
    ESResult,
    ExposureMatrix,
    GlobalRiskSignal,
    RiskSnapshot,
    SystemicSignal,
    Tier,
    VaRResult,
)
from rules import RiskLevel

V2 = "/api/v2/policy"

Amount = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Level = Literal["clear", "reduce_only", "halt"]
Known = Amount | None
Anything = dict[str, Any]


class Shape(BaseModel):
    """An answer holds what is told here and nothing else."""

    model_config = ConfigDict(extra="forbid")


# -- the emergency stop ------------------------------------------------------------------------------


class Stop(Shape):
    """One stop in force, or the clear state of a scope."""

    level: Level
    scope: str
    reason: str
    actor: str
    source: str
    since: datetime | None
    epoch: int
    by_person: bool
    expires_s: float | None


class ReleaseAsked(Shape):
    """A release that waits for a second person."""

    scope: str
    epoch: int
    asked_by: str
    reason: str
    until: datetime
    detail: str


class Stops(Shape):
    """Every stop in force, the global one first."""

    epoch: int
    durable: bool
    stops: list[Stop]
    release_asked: ReleaseAsked | None
    recovering: dict[str, Any]


class Engaged(Stop):
    """A stop that was engaged: what it met on its way, and whether it is on disk and on record."""

    durable: bool
    in_flight_unanswered: int
    unknown: int
    aborted: int
    changed: bool
    level_before: Level
    took_ms: float
    audited: bool


class Released(Stop):
    """A stop that was released."""

    released: Literal[True]
    durable: bool
    audited: bool


class NotYetReleased(ReleaseAsked):
    """A first person's release."""

    released: Literal[False]


class Release(RootModel[Released | NotYetReleased]):
    """What became of a release."""


class Trigger(Shape):
    """One trigger: what it does, and whether it has anything to see with."""

    trigger: str
    level: str
    scope: str
    cooldown_s: Amount
    expires_s: Known
    inert: str | None
    proven_at: datetime | None
    problem: str | None
    found: Any
    cooling: Any


class Triggers(Shape):
    """Every trigger."""

    triggers: list[Trigger]


# -- accounts ----------------------------------------------------------------------------------------


class Fact(Shape):
    """A value with its age."""

    value: Known
    as_of: datetime | None
    age_s: float | None


class LimitUse(Shape):
    """How much of one limit is used; `floor` and `left` of losses in money, `missing` where something is not known."""

    limit: str
    scope: str
    used: Known
    warn: Amount
    hard: Amount
    share: Known
    level: str
    age_s: float | None
    fresh: bool
    missing: str = ""
    floor: Known = None
    left: Known = None


class AccountHead(Shape):
    """What is told first of an account."""

    name: str
    exchange: str
    mode: str
    state: Level
    strategies: list[str]
    equity: Fact


class AccountLine(AccountHead):
    """One account in short."""

    exposure: Fact
    open_positions: int | None
    working_orders: int | None
    unknown_orders: int
    nearest: list[LimitUse]


class AccountLines(Shape):
    """Every account in short."""

    accounts: list[AccountLine]


class Exposure(Fact):
    """What an account has at stake; the parts are there where the whole is known."""

    leverage: Known = None
    exchange: Known = None
    total: Known = None
    strategies: dict[str, Amount] = {}
    assets: dict[str, Amount] = {}
    net_long: Known = None
    net_short: Known = None
    contracts: Known = None
    margin: Known = None
    maintenance: Known = None
    available: Known = None


class Losses(Fact):
    """What losses are measured from."""

    base: str
    day_start_equity: Known
    week_start_equity: Known
    high_water_mark: Known
    day_transfers: Known
    week_transfers: Known
    losing_streak: int | None


class Position(Shape):
    """One position."""

    market: str
    symbol: str
    instrument: str
    quantity: Amount
    long: Amount
    short: Amount
    worth: Known
    waiting_up: Amount
    waiting_down: Amount
    exposure: Known
    price: Fact
    strategies: list[str]


class WorkingOrder(Shape):
    """One order that rests at the exchange."""

    market: str
    symbol: str
    order_id: str
    client_order_id: str | None
    side: str
    bucket: str
    remaining: Amount
    price: Known
    trigger_price: Known
    reduces_by_venue: bool


class ReservedOrder(Shape):
    """One order whose room is taken and that no reading shows yet."""

    decision_id: str
    strategy: str
    bot: str
    market: str
    symbol: str
    client_order_id: str | None
    quantity: Known
    state: str
    reserved_at: datetime


class Orders(Shape):
    """Working and reserved orders; the lists are cut, the count is not."""

    working_count: int
    working: list[WorkingOrder]
    reserved: list[ReservedOrder]


class FactAge(Shape):
    """How old a fact is, and how old it may be."""

    as_of: datetime | None
    age_s: float | None
    age_max_s: Amount
    fresh: bool


class Account(AccountHead):
    """Everything of one account."""

    exposure: Exposure
    losses: Losses | None
    positions: list[Position]
    orders: Orders
    limits: list[LimitUse]
    facts: dict[str, FactAge]


class RuleRoom(Shape):
    """What one rule leaves."""

    rule: str
    quantity: Known
    reason: str | None


class Headroom(Shape):
    """How large an order could be now, and the rule that binds; without `rules` no size is known."""

    account: str
    strategy: str
    symbol: str
    side: str
    type: str
    price: Known
    bucket: str
    at: datetime
    quantity: Amount
    binding: str | None
    sentence: str | None
    unbounded: bool = False
    step: Known = None
    quantity_min: Known = None
    sendable: bool = False
    rules: list[RuleRoom] = []


class Settled(Shape):
    """An order of unknown fate that a person settled."""

    decision_id: str
    outcome: str
    settled: int
    audited: bool


# -- actions of the proxy ----------------------------------------------------------------------------


class OrderResult(Shape):
    """One working order that an action met."""

    market: str
    symbol: str
    order_id: str
    client_order_id: str | None
    side: str
    quantity: Amount
    protective: bool
    state: str
    attempts: int
    said: str


class PositionResult(Shape):
    """One position that an action met; `sent` are the orders that closed it."""

    market: str
    symbol: str
    bucket: str
    quantity_before: Amount
    quantity_now: Amount
    state: str
    sent: list[Anything]
    said: str


class ActionRun(Shape):
    """One account's part of an action."""

    account: str
    state: str
    problem: str
    no_working_orders: bool
    flat: bool
    verified_at: datetime | None
    stopwatch_ms: dict[str, float]
    orders: list[OrderResult]
    positions: list[PositionResult]


class ActionLine(Shape):
    """An action in short."""

    id: str
    kind: Literal["cancel_all", "flatten"]
    scope: str
    state: str
    actor: str
    reason: str
    spot: bool
    begun_at: datetime
    ended_at: datetime | None
    took_ms: float | None
    recorded: bool


class Action(ActionLine):
    """An action, account by account."""

    accounts: list[ActionRun]


class DrillTimes(Shape):
    """What the stopwatch of a drill said."""

    done: bool
    problem: str
    positions: int
    orders: int
    blocked_ms: float | None
    no_working_orders_ms: float | None
    flat_ms: float | None
    orders_after_block: int
    exchange_is_flat: bool


class Drill(Shape):
    """A drill and how it went."""

    id: str
    kind: Literal["drill"]
    state: str
    actor: str
    problem: str
    drill: DrillTimes | None


class ActionOrDrill(RootModel[Action | Drill]):
    """One action."""


class Actions(Shape):
    """Every action that is remembered, the newest first, then drills."""

    actions: list[ActionLine | Drill]


# -- permits, tokens, leases -------------------------------------------------------------------------


class Permit(Shape):
    """A large order that waits for a person, or an override."""

    id: str
    kind: str
    state: str
    account: str
    bot: str
    strategy: str
    reason: str
    sentence: str
    orders: list[Anything]
    notional: Known
    prices: dict[str, Amount]
    reducing: bool
    decision_id: str
    fingerprint: str
    asked_at: datetime
    asked_by: str
    why: str
    first: str | None
    granted_by: list[str]
    granted_at: datetime | None
    until: datetime | None
    ended_at: datetime | None
    used_by: str | None


class Approvals(Shape):
    """Large orders that wait, that may pass once, and what became of others."""

    approvals: list[Permit]


class Overrides(Shape):
    """Overrides, and the accounts on which there may be any, with the ceiling of each."""

    overrides: list[Permit]
    ceilings: dict[str, Amount]


class Token(Shape):
    """A token without what could be used."""

    id: str
    person: str
    role: str
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str
    last_used_at: datetime | None


class Tokens(Shape):
    """Every token, the newest first."""

    tokens: list[Token]


class RevokedToken(Token):
    """A token that is worth nothing any more."""

    audited: bool


class NewToken(RevokedToken):
    """A token that was made; the token itself stands here and nowhere else."""

    token: str


class Lease(Shape):
    """For how long a strategy counts as alive on an account (null: there is no lease), and what holds it."""

    lease_s: float | None
    level: Level


class LoginLink(Shape):
    """A link into the console that works once."""

    path: str
    expires_s: int


class Heartbeat(Shape):
    """A strategy's leases."""

    strategy: str
    accounts: dict[str, Lease]


# -- the record, the process -------------------------------------------------------------------------


class Decisions(Shape):
    """The latest decisions and refusals, newest first, as they were recorded."""

    decisions: list[Anything]


class Decision(Shape):
    """Everything recorded of one decision."""

    decision_id: str
    records: list[Anything]


class Verification(Shape):
    """Whether the chain is whole."""

    ok: bool
    records: int
    head_hash: str
    problem: str | None
    at_sequence: int | None
    from_sequence: int
    anchors: int


class Health(Shape):
    """It answers."""

    status: Literal["ok"]


class Readiness(Shape):
    """Whether an order for new exposure could be judged now, and by part, why not."""

    ready: bool
    parts: Anything


class Startup(Shape):
    """Whether the start is complete, and by part, what an order for new exposure misses now."""

    started: bool
    parts: Anything


class StatusStop(Shape):
    """One stop in force, or the clear state of a scope, in short."""

    scope: str
    level: Level
    reason: str
    actor: str
    source: str
    since: datetime | None
    epoch: int


class RecordPart(Shape):
    """The record: of each folder, where there are two, and of each place of anchors what is wrong, or nothing."""

    ready: bool
    folders: dict[str, str] = {}
    anchors: dict[str, str]


class PolicyPart(Shape):
    """The policy in force, or why there is none."""

    error: str | None = None
    mode: str | None = None
    revision: int | None = None
    age_s: float | None = None


class StopPart(Shape):
    """The stop of everything, and whether all stops are on disk."""

    state: Level
    durable: bool


class FeedPart(Shape):
    """One feed."""

    ready: bool
    age_s: float | None
    error: str | None


class Parts(Shape):
    """What an order for new exposure needs, part by part; under `facts` what it would miss, by account."""

    draining: bool
    audit: RecordPart
    policy: PolicyPart
    emergency_stop: StopPart
    feeds: dict[str, FeedPart]
    facts: dict[str, list[str]]


class RecordHead(Shape):
    """The last record."""

    sequence: int
    head: str


class PermitCounts(Shape):
    """How many approvals and overrides wait or may pass, and the accounts that know overrides."""

    asked: dict[str, int]
    granted: dict[str, int]
    overrides_on: list[str]


class LossUsed(Shape):
    """How much of one loss limit is used; shares as text, money to the cent."""

    lost: Amount
    lost_share: str
    limit: str
    used: str
    equity: Amount
    floor: Amount
    distance: Amount
    step: str


class LossState(Shape):
    """An account's losses against their limits."""

    base: str
    limits: dict[str, LossUsed]
    day_transfers: Known
    week_transfers: Known
    day_known: bool
    week_known: bool
    losing_streak: int | None
    derisk_factor: Amount
    problem: str | None


class GovernorState(Shape):
    """What the safety governor says of an account."""

    directive: str
    level: str
    cause: str
    observed: Any
    threshold: Any
    losing_streak: int | None
    multipliers: dict[str, Any]
    profile_name: str
    since: datetime
    as_of: datetime
    trace_id: str


class DeadManState(Shape):
    """The dead man's switch of an account: seconds left of each lease, symbols with a countdown."""

    lease_s: float | None
    countdown_s: float | None
    leases_s: dict[str, float]
    armed: list[str]
    failing: list[str]


class AccountState(Shape):
    """One account in short."""

    exchange: str
    mode: Literal["custody", "passthrough"]
    state: Level
    equity: Known
    equity_as_of: datetime | None
    exposure: Known
    exposure_as_of: datetime | None
    losses: LossState | None
    governor: GovernorState | None
    dead_man: DeadManState | None


class Status(Shape):
    """Everything an operator asks first."""

    state: Level
    stops: list[StatusStop]
    ess_epoch: int
    ready: bool
    version: str
    event_loop: str
    since: datetime
    uptime_s: int
    parts: Parts
    reservations: dict[str, int]
    in_flight: int
    audit: RecordHead
    permits: PermitCounts | None
    accounts: dict[str, AccountState]


class HistoryHealth(Shape):
    """How the reading of candles does, and of which symbols it does not."""

    ready: bool
    age_s: float | None
    error: str | None
    problems: dict[str, str]


class RiskHealth(Shape):
    """Whether the risk engine evaluates, and what ails it or its history."""

    ready: bool
    age_s: float | None
    error: str | None
    failures: int
    history: HistoryHealth


class RiskStatus(Shape):
    """The global risk level in short; null before the first evaluation. How many daily returns are known, by symbol."""

    ready: bool
    timestamp: datetime | None
    age_s: float | None
    risk_level: RiskLevel | None
    overall_risk_score: float | None
    ess_tier_recommendation: Tier | None = None
    ess_action_required: bool = False
    risk_summary: str = ""
    daily_returns: dict[str, int]


class TailRisk(Shape):
    """VaR and ES; null, with what is missing, where they are not known."""

    timestamp: datetime
    var_result: VaRResult | None
    es_result: ESResult | None
    unknown: list[str]


class SystemicRisk(Shape):
    """The systemic signals."""

    timestamp: datetime
    systemic_signals: list[SystemicSignal]
    unknown: list[str]


class Version(Shape):
    """The version."""

    version: str


class Reload(Shape):
    """What a reload did: settings by name."""

    applied: list[str]
    requires_restart: list[str]
    policy_revision: int | None
    remarks: list[str]


# -- the policy --------------------------------------------------------------------------------------


class Changed(Shape):
    """One place of the document that differs."""

    path: str
    before: Any
    after: Any


class Revision(Shape):
    """Who made a revision, when and why."""

    revision: int
    updated_at: datetime
    updated_by: str
    reason: str


class Policy(Revision):
    """A revision of the whole document, with what is allowed in it and probably not meant."""

    policy: Anything
    warnings: list[str]


class PolicyRevision(Policy):
    """A revision with what it changed."""

    changes: list[Changed]


class Proposed(Shape):
    """What a change would come to, and what of it loosens."""

    revision: int
    changes: list[Changed]
    looser: list[str]
    warnings: list[str]


class PolicyOrProposed(RootModel[Policy | Proposed]):
    """The new revision; with `?dry_run=true` what it would change."""


class History(Shape):
    """Revisions, newest first."""

    revisions: list[Revision]


class ModeConfig(Shape):
    """The active risk mode under the names that clients know; shares are fractions."""

    mode: str
    max_leverage: Amount
    max_risk_pct_per_trade: Amount
    max_daily_drawdown: Amount
    max_positions: int
    global_min_confidence: Amount
    scaling_factor: Amount
    position_size_cap: Amount


class ActiveMode(Revision):
    """The active risk mode, as written and under the names that clients know."""

    active: str
    profile: Anything
    config: ModeConfig


class PresetApplied(ActiveMode):
    """The active risk mode, and the preset that is on."""

    active_preset: str | None


class Modes(Shape):
    """Every risk mode."""

    active: str
    revision: int
    modes: dict[str, Anything]


class Presets(Shape):
    """Every preset."""

    active: str | None
    revision: int
    presets: dict[str, Anything]


class Value(Shape):
    """One value of the policy."""

    path: str
    value: Any


class LimitInForce(Shape):
    """One limit, and the place of the document that set it."""

    limit: str
    value: Any
    source: str
    warn_at: Known = None
    action: Literal["block"] = "block"


class Effective(Shape):
    """Every limit in force for an account, a strategy and a symbol."""

    account: str
    strategy: str
    symbol: str
    revision: int
    profile: str
    capital_profile: str
    limits_off: Any
    governor: Anything | None
    at: datetime
    limits: list[LimitInForce]


class DraftLine(Shape):
    """A draft without its document."""

    id: str
    status: str
    base_revision: int
    created_at: datetime
    created_by: str
    reason: str
    effective_at: datetime | None = None
    scheduled_by: str = ""
    publish_reason: str = ""
    problem: str = ""


class Draft(DraftLine):
    """A draft with its document."""

    policy: Anything


class Drafts(Shape):
    """Every draft, the oldest first."""

    drafts: list[DraftLine]


class ComparedDraft(DraftLine):
    """A draft, what publishing it would change, and whether somebody changed the policy since."""

    revision: int
    stale: bool
    changes: list[Changed]
    looser: list[str]
    warnings: list[str]


class PolicyV1(Shape):
    """The policy as v1 told it."""

    risk_mode: str
    allowed_strategies: list[str] | str
    allowed_symbols: list[str] | str
    max_risk_per_trade: float | None
    max_positions: int | None
    global_min_confidence: float | None
    opp_rankings: dict[str, float]
    model_versions: dict[str, str]
    last_updated: datetime
    timestamp: datetime
    revision: int
    stated: dict[str, float | int | None]


class PolicyV1Status(Shape):
    """Whether the policy can be read."""

    available: bool
    status: str
    risk_mode: str
    revision: int
    last_updated: datetime


class PolicyV1Unavailable(Shape):
    """The policy cannot be read."""

    available: Literal[False]
    status: str
    detail: str


class ModeV1(Shape):
    """The active mode's name."""

    risk_mode: str


class SymbolsV1(Shape):
    """The symbols that every account may trade: a list, or `any`."""

    allowed_symbols: list[str] | str


class ModelsV1(Shape):
    """Which version of which model is in use."""

    model_versions: dict[str, str]


ANSWERS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "GET /healthz": Health,
        "GET /readyz": Readiness,
        "GET /startupz": Startup,
        "GET /version": Version,
        "GET /admin/v1/status": Status,
        "GET /admin/v1/ess": Stops,
        "POST /admin/v1/ess/engage": Engaged,
        "POST /bot/v1/ess/engage": Engaged,
        "POST /admin/v1/ess/release": Release,
        "GET /admin/v1/ess/triggers": Triggers,
        "GET /admin/v1/accounts": AccountLines,
        "GET /admin/v1/accounts/{name}": Account,
        "POST /admin/v1/accounts/{name}/settle": Settled,
        "GET /admin/v1/headroom": Headroom,
        "GET /admin/v1/actions": Actions,
        "GET /admin/v1/actions/{id}": ActionOrDrill,
        "POST /admin/v1/actions/cancel-all": Action,
        "POST /admin/v1/actions/flatten": Action,
        "POST /admin/v1/actions/drill": Drill,
        "GET /admin/v1/approvals": Approvals,
        "POST /admin/v1/approvals/{id}/approve": Permit,
        "POST /admin/v1/approvals/{id}/refuse": Permit,
        "GET /admin/v1/overrides": Overrides,
        "POST /admin/v1/overrides": Permit,
        "POST /admin/v1/overrides/{id}/confirm": Permit,
        "POST /admin/v1/overrides/{id}/refuse": Permit,
        "GET /admin/v1/tokens": Tokens,
        "POST /admin/v1/tokens": NewToken,
        "DELETE /admin/v1/tokens/{id}": RevokedToken,
        "POST /admin/v1/login-links": LoginLink,
        "POST /bot/v1/heartbeat": Heartbeat,
        "POST /api/v2/strategies/{name}/heartbeat": Heartbeat,
        "GET /admin/v1/decisions": Decisions,
        "GET /admin/v1/decisions/{decision_id}": Decision,
        "GET /admin/v1/audit/verify": Verification,
        "POST /admin/v1/reload": Reload,
        "GET /risk/health": RiskHealth,
        "GET /risk/status": RiskStatus,
        "GET /risk/global": GlobalRiskSignal,
        "GET /risk/snapshot": RiskSnapshot,
        "GET /risk/exposure": ExposureMatrix,
        "GET /risk/var": TailRisk,
        "GET /risk/systemic": SystemicRisk,
        "POST /risk/evaluate": GlobalRiskSignal,
        f"GET {V2}": Policy,
        f"PUT {V2}": Policy,
        f"PATCH {V2}": PolicyOrProposed,
        f"POST {V2}/reset": Policy,
        f"POST {V2}/rollback": Policy,
        f"GET {V2}/history": History,
        f"GET {V2}/history/{{revision}}": PolicyRevision,
        f"GET {V2}/risk-profile": ActiveMode,
        f"POST {V2}/risk-mode": ActiveMode,
        f"GET {V2}/risk-modes": Modes,
        f"GET {V2}/presets": Presets,
        f"POST {V2}/presets": PresetApplied,
        f"GET {V2}/value": Value,
        f"GET {V2}/effective": Effective,
        f"GET {V2}/drafts": Drafts,
        f"POST {V2}/drafts": ComparedDraft,
        f"GET {V2}/drafts/{{id}}": Draft,
        f"DELETE {V2}/drafts/{{id}}": DraftLine,
        f"GET {V2}/drafts/{{id}}/diff": ComparedDraft,
        "GET /api/policy": PolicyV1,
        "PATCH /api/policy": PolicyV1,
        "POST /api/policy/reset": PolicyV1,
        "GET /api/policy/status": PolicyV1Status,
        "GET /api/policy/risk_mode": ModeV1,
        "POST /api/policy/risk_mode/{mode}": ModeV1,
        "GET /api/policy/allowed_symbols": SymbolsV1,
        "GET /api/policy/model_versions": ModelsV1,
    }
)
# Where another status than the usual one has a document of its own, or the usual one.
BY_STATUS: Mapping[tuple[str, int], type[BaseModel]] = MappingProxyType(
    {
        (f"POST {V2}/drafts/{{id}}/publish", 200): Policy,
        (f"POST {V2}/drafts/{{id}}/publish", 202): DraftLine,
        ("GET /readyz", 503): Readiness,
        ("GET /startupz", 503): Startup,
        ("GET /risk/health", 503): RiskHealth,
        ("GET /admin/v1/audit/verify", 500): Verification,
        ("GET /api/policy/status", 503): PolicyV1Unavailable,
    }
)
# Any object: these are descriptions themselves.
PLAIN = frozenset({"GET /admin/v1/openapi.json", "GET /risk/schema"})


def shape_of(name: str, status: int) -> type[BaseModel] | None:
    """The shape of what a route answers with a status; None for any object."""
    return BY_STATUS.get((name, status)) or (ANSWERS.get(name) if 200 <= status < 300 else None)

"""Which triggers there are: the one place where a trigger meets what it sees with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple, TypeVar

from proxy.clock import Clock
from proxy.global_risk.trips import FRESH, RiskReader, demanded
from proxy.loss_watch import LossWatch, Step, stepped
from proxy.outcomes import Outcomes
from proxy.triggers.detectors import (
    BlockRate,
    DataFeedLoss,
    Decisions,
    ErrorStorm,
    Finding,
    Lack,
    RejectStreak,
    rehearse_blocks,
    rehearse_errors,
    rehearse_loss_of_data,
    rehearse_rejections,
)
from proxy.triggers.engine import Standing
from rules import EssLevel, GlobalRisk, RiskLevel
from rules.profile import TriggerPolicy, TriggersPolicy

P = TypeVar("P", bound=TriggerPolicy)


class Sight(NamedTuple):
    """What triggers see with."""

    policies: Callable[[], TriggersPolicy]
    accounts: Mapping[str, str]  # name to exchange
    outcomes: Outcomes
    decisions: Decisions
    lacks: Callable[[], Iterable[Lack]]
    losses: LossWatch
    risk: RiskReader | None
    risk_trips: bool  # by the settings
    bypasses: Callable[[str], int]
    bypass_reduces: Collection[str]  # accounts whose settings want that
    is_read: Callable[[str], bool]  # whether an account's orders at the venue are known
    clock: Clock


def standing_triggers(sight: Sight) -> list[Standing]:
    """All of them, in the order of the policy."""
    return [_drawdown(sight), _loss(sight), _global_risk(sight), _bypass(sight), *_counting(sight)]


def _counting(sight: Sight) -> Iterable[Standing]:
    """Those that count what happens to orders, or how long facts are missing."""
    of = sight.policies
    errors = ErrorStorm(sight.outcomes, lambda: of().error_storm)
    yield Standing(
        "error_storm", lambda: of().error_storm, errors.inert, lambda: rehearse_errors(of().error_storm), errors.look
    )
    data = DataFeedLoss(sight.lacks, lambda: of().data_feed)
    yield Standing(
        "data_feed", lambda: of().data_feed, data.inert, lambda: rehearse_loss_of_data(of().data_feed), data.look
    )
    blocks = BlockRate(sight.decisions, lambda: of().block_rate)
    yield Standing(
        "block_rate", lambda: of().block_rate, blocks.inert, lambda: rehearse_blocks(of().block_rate), blocks.look
    )
    streak = RejectStreak(sight.outcomes, lambda: of().reject_streak)
    yield Standing(
        "reject_streak", lambda: of().reject_streak, streak.inert, lambda: rehearse_rejections(of().reject_streak),
        streak.look,
    )  # fmt: skip


def _drawdown(sight: Sight) -> Standing:
    """Acts where losses are watched, with the loss limits."""
    emergency = Decimal("0.08")
    return Standing(
        "emergency_drawdown",
        lambda: sight.policies().emergency_drawdown,
        lambda: _unmeasured(sight, "day"),
        lambda: stepped("day", emergency, Decimal(1), emergency) is Step.EMERGENCY
        and stepped("day", emergency - Decimal("0.0001"), Decimal(1), emergency) is not Step.EMERGENCY,
        cooldown=sight.losses.cooldowns["emergency_drawdown"],
    )


def _loss(sight: Sight) -> Standing:
    """The same, at the limits themselves."""
    limit, far = Decimal("0.05"), Decimal(1)
    return Standing(
        "loss",
        lambda: sight.policies().loss,
        lambda: _unmeasured(sight, "day", "week", "drawdown"),
        lambda: all(
            stepped(window, limit, limit, far) is Step.BREACH
            and stepped(window, limit - Decimal("0.0001"), limit, far) is not Step.BREACH
            for window in ("day", "week", "drawdown")
        ),
        cooldown=sight.losses.cooldowns["loss"],
    )


def _unmeasured(sight: Sight, *windows: str) -> str | None:
    """The accounts of which none of these losses is known."""
    missing = [
        account
        for account in sight.accounts
        if not any(used.window in windows for used in sight.losses.used(account))
    ]
    return f"no loss is known, or none limited, of: {', '.join(missing)}" if missing else None


def _global_risk(sight: Sight) -> Standing:
    """By tier where the settings say so, and then it acts by itself; by the policy's level where that states one."""
    answered = [EssLevel.CLEAR]

    def look(_: float) -> list[Finding]:
        known = None if sight.risk is None else sight.risk.latest()
        if known is None or abs(sight.clock.now() - known.as_of) > FRESH:
            return []
        level, before = demanded(known.value), answered[0]
        answered[0] = level
        if sight.policies().global_risk.level == "settings" or level <= before:
            return []
        reason = f"global risk demands action: {'; '.join(known.value.issues) or 'no issue stated'}"
        return [Finding(account, exchange, "", reason) for account, exchange in sight.accounts.items()]

    def inert() -> str | None:
        known = None if sight.risk is None else sight.risk.latest()
        if known is None:
            return "there is no global risk signal"
        age: timedelta = sight.clock.now() - known.as_of
        return f"the global risk signal is {age.total_seconds():.0f} s old" if abs(age) > FRESH else None

    def rehearse() -> bool:
        calm = GlobalRisk(level=RiskLevel.INFO)
        asks = GlobalRisk(level=RiskLevel.CRITICAL, ess_action_required=True, ess_tier="EMERGENCY")
        return demanded(calm) is EssLevel.CLEAR and demanded(asks) is EssLevel.HALT

    def level() -> str:
        stated = sight.policies().global_risk.level
        return ("reduce_only" if sight.risk_trips else "off") if stated == "settings" else stated

    return Standing("global_risk", lambda: sight.policies().global_risk, inert, rehearse, look, level)


def _bypass(sight: Sight) -> Standing:
    """As the account's settings say, and then it acts by itself; by the policy's level where that states one."""
    seen: dict[str, int] = {}

    def look(_: float) -> list[Finding]:
        found = []
        for account, exchange in sight.accounts.items():
            count = sight.bypasses(account)
            more = count - seen.get(account, 0)
            seen[account] = count
            if more > 0 and sight.policies().bypass.level != "settings":
                found.append(Finding(account, exchange, "", f"{more} order(s) did not come through here"))
        return found

    def inert() -> str | None:
        unread = [account for account in sight.accounts if not sight.is_read(account)]
        return f"never read: {', '.join(unread)}" if unread or not sight.accounts else None

    def rehearse() -> bool:
        counts = {"rehearsal": 0}
        shown = sight._replace(
            accounts={"rehearsal": "rehearsal"},
            bypasses=lambda name: counts[name],
            policies=lambda: TriggersPolicy.model_validate({"bypass": {"level": "halt"}}),
        )
        tried = _bypass_look(shown)
        early = tried()
        counts["rehearsal"] = 1
        return not early and len(tried()) == 1

    def level() -> str:
        stated = sight.policies().bypass.level
        return ("reduce_only" if sight.bypass_reduces else "alert") if stated == "settings" else stated

    return Standing("bypass", lambda: sight.policies().bypass, inert, rehearse, look, level)


def _bypass_look(sight: Sight) -> Callable[[], list[Finding]]:
    """A bypass trigger of its own, to be shown something."""
    tried = _bypass(sight)
    return lambda: list(tried.look(0.0))

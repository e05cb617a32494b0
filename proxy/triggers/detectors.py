"""What triggers see with: counts that grow, and facts that are missing, looked at from time to time.

A detector is told the time and reads totals; what happened since the window began is the difference. What was
found once is not found again for the same events: whoever releases a stop does not have it back with the next look.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from proxy.outcomes import Outcomes, Tally
from rules import Reason, Verdict
from rules.profile import BlockRatePolicy, DataFeedPolicy, ErrorStormPolicy, RejectStreakPolicy

# What the stop itself blocks must not keep it engaged.
OF_THE_STOP = frozenset({Reason.ESS_TRADING_HALT_ACTIVE, Reason.ESS_REDUCE_ONLY_ACTIVE})
# (verdict, reason, account, exchange, strategy) -> how often, since the start
Decisions = Callable[[], Mapping[tuple[str, str, str, str, str], int]]
NO_ORDER = "no order was decided since the start"


class Finding(NamedTuple):
    """Something that a trigger stops for, and whom it is about."""

    account: str
    exchange: str
    strategy: str
    reason: str


class Detector(Protocol):
    """Looks for one thing."""

    def look(self, now_s: float) -> list[Finding]:
        """What there is to find now."""
        ...

    def inert(self) -> str | None:
        """Why it cannot find anything; None where it has something to see with."""
        ...


class _Place(NamedTuple):
    account: str
    exchange: str
    strategy: str


class _Window:
    """Totals of one place, as they were at each look within the window."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def since(self, now_s: float, window_s: float, first: int, second: int) -> tuple[int, int]:
        """By how much both totals grew within the window."""
        seen = self._seen
        if not seen:
            seen.append((now_s, 0, 0))  # a place is first seen when its totals are: they grew from nothing
        seen.append((now_s, first, second))
        while len(seen) > 1 and seen[1][0] <= now_s - window_s:
            seen.popleft()
        return first - seen[0][1], second - seen[0][2]

    def begin_anew(self, now_s: float, first: int, second: int) -> None:
        """Forget what was counted so far."""
        self._seen = deque([(now_s, first, second)])


class ErrorStorm:
    """Orders of an account that could not be sent or whose answers were lost."""

    def __init__(self, outcomes: Outcomes, policy: Callable[[], ErrorStormPolicy]) -> None:
        self._outcomes = outcomes
        self._policy = policy
        self._windows: dict[str, _Window] = {}

    def look(self, now_s: float) -> list[Finding]:
        """Accounts with as many errors as the policy names."""
        policy, found = self._policy(), []
        for account, (exchange, failed) in self._by_account().items():
            window = self._windows.setdefault(account, _Window())
            errors, _ = window.since(now_s, float(policy.window_s), failed, 0)
            if errors >= policy.errors:
                window.begin_anew(now_s, failed, 0)
                reason = f"{errors} orders within {policy.window_s:f} s were not sent or their answers lost"
                found.append(Finding(account, exchange, "", f"{reason}, at most {policy.errors - 1} are allowed"))
        return found

    def _by_account(self) -> dict[str, tuple[str, int]]:
        sums: dict[str, tuple[str, int]] = {}
        for (account, _), tally in self._outcomes.by_place.items():
            before = sums.get(account, ("", 0))[1]
            sums[account] = tally.exchange, before + tally.failed
        return sums

    def inert(self) -> str | None:
        """Before the first order there is nothing to count."""
        return None if self._outcomes.by_place else "no order was sent since the start"


class RejectStreak:
    """Orders of a strategy that the venue rejects, one after the other."""

    def __init__(self, outcomes: Outcomes, policy: Callable[[], RejectStreakPolicy]) -> None:
        self._outcomes = outcomes
        self._policy = policy
        self._told: dict[tuple[str, str], int] = {}

    def look(self, now_s: float) -> list[Finding]:  # noqa: ARG002 - a streak has no time
        """Strategies with as many rejections in a row as the policy names."""
        policy, found = self._policy(), []
        for (account, strategy), tally in self._outcomes.by_place.items():
            place = account, strategy
            told = self._told.get(place, 0)
            if tally.streak < told:
                told = 0  # an order was accepted in between
            if tally.streak - told >= policy.rejections:
                told = tally.streak
                reason = f"the exchange rejected {tally.streak} orders in a row"
                found.append(Finding(account, tally.exchange, strategy, f"{reason}, {policy.rejections} are a streak"))
            self._told[place] = told
        return found

    def inert(self) -> str | None:
        """Before the first order there is nothing to count."""
        return None if self._outcomes.by_place else "no order was sent since the start"


class BlockRate:
    """A strategy whose orders are mostly blocked: a bot that does not understand what it is told."""

    def __init__(self, decisions: Decisions, policy: Callable[[], BlockRatePolicy]) -> None:
        self._decisions = decisions
        self._policy = policy
        self._windows: dict[_Place, _Window] = {}

    def look(self, now_s: float) -> list[Finding]:
        """Strategies with a share of blocked orders that reaches the policy's, of enough orders."""
        policy, found = self._policy(), []
        for place, (blocked, decided) in self._totals().items():
            window = self._windows.setdefault(place, _Window())
            blocks, orders = window.since(now_s, float(policy.window_s), blocked, decided)
            if orders >= policy.orders_min and blocks >= policy.share * orders:
                window.begin_anew(now_s, blocked, decided)
                reason = f"{blocks} of {orders} orders within {policy.window_s:f} s were blocked"
                found.append(Finding(*place, f"{reason}, {(policy.share * 100).normalize():f}% are a spike"))
        return found

    def _totals(self) -> dict[_Place, tuple[int, int]]:
        totals: dict[_Place, tuple[int, int]] = {}
        for (verdict, reason, *where), count in self._decisions().items():
            place = _Place(*where)
            if reason in OF_THE_STOP or not place.strategy:
                continue
            blocked, decided = totals.get(place, (0, 0))
            totals[place] = blocked + (count if verdict == Verdict.BLOCK else 0), decided + count
        return totals

    def inert(self) -> str | None:
        """Before the first order there is nothing to count."""
        return None if self._decisions() else NO_ORDER


class Lack(NamedTuple):
    """An account and what is missing or too old for an order on it; nothing if all is there."""

    account: str
    exchange: str
    wrong: tuple[str, ...]


class DataFeedLoss:
    """Accounts whose facts have been missing or too old for long."""

    def __init__(self, lacks: Callable[[], Iterable[Lack]], policy: Callable[[], DataFeedPolicy]) -> None:
        self._lacks = lacks
        self._policy = policy
        self._since_s: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, now_s: float) -> list[Finding]:
        """Accounts that have gone without for as long as the policy names; each once, until all was there again."""
        return list(self._look(now_s))

    def _look(self, now_s: float) -> Iterator[Finding]:
        after_s = float(self._policy().after_s)
        for account, exchange, wrong in self._lacks():
            if not wrong:
                self._since_s.pop(account, None)
                self._told.discard(account)
                continue
            since_s = self._since_s.setdefault(account, now_s)
            if now_s - since_s >= after_s and account not in self._told:
                self._told.add(account)
                reason = f"for {now_s - since_s:.0f} s orders could not be judged: {'; '.join(wrong)}"
                yield Finding(account, exchange, "", reason)

    def inert(self) -> str | None:
        """Without an account there is nothing to go missing."""
        return None if any(True for _ in self._lacks()) else "there is no account"


# -- what must be found, and what must not


def rehearse_errors(policy: ErrorStormPolicy) -> bool:
    """Whether so many errors are found and one fewer are not."""
    outcomes, tally = _one_tally()
    detector = ErrorStorm(outcomes, lambda: policy)
    tally.failed = policy.errors - 1
    early = detector.look(0.0)
    tally.failed = policy.errors
    return not early and len(detector.look(0.0)) == 1


def rehearse_rejections(policy: RejectStreakPolicy) -> bool:
    """Whether so many rejections in a row are found and one fewer are not."""
    outcomes, tally = _one_tally()
    detector = RejectStreak(outcomes, lambda: policy)
    tally.streak = policy.rejections - 1
    early = detector.look(0.0)
    tally.streak = policy.rejections
    return not early and len(detector.look(0.0)) == 1


def _one_tally() -> tuple[Outcomes, Tally]:
    outcomes = Outcomes()
    tally = outcomes.by_place["rehearsal", "rehearsal"] = Tally("rehearsal")
    return outcomes, tally


def rehearse_blocks(policy: BlockRatePolicy) -> bool:
    """Whether the share is found once there are enough orders, and not before."""
    counts: dict[tuple[str, str, str, str, str], int] = {}
    detector = BlockRate(lambda: counts, lambda: policy)
    blocked = (Verdict.BLOCK.value, Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT.value, "rehearsal", "rehearsal", "rehearsal")
    counts[blocked] = policy.orders_min - 1
    early = detector.look(0.0)
    counts[blocked] = policy.orders_min
    return not early and len(detector.look(0.0)) == 1


def rehearse_loss_of_data(policy: DataFeedPolicy) -> bool:
    """Whether facts that are missing for so long are found, and not a moment earlier."""
    detector = DataFeedLoss(lambda: [Lack("rehearsal", "rehearsal", ("equity is not known",))], lambda: policy)
    after_s = float(policy.after_s)
    early = [*detector.look(0.0), *detector.look(after_s - 0.001)]
    return not early and len(detector.look(after_s)) == 1


"""The ledger: what every account has won and lost, whatever money came or went, kept over restarts.

Feeds tell it readings of wallets and the venue's history; `gather` asks it for the losses of an account. A file
that cannot be read is never replaced: losses are unknown then, which blocks new exposure, until a person has
looked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import structlog

from proxy.clock import Clock
from proxy.ledger import file
from proxy.ledger.file import Kept
from proxy.ledger.marks import START_WITHIN, Mark, Marks, advanced, begun, corrected, shown, started
from proxy.ledger.readings import ZERO, Flow, Realised, Sample, value_of
from proxy.ledger.wallet import Wallet
from proxy.ledger.windows import VenueTime, day_began, day_ends, week_began
from rules import Fact, Losses, Market
from rules.profile import LossPolicy

log = structlog.get_logger("riskgate.ledger")

SKEW = timedelta(seconds=1)
EXPLAIN_WITHIN = timedelta(seconds=30)  # a reading that stays unexplained longer makes losses grow old
SAVE_EVERY_S = 10.0  # readings that change no mark are written no more often than this
DEFAULT_POLICY = LossPolicy()


class _Shown(NamedTuple):
    """Losses as computed last, of the day that ends at an instant (venue's time).

    Up to a monotonic instant nothing needs to be looked at again: the day has not ended and the time is known.
    """

    fact: Fact[Losses]
    day_ends: datetime
    until_s: float


class Ledger:
    """Marks and wallets of all accounts. `policy_of` answers how an account's losses are to be measured."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        policy_of: Callable[[str], LossPolicy] | None = None,
        skew: timedelta = SKEW,
        explain_within: timedelta = EXPLAIN_WITHIN,
    ) -> None:
        self._path = path
        self._clock = clock
        self._skew = skew
        self._explain_within = explain_within
        self._markets: dict[str, frozenset[Market]] = {}
        self._times: dict[str, VenueTime] = {}
        self._starts: dict[tuple[str, Market, datetime], tuple[Decimal, Decimal]] = {}
        # What wallets showed when this process began, and then before each pause of readings.
        self._before: dict[tuple[str, Market], Sample] = {}
        self._joining: set[tuple[str, Market]] = set()
        self._shown: dict[str, _Shown] = {}
        self._writing = asyncio.Lock()
        self._unsaved = False
        self._saved_s = float("-inf")
        self._problem: str | None = None
        self._accounts: dict[str, Kept] = {}
        self.on_realised: Callable[[str, tuple[Realised, ...]], None] | None = None
        self.policy_of = policy_of or (lambda account: DEFAULT_POLICY)  # noqa: ARG005 - the same for every account
        self._read()

    # -- setting up

    def add(self, account: str, markets: Iterable[Market], venue_time: VenueTime) -> None:
        """Know an account: its losses are known once every one of these wallets has been read."""
        self._markets[account] = frozenset(markets)
        self._times[account] = venue_time
        kept = self._accounts.setdefault(account, Kept())
        known = {market: wallet for market, wallet in kept.wallets.items() if wallet.placed is not None}
        for market in self._markets[account]:
            if market not in kept.wallets:
                kept.wallets[market] = Wallet(self._skew)
            if known and market not in known:
                self._joining.add((account, market))
        for market, wallet in known.items():
            if market not in self._markets[account]:
                self._leave(kept, market, wallet)

    @property
    def problem(self) -> str | None:
        """What is wrong with the file, in words; None when all is well."""
        return self._problem

    # -- asking

    def losses(self, account: str, equity: Fact[Decimal] | None, now: datetime) -> Fact[Losses] | None:  # noqa: ARG002 - days are the venue's, and equity is the ledger's own
        """What losses are measured from, and by; None where that is not known."""
        found = self._shown.get(account)
        if found is None or self._problem is not None:
            return None
        if self._clock.monotonic() < found.until_s:
            return found.fact
        venue_now = self._times[account].now()
        if venue_now is None:
            return None
        losses, as_of = found.fact
        if venue_now >= found.day_ends:
            # The day has ended and no reading has begun the next one. The week may have ended with it.
            losses = replace(
                losses,
                day_start_equity=None,
                day_start_balance=None,
                week_start_equity=None if self._week_ended(account, venue_now) else losses.week_start_equity,
                week_start_balance=None if self._week_ended(account, venue_now) else losses.week_start_balance,
            )
        return Fact(losses, as_of)

    def venue_now(self, account: str) -> datetime | None:
        """What time it is at the account's venue."""
        time = self._times.get(account)
        return None if time is None else time.now()

    def marks(self, account: str) -> Marks | None:
        """The account's marks."""
        kept = self._accounts.get(account)
        return None if kept is None else kept.marks

    def wallet(self, account: str, market: Market) -> Wallet:
        """One wallet of a known account."""
        return self._accounts[account].wallets[market]

    def settled(self, account: str) -> Losses | None:
        """Losses by readings whose transfers are all known: what acts for good acts on these alone."""
        kept = self._accounts.get(account)
        if kept is None or kept.marks is None or self._problem is not None or account not in self._markets:
            return None
        return shown(kept.marks, kept.marks.last, self.policy_of(account))

    def before(self, account: str, market: Market, begins: datetime) -> Sample | None:
        """The last reading of a wallet from before a window whose start nobody saw, as far as it is remembered."""
        known = self._before.get((account, market))
        return known if known is not None and known.sent < begins else None

    def missing_start(self, account: str, market: Market) -> datetime | None:
        """The beginning of a window whose start nobody saw and this wallet's history could tell."""
        marks = self.marks(account)
        if marks is None:
            return None
        for mark, begins in ((marks.day, marks.day_from), (marks.week, marks.week_from)):
            if mark is None and (account, market, begins) not in self._starts:
                return begins
        return None

    # -- being told

    def take(self, account: str, market: Market, sample: Sample) -> None:
        """Take a reading of a wallet."""
        if self._problem is not None:
            return
        wallet = self.wallet(account, market)
        first = wallet.begins is None
        if first and (account, market) in self._joining:
            wallet.joins(sample.equity)
        wallet.take(sample)
        if (known := wallet.placed) is not None and sample.sent - known.sent > START_WITHIN:
            self._before[account, market] = known
        self._settle(account, wallet)

    def learn(self, account: str, market: Market, flows: Iterable[Flow], *, complete_to: datetime) -> None:
        """Take the history of a wallet up to an instant: what came and what went."""
        if self._problem is not None:
            return
        wallet = self.wallet(account, market)
        since = wallet.anchor.sent if wallet.anchor is not None else complete_to
        late = wallet.learn(flows, complete_to)
        kept = self._accounts[account]
        if late and kept.marks is not None:
            log.warning("losses.late_transfer", account=account, market=market.value, amount=format(late, "f"))
            kept.marks = corrected(kept.marks, late, since)
            self._unsaved = True
        self._settle(account, wallet)

    def realise(self, account: str, fills: Iterable[Realised]) -> None:
        """Take what fills realised, in the order they happened: each once."""
        kept = self._accounts[account]
        if kept.marks is None:
            return
        streak = kept.marks.streak
        fills = tuple(fills)
        if self.on_realised is not None:
            self.on_realised(account, fills)
        for fill in fills:
            streak = streak.after(fill)
        if streak != kept.marks.streak:
            kept.marks = replace(kept.marks, streak=streak)
            self._unsaved = True
            self._show(account)

    def start(self, account: str, market: Market, begins: datetime, *, equity: Decimal, balance: Decimal) -> None:
        """Take what a wallet's history says it held when a window began."""
        self._starts[account, market, begins] = (equity, balance)
        kept = self._accounts[account]
        parts = [self._starts.get((account, each, begins)) for each in self._markets[account]]
        if kept.marks is None or any(part is None for part in parts):
            return
        found = [part for part in parts if part is not None]
        flows = sum((wallet.total - wallet.since(begins) for wallet in self._wallets(account)), ZERO)
        mark = Mark(begins, sum((part[0] for part in found), ZERO), sum((part[1] for part in found), ZERO), flows)
        kept.marks = started(kept.marks, begins, mark)
        log.info("losses.start_rebuilt", account=account, begins=begins.isoformat(), equity=format(mark.equity, "f"))
        self._unsaved = True
        self._show(account)

    def done(self, account: str, window: str) -> tuple[str, int] | None:
        """What was done last about a window, of which one that was, and how far it went."""
        return self._accounts[account].done.get(window)

    def do(self, account: str, window: str, key: str, step: int) -> None:
        """Remember what was done about a window, so that it is done once, also over a restart."""
        self._accounts[account].done[window] = (key, step)
        self._unsaved = True

    async def observe(self, account: str, equity: Fact[Decimal] | None) -> None:  # noqa: ARG002 - it reads for itself
        """An account was read by another feed: a moment to write down what has changed."""
        await self.save()

    async def save(self, *, now: bool = False) -> bool:
        """Write what has changed; a change of marks at once, mere readings now and then. Whether all is on disk."""
        if self._problem is not None:
            return False
        due = self._clock.monotonic() - self._saved_s >= SAVE_EVERY_S
        if not (self._unsaved or due or now):
            return True
        async with self._writing:
            self._unsaved = False
            body = file.document(self._accounts)
            try:
                await asyncio.to_thread(file.write, self._path, body)
            except OSError as error:
                # Everything stays in memory and right; the next reading tries again.
                self._unsaved = True
                log.error("ledger.unsaved", path=str(self._path), error=type(error).__name__)
                return False
            self._saved_s = self._clock.monotonic()
            return True

    # -- inside

    @staticmethod
    def _leave(kept: Kept, market: Market, wallet: Wallet) -> None:
        """A wallet that is no longer read takes what it held along: that is no loss of the others."""
        del kept.wallets[market]
        assert wallet.placed is not None
        left = next(iter(kept.wallets.values()), None)
        if left is not None:
            left.joins(wallet.total - wallet.placed.equity)

    def _settle(self, account: str, wallet: Wallet) -> None:
        while wallet.place():
            pass
        wallets = self._wallets(account)
        for each in wallets:
            if each.current is None and each.ready:
                each.current = each.ready.popleft()
                self._observe(account, wallets)
        # One reading of the account is made of readings of all wallets, as close together as there are: else the
        # fall of one would be seen without the rise of another that hedges it.
        while all(each.ready for each in wallets):
            instant = max(each.ready[0].sample.sent for each in wallets)
            for each in wallets:
                while each.ready and each.ready[0].sample.sent <= instant:
                    each.current = each.ready.popleft()
            self._observe(account, wallets)
        self._show(account)

    def _wallets(self, account: str) -> list[Wallet]:
        kept = self._accounts[account]
        return [kept.wallets[market] for market in self._markets[account]]

    def _observe(self, account: str, wallets: Iterable[Wallet]) -> None:
        """The readings of all wallets are one of the account."""
        equity = balance = flows = ZERO
        instants = []
        for wallet in wallets:
            if wallet.current is None:
                return
            equity += wallet.current.sample.equity
            balance += wallet.current.sample.balance
            flows += wallet.current.total
            instants.append(wallet.current.sample.sent)
        mark = Mark(min(instants), equity, balance, flows)
        kept, policy = self._accounts[account], self.policy_of(account)
        known = kept.marks
        kept.marks = begun(mark, policy) if known is None else advanced(known, mark, policy)
        if known is None or kept.marks != replace(known, last=kept.marks.last, ema=kept.marks.ema):
            self._unsaved = True
        if known is None or known.day_from != kept.marks.day_from:
            log.info("day.started", account=account, begins=kept.marks.day_from.isoformat(), equity=format(equity, "f"))

    def _show(self, account: str) -> None:
        """Work out what is asked for on every order."""
        kept = self._accounts[account]
        found = [wallet.provisional() for wallet in self._wallets(account)]
        if kept.marks is None or any(part is None for part in found):
            return
        equity = flows = ZERO
        as_of = []
        for wallet in self._wallets(account):
            part = wallet.provisional()
            assert part is not None
            sample, total, unexplained = part
            equity += sample.equity - unexplained
            flows += total
            waits = wallet.waits_since
            overdue = waits is not None and sample.as_of - waits > self._explain_within
            as_of.append(waits if overdue and waits is not None else sample.as_of)
        policy = self.policy_of(account)
        mark = kept.marks.last._replace(equity=equity, flows=flows)
        losses = shown(kept.marks, mark, policy)
        ends = day_ends(kept.marks.day_from, ZoneInfo(policy.time_zone), policy.day_starts_at)
        time = self._times[account]
        venue_now = time.now()
        until_s = 0.0
        if venue_now is not None:
            until_s = min(time.known_until_s, self._clock.monotonic() + (ends - venue_now).total_seconds())
        self._shown[account] = _Shown(Fact(losses, min(as_of)), ends, until_s)

    def _week_ended(self, account: str, venue_now: datetime) -> bool:
        policy, marks = self.policy_of(account), self._accounts[account].marks
        began = week_began(venue_now, ZoneInfo(policy.time_zone), policy.day_starts_at)
        return marks is None or began > marks.week_from

    def _read(self) -> None:
        try:
            self._accounts = file.read(self._path, self._skew)
        except OSError as error:
            self._refuse(f"cannot be read: {type(error).__name__}")
        except file.Unreadable as error:
            self._refuse(f"cannot be trusted: {error}")

    def _refuse(self, why: str) -> None:
        self._problem = f"{self._path} {why}; losses are unknown until it is repaired or removed by hand"
        log.error("ledger.unreadable", path=str(self._path), error=why)


__all__ = [
    "DEFAULT_POLICY", "Flow", "Ledger", "Mark", "Marks", "Realised", "Sample", "VenueTime", "Wallet", "day_began",
    "day_ends", "value_of", "week_began",
]

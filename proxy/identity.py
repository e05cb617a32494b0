"""Who is calling: the venue's key header names a bot, and with it the account, the strategy and the mode.

A bot that trades for several strategies names one of them with each order, by a header or by the beginning of
the order's client id; it can name none but its own (`attributed`).

In custody mode the bot's own signature, timestamp window and replay are checked here too,
before the proxy would put its own signature on anything: an attacker without a bot's secret
must not get an order signed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final

from proxy.clock import Clock
from proxy.errors import CallerUnknown, ConfigError, NotAuthentic, OrderNotUnderstood
from proxy.exchanges.base import Credentials, Exchange
from proxy.wire import Headers, Params, WireRequest, header_values, read_decimal, shown
from rules import Caller, Instruction, Order, Reason, ReplaceMode

RECV_WINDOW_MAX_MS: Final = 60_000
CLOCK_SKEW_AHEAD_MS: Final = 1_000  # Binance accepts a timestamp up to one second ahead of its own clock
REPLAY_MEMORY: Final = 200_000
# A signature lives at the venue for recvWindow around its timestamp: at most 60 s, plus skew.
REMEMBERED_S: Final = 2 * RECV_WINDOW_MAX_MS / 1000 + 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account at one exchange, as configured.

    `credentials` is the venue key the proxy holds: required in custody, optional in passthrough
    (without it nothing can be scaled or polled).
    """

    name: str
    exchange: str
    mode: str  # "custody" or "passthrough"
    credentials: Credentials | None = None
    transfers_allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """One bot: the key it sends, and in custody the secret the proxy issued to it.

    `prefixes` are the other strategies it trades for, each with the beginning of the client order ids that name
    it; none where only the header does.
    """

    name: str
    key: str
    account: Account
    strategy: str  # of every order that names no other
    secret: bytes | None = field(default=None, repr=False)
    prefixes: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    in_custody: bool = field(init=False)  # the proxy, not the bot, holds the venue key
    callers: Mapping[str, Caller] = field(init=False, repr=False, compare=False)  # by strategy, its own one first
    caller: Caller = field(init=False, repr=False, compare=False)  # as rules see it, unless it states otherwise

    def __post_init__(self) -> None:
        """Work out once what every order asks for."""
        callers = {
            strategy: Caller(
                account=self.account.name, exchange=self.account.exchange, strategy=strategy, bot=self.name
            )
            for strategy in (self.strategy, *self.prefixes)
        }
        object.__setattr__(self, "in_custody", self.account.mode == "custody")
        object.__setattr__(self, "callers", MappingProxyType(callers))
        object.__setattr__(self, "caller", callers[self.strategy])

    @property
    def strategies(self) -> tuple[str, ...]:
        """Every strategy it trades for, its own one first."""
        return tuple(self.callers)

    def named_by(self, client_order_id: str) -> str | None:
        """The strategy that a client order id names; None if it names none."""
        for strategy, prefix in self.prefixes.items():
            if prefix is not None and client_order_id.startswith(prefix):
                return strategy
        return None


class Identities:
    """All bots by key. Keys are compared exactly; an unknown one is refused, never guessed."""

    def __init__(self, bots: Iterable[Bot], *, clock: Clock) -> None:
        self._by_key = self.check(bots)
        self._clock = clock
        # What was sent, with when that may be forgotten and its timestamp; the oldest claim comes first.
        self._sent: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        # Nothing is remembered of what was sent before this start, so nothing signed before it is taken; and
        # should the wall clock be set back, nothing as old as what has been forgotten since.
        self._floor_ms = clock.now_ms() - 1

    @staticmethod
    def check(bots: Iterable[Bot]) -> dict[str, Bot]:
        """Bots by their key; ConfigError where two share one or one has not what it needs."""
        by_key: dict[str, Bot] = {}
        for bot in bots:
            if bot.key in by_key:
                raise ConfigError(f"bots {by_key[bot.key].name!r} and {bot.name!r} have the same key")
            if bot.in_custody and (bot.secret is None or bot.account.credentials is None):
                raise ConfigError(f"bot {bot.name!r}: custody needs a bot secret and the account's credentials")
            by_key[bot.key] = bot
        return by_key

    def replace(self, bots: Iterable[Bot]) -> None:
        """Other bots from the next request on; what was sent stays remembered, also by keys that come back."""
        self._by_key = self.check(bots)

    @property
    def bots(self) -> tuple[Bot, ...]:
        """Every bot there is, as configured."""
        return tuple(self._by_key.values())

    def of(self, key: str | None) -> Bot:
        """The bot that a key names. Raises CallerUnknown."""
        bot = self._by_key.get(key or "")
        if bot is None:
            found = "no API key came with it" if not key else "its API key belongs to no configured bot"
            raise CallerUnknown(f"this request is not public and {found}")
        return bot

    def check_custody(self, bot: Bot, exchange: Exchange, request: WireRequest, params: Params) -> None:
        """Check what the venue would check, with the secret this proxy issued. Raises NotAuthentic."""
        assert bot.secret is not None
        exchange.verify(request, params, bot.secret)
        timestamp_ms, window_ms = exchange.timestamp_window(params)
        now_ms = self._clock.now_ms()
        age_ms = now_ms - timestamp_ms
        if age_ms > min(window_ms, Decimal(RECV_WINDOW_MAX_MS)) or age_ms < -CLOCK_SKEW_AHEAD_MS:
            raise NotAuthentic(
                Reason.TIMESTAMP_OUTSIDE_WINDOW,
                f"the timestamp is {age_ms} ms old, expected between -{CLOCK_SKEW_AHEAD_MS} and {window_ms} ms",
            )

    def claim(self, bot: Bot, signature: str | None, timestamp_ms: int) -> None:
        """Note that a request with this signature is about to be sent. Raises NotAuthentic if it may have been before.

        The same signature means the same bytes: a client that sends them again asks for the same order twice.
        """
        now_s = self._clock.monotonic()
        self._forget(now_s)
        if timestamp_ms <= self._floor_ms:
            raise NotAuthentic(
                Reason.REQUEST_REPLAYED,
                "it was signed before this proxy started to remember what it sends, so it may have been sent "
                "already; sign it again",
            )
        if signature is None:
            return
        claim = (bot.key, _essence(signature))
        if claim in self._sent:
            raise NotAuthentic(Reason.REQUEST_REPLAYED, "an order with exactly these bytes was sent before")
        # No further ahead than the venue would take: a made-up timestamp far in the future, once forgotten,
        # would otherwise make every later order look old.
        now_ms = self._clock.now_ms()
        self._sent[claim] = now_s + REMEMBERED_S, min(timestamp_ms, now_ms + CLOCK_SKEW_AHEAD_MS)

    def _forget(self, now_s: float) -> None:
        """Let go of claims that are old, or that there is no room for: nothing as old as one of them is taken again."""
        sent = self._sent
        while sent:
            claim = next(iter(sent))
            until_s, timestamp_ms = sent[claim]
            if now_s < until_s and len(sent) < REPLAY_MEMORY:
                return
            del sent[claim]
            self._floor_ms = max(self._floor_ms, timestamp_ms)

    def unclaim(self, bot: Bot, signature: str | None) -> None:
        """Forget a claim whose order certainly was not sent."""
        if signature is not None:
            self._sent.pop((bot.key, _essence(signature)), None)


def _essence(signature: str) -> str:
    """The part of a signature that nobody can spell differently for the same bytes.

    Hex may come in either case, and base64 ends in bits and padding that a reader ignores; forty
    characters hold 160 bits or more, and letter case is not needed to tell two of them apart.
    """
    return signature.lower()[:40]


def attributed(bot: Bot, headers: Headers, instructions: Sequence[Instruction]) -> tuple[Caller, str]:
    """The caller as rules see it, and why it is not certain for which strategy it asks; empty where it is.

    Where it is not, the caller is the bot with its own strategy, and nothing new may be opened. Raises
    OrderNotUnderstood where `X-Risk-Confidence` cannot be read.
    """
    caller, doubt = bot.caller, ""
    named = header_values(headers, b"x-risk-strategy")
    if named or bot.prefixes:
        strategy, doubt = _strategy_named(bot, named, instructions)
        caller = bot.callers[strategy]
    stated = header_values(headers, b"x-risk-confidence")
    return (replace(caller, confidence=_confidence(stated)) if stated else caller), doubt


def _strategy_named(bot: Bot, named: tuple[bytes, ...], instructions: Sequence[Instruction]) -> tuple[str, str]:
    by_id = {bot.named_by(name) for name in _client_order_ids(instructions)}
    if not named:
        if any(_is_unnamed_amendment(one) for one in instructions):
            told = "the amendment names its order by the exchange's id alone; say the strategy by X-Risk-Strategy"
            return bot.strategy, f"{told}: {_listed(bot.strategies)}"
        found = {name or bot.strategy for name in by_id} or {bot.strategy}
        if len(found) == 1:
            return found.pop(), ""
        return bot.strategy, f"the request has orders of the strategies {_listed(found)}; send them apart"
    if len(named) > 1:
        return bot.strategy, "X-Risk-Strategy came more than once, expected one value"
    strategy = named[0].decode("ascii", "backslashreplace")
    if strategy not in bot.callers:
        stated, known = shown(named[0]), _listed(bot.strategies)
        return bot.strategy, f"X-Risk-Strategy is {stated}, for which bot {bot.name} does not trade; expected {known}"
    if others := by_id - {None, strategy}:
        return bot.strategy, f"X-Risk-Strategy is {strategy} and the client order id says {_listed(others)}"
    return strategy, ""


def _is_unnamed_amendment(one: Instruction) -> bool:
    """It may be of an order of any strategy: as the bot's own one it would get past a stop of that one."""
    if not isinstance(one, Order) or one.replaces is None or one.replaces.mode is not ReplaceMode.AMEND:
        return False
    return one.client_order_id is None and one.replaces.client_order_id is None


def _client_order_ids(instructions: Sequence[Instruction]) -> Iterator[str]:
    """The names that orders get, or else those of the orders that they replace."""
    for one in instructions:
        if not isinstance(one, Order):
            continue
        name = one.client_order_id or (one.replaces.client_order_id if one.replaces is not None else None)
        if name is not None:
            yield name


def _listed(names: Iterable[str | None]) -> str:
    return ", ".join(sorted(name for name in names if name is not None))


def _confidence(stated: tuple[bytes, ...]) -> Decimal:
    if len(stated) > 1:
        raise OrderNotUnderstood("X-Risk-Confidence came more than once, expected one value")
    try:
        confidence = read_decimal(stated[0].decode("ascii"))
    except (UnicodeDecodeError, InvalidOperation) as error:
        raise OrderNotUnderstood("X-Risk-Confidence is not a plain decimal between 0 and 1") from error
    if confidence > 1:
        raise OrderNotUnderstood(f"X-Risk-Confidence is {confidence}, expected between 0 and 1")
    return confidence


def strategies_by_account(bots: Iterable[Bot]) -> Mapping[str, frozenset[str]]:
    """Which strategies each account's bots run: for status and start-up checks."""
    found: dict[str, set[str]] = {}
    for bot in bots:
        found.setdefault(bot.account.name, set()).update(bot.strategies)
    return {account: frozenset(names) for account, names in found.items()}

"""A whole pipeline without sockets: real codec, gate, audit, stop and reservations before a venue made of lists."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import orjson

from proxy import audit as audit_module
from proxy.audit import Audit
from proxy.book import AccountPlace, Book, Quote
from proxy.clock import ManualClock
from proxy.ess import EssLatch, initialise
from proxy.exchanges import EXCHANGES
from proxy.exchanges.base import Credentials
from proxy.gather import Gather
from proxy.identity import Account, Bot, Identities
from proxy.metrics import Metrics
from proxy.pipeline import Parts, Pipeline
from proxy.reservations import Reservations
from proxy.stores import open_store
from proxy.stores.policies import Policies
from proxy.tasks import Tasks
from proxy.upstream import Drained
from proxy.wire import WireRequest, WireResponse
from rules import Fact, Filters, Losses, Market, Position
from rules.profile import default_policy
from tests.canary import marked, noted

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
VENUE_KEY, VENUE_SECRET = marked("venue-key"), marked("venue-secret").encode()
BOT_KEY, BOT_SECRET = marked("bot-key"), marked("bot-secret").encode()
PLAIN_KEY = marked("plain-key")
PRICE = Decimal(60000)
FILTERS = Filters(
    base_asset="BTC",
    quote_asset="USDT",
    quantity_step=Decimal("0.001"),
    quantity_min=Decimal("0.001"),
    price_tick=Decimal("0.1"),
    notional_min=Decimal(5),
)
POLICY = {
    "risk_source": {"kind": "none"},
    "accounts": {
        "desk": {
            "capital_profile": "aggressive",
            "strategies": ["grid"],
            "symbols": ["BTCUSDT"],
            "scaling": "allowed",
            "size": {"order_notional_max": "600"},
        },
        "plain": {
            "capital_profile": "aggressive",
            "strategies": ["grid"],
            "symbols": ["BTCUSDT"],
            "scaling": "allowed",
            "size": {"order_notional_max": "600"},
        },
    },
}


@dataclass
class Venue:
    """The far end: it keeps what was sent, and answers or fails as told."""

    sent: list[WireRequest] = field(default_factory=list)
    answer: Callable[[WireRequest], WireResponse] | None = None
    before_last_look: Callable[[], None] | None = None
    fails: Exception | None = None
    fails_after_send: Exception | None = None
    in_flight: int = 0

    async def send(self, family, request, *, last_look=None, tracked=False):
        """Take a request as the lane does: the last look directly before it counts as sent."""
        if self.before_last_look is not None:
            self.before_last_look()
        if self.fails is not None:
            raise self.fails
        if last_look is not None:
            last_look()
        self.sent.append(request)
        if self.fails_after_send is not None:
            raise self.fails_after_send
        return self.answer(request) if self.answer else accepted(request)

    async def stream(self, family, request):
        """Reads are answered whole here."""
        return await self.send(family, request)

    async def drained(self, *, flush_timeout_s, answer_timeout_s):
        """Nothing lingers in a list."""
        return Drained(aborted=0, unanswered=0)


def accepted(request: WireRequest) -> WireResponse:
    """A resting futures order's answer, as the venue words it."""
    body = {"orderId": 7, "status": "NEW", "executedQty": "0", "origQty": "0.001", "symbol": "BTCUSDT"}
    return WireResponse(
        200, ((b"Content-Type", b"application/json"), (b"X-MBX-USED-WEIGHT-1M", b"1")), orjson.dumps(body)
    )


@dataclass
class Marks:
    """Day and week began with the equity there is."""

    def losses(self, account, equity, now):
        """No loss so far."""
        marks = Losses(
            day_start_equity=Decimal(100_000), week_start_equity=Decimal(100_000), high_water_mark=Decimal(100_000)
        )
        return Fact(marks, now)


class Watcher:
    """Remembers which accounts were to be read again."""

    def __init__(self) -> None:
        self.poked: list[str] = []

    def poke(self, account, market, *, config=False):
        """Note it."""
        self.poked.append(account)


@dataclass
class House:
    """The parts a test may look at."""

    pipeline: Pipeline
    venue: Venue
    audit: Audit
    audit_dir: Path
    latch: EssLatch
    reservations: Reservations
    book: Book
    clock: ManualClock
    policies: Policies
    watcher: Watcher
    parts: Parts

    def refresh(self) -> None:
        """Read account and market again, now."""
        now = self.clock.now()
        self.book.apply_prices(
            "binance", Market.LINEAR, {"BTCUSDT": Quote(PRICE, PRICE - 1, PRICE + 1)}, as_of=now, complete=True
        )
        for account in ("desk", "plain"):
            self.book.apply_equity(account, Market.LINEAR, equity=Decimal(100_000), available=None, as_of=now)
            self.book.apply_hedge_mode(account, hedge_mode=False, as_of=now)
            self.book.apply_leverage(account, {"BTCUSDT": Decimal(3)}, as_of=now)
            self.book.apply_snapshot(account, Market.LINEAR, as_of=now, positions={}, orders=[])

    def hold(self, account: str, quantity: str) -> None:
        """Give an account a position."""
        position = {"BTCUSDT": Position(both=Decimal(quantity))}
        self.book.apply_snapshot(account, Market.LINEAR, as_of=self.clock.now(), positions=position, orders=[])

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))

    def records(self, kind: str | None = None) -> list[dict]:
        """What the audit holds."""
        self.audit.flush()
        found = list(audit_module.read(self.audit_dir))
        return [record for record in found if kind is None or record["kind"] == kind]

    def order(
        self,
        *,
        key=BOT_KEY,
        secret=BOT_SECRET,
        method="POST",
        path="/fapi/v1/order",
        in_query=False,
        headers=(),
        **changes,
    ):
        """A signed order request; a value of None leaves a parameter out."""
        params = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.005",
            "price": "59000",
        }
        params |= changes
        return self.request(method, path, key=key, secret=secret, in_query=in_query, headers=headers, **params)

    def request(self, method, path, *, key=BOT_KEY, secret=BOT_SECRET, in_query=False, headers=(), **params):
        """Any signed request."""
        params = {name: value for name, value in params.items() if value is not None}
        params.setdefault("timestamp", str(int(self.clock.now().timestamp() * 1000)))
        text = urlencode(params)
        if secret is not None:
            text += "&signature=" + hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
        head = [(b"X-MBX-APIKEY", key.encode())] if key else []
        head += list(headers)
        if in_query or method in ("GET", "DELETE"):
            return WireRequest(method, f"{path}?{text}".encode(), tuple(head), b"")
        head.append((b"Content-Type", b"application/x-www-form-urlencoded"))
        return WireRequest(method, path.encode(), tuple(head), text.encode())

    async def ask(self, request: WireRequest) -> tuple[WireResponse, dict]:
        """Send a request through the pipeline; the answer and its JSON."""
        answer = await self.pipeline.handle(request)
        noted(answer.body)
        return answer, orjson.loads(answer.body)


@asynccontextmanager
async def open_house(
    folder: Path,
    *,
    policy: dict | None = None,
    plain_secret: bool = True,
    plain_credentials: Credentials | None = None,
    transfers_allowed: bool = False,
) -> AsyncIterator[House]:
    """Accounts `desk` (custody) and `plain` (passthrough), fresh facts, nothing held."""
    clock = ManualClock(NOW)
    tasks = Tasks()
    venue = Venue()
    audit = Audit(folder / "audit", sync="process", clock=clock, tasks=tasks)
    audit.open()
    initialise(folder / "ess", clock=clock)
    latch = EssLatch.open(folder / "ess", clock=clock, drain=venue.drained)
    store = await open_store("memory", clock=clock, seed=default_policy(**(policy or POLICY)))
    policies = Policies(store, clock=clock)
    await policies.start()
    credentials = Credentials(api_key=VENUE_KEY, secret=VENUE_SECRET)
    plain = plain_credentials or (Credentials(api_key=PLAIN_KEY, secret=VENUE_SECRET) if plain_secret else None)
    desk = Account(
        name="desk", exchange="binance", mode="custody", credentials=credentials, transfers_allowed=transfers_allowed
    )
    direct = Account(name="plain", exchange="binance", mode="passthrough", credentials=plain)
    bots = (
        Bot(name="grid1", key=BOT_KEY, account=desk, strategy="grid", secret=BOT_SECRET),
        Bot(name="grid2", key=PLAIN_KEY, account=direct, strategy="grid"),
    )
    places = [
        AccountPlace(name=name, exchange="binance", markets=frozenset({Market.LINEAR})) for name in ("desk", "plain")
    ]
    book = Book(places)
    book.apply_filters("binance", Market.LINEAR, {"BTCUSDT": FILTERS}, as_of=NOW)
    reservations = Reservations(book, clock)
    watcher = Watcher()
    parts = Parts(
        exchange=EXCHANGES[0],
        identities=Identities(bots, clock=clock),
        gather=Gather(book, reservations, None, latch, clock=clock, losses=Marks()),
        policies=policies,
        reservations=reservations,
        audit=audit,
        latch=latch,
        upstream=venue,
        metrics=Metrics("test"),
        watcher=watcher,
        clock=clock,
    )
    house = House(
        Pipeline(parts), venue, audit, folder / "audit", latch, reservations, book, clock, policies, watcher, parts
    )
    house.refresh()
    try:
        yield house
    finally:
        await policies.close()
        await store.close()
        await tasks.close()
        latch.close()
        audit.close()

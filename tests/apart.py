"""The proxy in a process of its own, and an exchange here that holds every order against the record.

    async with open_apart(tmp_path) as house:
        ...                                  # house.proxy_url, house.sim
        assert not house.sim.survivors
        assert (await house.steps())["worst_cpu_ms"] <= 50

Apart, so that what its event loop burns is the proxy's own: in the child every step of the loop
is measured by the CPU time of its thread, which does not grow while others use the machine. That
needs asyncio's own loop, so the child is on it unless told otherwise; uvloop's steps are not seen.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TextIO

import orjson

from proxy import loops
from proxy.app import App
from proxy.config import Settings, from_mapping
from proxy.simulator import Received, SimExchange, parameters
from proxy.simulator.rejection import Rejection
from tests.runs import add_accounts, policy_of, settings_tree, write_policy

ROOT = Path(__file__).parents[1]
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
LOG = "proxy.log"

# What mutates nothing an order could: these may arrive without a decision. Written down here again,
# so that a slip in the proxy's own list shows.
UNJUDGED_POSTS = frozenset(
    {
        "/api/v3/userDataStream",
        "/fapi/v1/listenKey",
        "/dapi/v1/listenKey",
        "/papi/v1/listenKey",
        "/eapi/v1/listenKey",
        "/fapi/v1/countdownCancelAll",
        "/dapi/v1/countdownCancelAll",
        "/eapi/v1/countdownCancelAll",
        "/sapi/v3/asset/getUserAsset",
        "/sapi/v1/asset/get-funding-asset",
        "/sapi/v1/convert/getQuote",
        "/sapi/v1/convert/limit/cancelOrder",
    }
)


class Ledger:
    """The proxy's audit files, read while they grow: decisions to send that nothing has arrived for yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.decisions = 0
        self.verdicts: dict[str, int] = defaultdict(int)
        self.seen: set[str] = set()  # sha256 of everything a record speaks of, blocks and refusals left out

    def take(self, sha256: str) -> dict[str, Any] | None:
        """The earliest decision to send these bytes that was not used up, if it is on record by now."""
        if not self._waiting.get(sha256):
            self.refresh()
        found = self._waiting.get(sha256)
        return found.pop(0) if found else None

    def refresh(self) -> None:
        """Read what was added."""
        for path in sorted(self._folder.glob("audit-*.jsonl")):
            start = self._read.get(path, 0)
            if path.stat().st_size == start:
                continue
            with path.open("rb") as file:
                file.seek(start)
                added = file.read()
            whole = added.rpartition(b"\n")[0]
            self._read[path] = start + len(whole) + 1 if whole else start
            for line in whole.split(b"\n") if whole else ():
                self._note(line)

    def _note(self, line: bytes) -> None:
        if b'"kind":"decision"' not in line:
            return
        record = orjson.loads(line)
        self.decisions += 1
        self.verdicts[record["decision"]] += 1
        if record["sent_sha256"] is not None:
            self._waiting[record["sent_sha256"]].append(record)
            self.seen.add(record["sent_sha256"])


class WatchedExchange(SimExchange):
    """An exchange that, the moment a request arrives, looks for the decision that sent it."""

    def __init__(self, audit_folder: Path, **options: Any) -> None:
        super().__init__(**options)
        self.ledger = Ledger(audit_folder)
        self.survivors: list[str] = []
        self.judged_arrivals = 0
        self.accepted = 0
        self._records: dict[int, dict[str, Any]] = {}

    def arrived(self, *given: Any, **options: Any) -> Received:
        """Record the request, and hold it against what was decided."""
        received = super().arrived(*given, **options)
        if needs_a_decision(received):
            self._check(received)
        return received

    def _usage(self, *given: Any) -> bytes:
        # Bots ask here far faster than a venue lets them. Of a minute's weight that is used up many times over the
        # proxy would take heed and read its accounts so rarely that nothing new may be opened.
        self._weight = (0, 0)
        return super()._usage(*given)

    def _check(self, received: Received) -> None:
        self.judged_arrivals += 1
        sha256 = hashlib.sha256(received.target + b"\n" + received.body).hexdigest()
        record = self.ledger.take(sha256)
        if record is None:
            self.survivors.append(f"arrived without an earlier decision: {shown(received)}")
            return
        found = difference(received, record)
        if found is not None:
            self.survivors.append(f"{found}: {shown(received)}, judged as {record['orders']}")
        self._records[received.sequence] = record

    def answered(self, received: Received) -> None:
        """What was accepted must be what was judged."""
        super().answered(received)
        record = self._records.pop(received.sequence, None)
        if record is None or not received.order_ids or received.status != 200:
            return
        self.accepted += 1
        judged = {(one["symbol"], one.get("side"), quantity) for one, quantity in _judged(record)}
        for order_id in received.order_ids:
            order = self.orders.get(order_id)
            if order is None or any(quantity is None for _, _, quantity in judged):
                continue
            if order.status == "PENDING_NEW" and not order.quantity:
                continue  # its size comes with the fill it waits for
            if order.status == "CANCELED" and received.path.endswith("/cancelReplace"):
                continue  # the one that was replaced
            found = (order.symbol.name, order.side, order.quantity)
            if found not in judged and (found[0], None, found[2]) not in judged:
                self.survivors.append(f"accepted {found}, judged {record['orders']}: {shown(received)}")

    def malformed(self, data: bytes) -> None:
        """The proxy frames anew: the venue never sees bytes that are no request."""
        super().malformed(data)
        self.survivors.append(f"bytes that are no request arrived: {data!r}")


def needs_a_decision(received: Received) -> bool:
    """Whether this could change exposure: everything that is not a read, a cancel or a listen key."""
    if received.is_order:
        return True
    return received.method not in ("GET", "DELETE") and received.path not in UNJUDGED_POSTS


def shown(received: Received) -> str:
    """A request, short enough to read."""
    return f"{received.method} {received.target[:300]!r} {received.body[:700]!r}"


def _judged(record: dict[str, Any]) -> list[tuple[dict[str, Any], Decimal | None]]:
    """The instructions with the quantity that was decided, or asked where nothing was changed."""
    pairs = []
    for one, decided in zip(record["orders"], record["quantities"] or [None] * len(record["orders"]), strict=True):
        quantity = one.get("quantity") if decided is None or one.get("quote_quantity") else decided
        pairs.append((one, Decimal(quantity) if quantity is not None else None))
    return pairs


def difference(received: Received, record: dict[str, Any]) -> str | None:
    """What the exchange's own reader makes of the bytes, against what was judged; None if they agree."""
    if record["endpoint"] != f"{received.method} {received.path}":
        return f"judged as {record['endpoint']}"
    try:
        values = parameters.read(received.target.partition(b"?")[2], received.body)
        if "batchOrders" in values:
            legs = [parameters.leg_values(leg) for leg in parameters.json_list(values, "batchOrders")]
        else:
            legs = [values]
    except Rejection as refused:
        return f"the exchange reads it differently ({refused})"
    judged = _judged(record)
    groups = [[pair] for pair in judged] if "batchOrders" in values else [judged]
    if len(groups) != len(legs):
        return f"{len(legs)} orders arrived, {len(groups)} were judged"
    for leg, group in zip(legs, groups, strict=True):
        found = _leg_difference(leg, group, record)
        if found is not None:
            return found
    return None


def _quote_quantities(record: dict[str, Any]) -> set[Decimal]:
    """Sizes in quote currency, as decided."""
    decided = record["quantities"] or [None] * len(record["orders"])
    pairs = zip(record["orders"], decided, strict=True)
    return {Decimal(quantity or one["quote_quantity"]) for one, quantity in pairs if one.get("quote_quantity")}


def _leg_difference(
    values: dict[str, str], judged: list[tuple[dict[str, Any], Decimal | None]], record: dict[str, Any]
) -> str | None:
    orders = [one for one, _ in judged]
    sizes = ("quantity", "workingQuantity", "pendingQuantity", "newQty")
    pairs: list[tuple[str, object, object]] = [
        ("symbol", {values.get("symbol")}, {one["symbol"] for one in orders}),
        ("quantity", _numbers(values, sizes), {quantity for _, quantity in judged} - {None}),
    ]
    if orders[0]["instruction"] == "order":
        priced = [name for name in values if name.lower().endswith("price")]
        states = ("price", "trigger_price", "activation_price")
        pairs += [
            (
                "side",
                {values[name] for name in ("side", "workingSide", "pendingSide") if name in values},
                {one["side"] for one in orders},
            ),
            (
                "price",
                _numbers(values, priced),
                {Decimal(one[state]) for one in orders for state in states if one.get(state) is not None},
            ),
            ("quote quantity", _numbers(values, ("quoteOrderQty",)), _quote_quantities(record)),
            ("reduceOnly", parameters.boolean(values, "reduceOnly"), any(one["reduce_only"] for one in orders)),
            (
                "closePosition",
                parameters.boolean(values, "closePosition"),
                any(one.get("close_position", False) for one in orders),
            ),
            (
                "priceMatch",
                values.get("priceMatch", "NONE") != "NONE"
                or any("PegPriceType" in n or "pegPriceType" in n for n in values),
                any(one.get("price_follows_book", False) for one in orders),
            ),
        ]
    elif orders[0]["instruction"] == "leverage":
        pairs = [
            ("symbol", values.get("symbol"), orders[0]["symbol"]),
            ("leverage", Decimal(values["leverage"]), Decimal(orders[0]["leverage"])),
        ]
    elif orders[0]["instruction"] == "margin":
        pairs = [("symbol", values.get("symbol"), orders[0]["symbol"])]
    for name, arrived, was_judged in pairs:
        if arrived != was_judged:
            return f"{name} arrived as {arrived}, judged as {was_judged}"
    return None


def _numbers(values: dict[str, str], names: Any) -> set[Decimal]:
    try:
        return {Decimal(values[name]) for name in names if name in values}
    except InvalidOperation:
        return {Decimal(-1)}  # no judged order has it: shows as a difference


# --- the house ---------------------------------------------------------------------------------


@dataclass
class Apart:
    """The parts of it."""

    sim: WatchedExchange
    proxy_url: str
    folder: Path
    process: asyncio.subprocess.Process = field(repr=False)

    def complaints(self) -> list[str]:
        """What the proxy logged: it logs errors only, so an empty list is what one hopes for."""
        return (self.folder / LOG).read_text("utf-8", "replace").splitlines()

    async def steps(self) -> dict[str, Any]:
        """The worst step of the proxy's loop since it was ready: CPU ms, wall ms, and what it was."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"report\n")
        async with asyncio.timeout(READY_TIMEOUT_S):
            found: dict[str, Any] = orjson.loads(await self.process.stdout.readline())
        return found


@asynccontextmanager
async def open_apart(
    folder: Path, *, size: dict[str, str] | None = None, scaling: str = "off", event_loop: str = "asyncio",
    **options: Any,
) -> AsyncIterator[Apart]:
    """Start the exchange here and the proxy in a child; everything is closed at the end."""
    folder.mkdir(exist_ok=True)
    sim = WatchedExchange(folder / "data" / "audit", received_max=200_000)
    add_accounts(sim)
    await sim.start()
    write_policy(folder, policy_of(scaling=scaling, size=size))
    tree = settings_tree(
        folder, sim.url, markets=("spot", "futures"), more={"event_loop": event_loop}, **options
    )
    path = folder / "settings.json"
    path.touch(mode=0o600)
    path.write_bytes(orjson.dumps(tree))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.apart",
        str(path),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_TIMEOUT_S):
            line = await process.stdout.readline()
        yield Apart(sim, orjson.loads(line)["proxy_url"], folder, process)
    finally:
        await _end(process)
        await sim.stop()


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError("the proxy did not stop when told") from None
    finally:
        process._transport.close()  # type: ignore[attr-defined]
    assert process.returncode == 0, process.returncode


# --- the child ---------------------------------------------------------------------------------


class Steps:
    """The longest step of the event loop, by the CPU time of its thread."""

    def __init__(self) -> None:
        self.collected_ns = 0  # only ever grows: a step takes its own part of it off, whatever is reset within
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.worst_ns = self.worst_wall_ns = self.count = self.collection_ns = 0
        self.worst = ""

    def install(self) -> None:
        """Measure every callback the loop runs from now on."""
        original = asyncio.events.Handle._run  # type: ignore[attr-defined]

        def measured(handle: asyncio.Handle) -> None:
            wall, began, collected_ns = time.monotonic_ns(), time.thread_time_ns(), self.collected_ns
            shown = getattr(handle, "_callback", None)
            original(handle)
            # The collector strikes where it strikes: its time is counted apart.
            took = time.thread_time_ns() - began - (self.collected_ns - collected_ns)
            self.count += 1
            if took > self.worst_ns:
                self.worst_ns, self.worst = took, repr(getattr(shown, "__self__", shown))[:300]
            self.worst_wall_ns = max(self.worst_wall_ns, time.monotonic_ns() - wall)

        asyncio.events.Handle._run = measured  # type: ignore[attr-defined]
        started = 0

        def collected(phase: str, _told: dict[str, int]) -> None:
            nonlocal started
            if phase == "start":
                started = time.thread_time_ns()
            else:
                took = time.thread_time_ns() - started
                self.collected_ns += took
                self.collection_ns = max(self.collection_ns, took)

        gc.callbacks.append(collected)

    def report(self) -> dict[str, Any]:
        """The figures."""
        return {
            "worst_cpu_ms": self.worst_ns / 1e6,
            "worst_wall_ms": self.worst_wall_ns / 1e6,
            "worst": self.worst,
            "worst_collection_ms": self.collection_ns / 1e6,
            "steps": self.count,
        }


def _private_stdout(log: Path) -> TextIO:
    """The pipe to whoever started this; what is logged goes to a file, so that the two do not mix."""
    pipe = os.fdopen(os.dup(1), "w")
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return pipe


def _say(pipe: TextIO, document: dict[str, Any]) -> None:
    pipe.write(json.dumps(document) + "\n")
    pipe.flush()


def main() -> None:
    """Serve with the settings of a file, on the event loop that they name."""
    path = Path(sys.argv[1])
    settings = from_mapping(orjson.loads(path.read_bytes()), base=path.parent, source=str(path))
    loops.run(_serve(settings, path), settings.event_loop)


async def _serve(settings: Settings, path: Path) -> None:
    assert loops.running().startswith(settings.event_loop)
    pipe = _private_stdout(path.parent / LOG)
    steps = Steps()
    steps.install()
    app = App.from_settings(settings)
    await app.start()
    try:
        while not app.status.ready()[0]:
            await asyncio.sleep(0.01)
        _say(pipe, {"proxy_url": app.proxy_url, "admin_url": app.admin_url})
        await asyncio.sleep(0)  # the step that ends here may have begun inside the start, which is not what is measured
        steps.reset()
        loop = asyncio.get_running_loop()
        # Reading its standard input may wait in a thread: the loop is what is measured.
        while await loop.run_in_executor(None, sys.stdin.readline):
            _say(pipe, steps.report())
    finally:
        await app.stop()
        pipe.close()


if __name__ == "__main__":
    main()

"""Spans at a real OTLP/HTTP receiver: what they say, whose children they are, and that they keep nobody waiting."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import generate_latest

from proxy.config import Telemetry, from_mapping
from proxy.errors import ConfigError
from proxy.telemetry import Trace, open_spans
from proxy.telemetry.spans import CLOSE_TIMEOUT_S, TRACES_WAITING_MAX
from tests.canary import marked
from tests.runs import open_run

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
AT = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


class Receiver:
    """Keeps what was posted, as spans."""

    def __init__(self):
        self.url = ""
        self.heads = []
        self.services = set()
        self.spans = []
        self.holds = None  # an event to wait for before anything is answered

    async def take(self, request):
        """One export."""
        if self.holds is not None:
            await self.holds.wait()
        self.heads.append((request.path, dict(request.headers)))
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for of_resource in sent.resource_spans:
            said = {one.key: one.value.string_value for one in of_resource.resource.attributes}
            self.services.add((said["service.name"], said["service.version"]))
            for of_scope in of_resource.scope_spans:
                self.spans += of_scope.spans
        return web.Response(body=b"", content_type="application/x-protobuf")

    async def until(self, count):
        """Wait for so many spans; them by name."""
        async with asyncio.timeout(10):
            while len(self.spans) < count:
                await asyncio.sleep(0.05)
        return {one.name: one for one in self.spans}


@asynccontextmanager
async def receiving():
    """A receiver on a port of its own."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        if receiver.holds is not None:
            receiver.holds.set()
        await runner.cleanup()


@pytest.fixture
async def receiver():
    """A receiver."""
    async with receiving() as found:
        yield found


def said(span):
    """A span's attributes."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def with_header(raw, name, value):
    """A request's bytes with one more header."""
    return raw.replace(b"\r\n", f"\r\n{name}: {value}\r\n".encode(), 1)


def arrived(sim):
    """The headers of the last order at the exchange that speak of traces."""
    return [one for one in sim.orders_received[-1].headers if one[0].lower() in (b"traceparent", b"tracestate")]


async def test_an_order_in_a_whole_deployment(receiver, tmp_path):
    """The bot's trace goes on in the proxy, stage by stage, and at the exchange with the bytes that the bot sent."""
    telemetry = {"endpoint": receiver.url, "headers": {"x-team": marked("desk-7")}, "service": "gate"}
    async with open_run(tmp_path / "run", telemetry=telemetry) as run:
        bot = run.bot()
        raw = with_header(bot.order_bytes(), "TraceParent", PARENT)
        assert (await bot.raw(raw)).status == 200
        spans = await receiver.until(6)

        assert arrived(run.sim) == [(b"TraceParent", PARENT.encode())]
        decision_id = said(spans["order"])["riskgate.decision_id"]
        assert (await run.admin.call("GET", f"/admin/v1/decisions/{decision_id}")).status == 200
        assert b"riskgate_telemetry_dropped_total 0.0" in generate_latest(run.app.metrics.registry)
    order = spans.pop("order")
    assert (order.trace_id.hex(), order.parent_span_id.hex()) == (TRACE, "b7ad6b7169203331")
    assert set(spans) == {"read", "gather", "judge", "record", "forward"}
    assert {(one.trace_id, one.parent_span_id) for one in spans.values()} == {(order.trace_id, order.span_id)}
    began = [spans[name].start_time_unix_nano for name in ("read", "gather", "judge", "record", "forward")]
    assert began == sorted(began)
    assert order.start_time_unix_nano == began[0] < spans["forward"].end_time_unix_nano <= order.end_time_unix_nano
    assert said(order)["riskgate.verdict"] == "allow"
    assert receiver.heads[0][0] == "/v1/traces"
    assert receiver.heads[0][1]["x-team"] == marked("desk-7")
    assert {name for name, _ in receiver.services} == {"gate"}
    assert bot.key.key not in "".join(map(str, (order, *spans.values())))


async def test_nothing_is_invented_for_the_exchange(receiver, tmp_path):
    """A bot that sends no traceparent: the exchange sees none, and the order's trace is one of its own."""
    async with open_run(tmp_path / "run", telemetry={"endpoint": receiver.url}) as run:
        assert (await run.bot().order()).status == 200
        spans = await receiver.until(6)

        assert arrived(run.sim) == []
        assert spans["order"].parent_span_id == b""


async def test_with_telemetry_off_a_traceparent_passes_untouched(tmp_path):
    """Both fields arrive in their case and order, and no code of telemetry is asked."""
    async with open_run(tmp_path / "run") as run:
        bot = run.bot()
        raw = with_header(with_header(bot.order_bytes(), "traceState", "b=2"), "TRACEPARENT", PARENT)
        assert (await bot.raw(raw)).status == 200

        assert arrived(run.sim) == [(b"TRACEPARENT", PARENT.encode()), (b"traceState", b"b=2")]


def test_nothing_of_it_is_loaded_where_it_is_off():
    """A process that has everything for serving loaded has neither OpenTelemetry nor the traced path."""
    asked = "import sys, proxy.app, proxy.cli.main; print([m for m in sys.modules if 'telemetry' in m])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def a_trace(**changes):
    """What was seen of one order."""
    stages = [("read", 10.0, 10.001), ("forward", 10.002, 10.25)]
    told = {"riskgate.verdict": "allow", "riskgate.outcome": "unknown"}
    return Trace(**{"at": AT, "began_s": 10.0, "parents": (), "states": (), "ended_s": 10.3, "stages": stages,
                    "told": told, **changes})  # fmt: skip


async def sent(receiver, count, *traces, **settings):
    """What arrives of some traces."""
    spans = open_spans(Telemetry(endpoint=receiver.url, **settings), "1.2.3")
    for trace in traces:
        spans.take(trace)
    await asyncio.to_thread(spans.close)
    return await receiver.until(count)


async def test_times_are_the_order_s_own(receiver):
    """Wall time of the beginning, monotonic distances from there: whenever it is told."""
    found = await sent(receiver, 3, a_trace())

    began_ns = int(AT.timestamp()) * 1_000_000_000
    assert found["order"].start_time_unix_nano == began_ns
    assert found["order"].end_time_unix_nano == began_ns + 300_000_000
    assert found["forward"].start_time_unix_nano == began_ns + 2_000_000
    assert found["order"].status.message == "unknown", "an outcome that somebody has to look at"


@pytest.mark.parametrize(
    "parents",
    [(), (b"nonsense",), (PARENT.encode(), PARENT.encode()), (b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",)],
)
async def test_what_cannot_be_read_as_a_parent_is_none(receiver, parents):
    """Absent, malformed, said twice, or a trace of zeros: the order begins a trace."""
    found = await sent(receiver, 3, a_trace(parents=parents))

    assert found["order"].parent_span_id == b""
    assert found["order"].trace_id.hex() != TRACE


async def test_who_is_not_followed_is_not_told(receiver):
    """A parent whose flag says that nobody follows it, and a sample of none: only the third arrives."""
    unsampled = a_trace(parents=(PARENT[:-1].encode() + b"0",))
    followed = a_trace(parents=(PARENT.encode(),))
    found = await sent(receiver, 3, unsampled, a_trace(), followed, sample="0")

    assert {one.trace_id.hex() for one in receiver.spans} == {TRACE}
    assert len(found) == len(receiver.spans) == 3


async def test_a_refusal_has_its_own_name(receiver):
    """What never was judged is no order."""
    found = await sent(receiver, 1, a_trace(stages=[], told={"riskgate.verdict": "block"}))

    assert list(found) == ["refusal"]


async def test_a_receiver_that_does_not_answer_costs_spans_and_no_time(receiver):
    """Taking never waits, what is too much is counted, and the end does not wait for it."""
    receiver.holds = asyncio.Event()
    loop = asyncio.get_running_loop()
    spans = open_spans(Telemetry(endpoint=receiver.url), "1.2.3")
    began_s = loop.time()
    for _ in range(TRACES_WAITING_MAX + 5000):
        spans.take(a_trace())
    took_s = loop.time() - began_s
    await asyncio.to_thread(spans.close)

    assert took_s < 2.0
    assert spans.dropped > 0
    assert loop.time() - began_s < took_s + CLOSE_TIMEOUT_S + 1.0
    receiver.holds.set()


def test_without_the_extra_the_start_says_what_to_install(monkeypatch):
    """A receiver is stated and the library is not there."""
    monkeypatch.delitem(sys.modules, "proxy.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(ConfigError, match=r"pip install 'riskgate\[otel\]'"):
        open_spans(Telemetry(endpoint="http://127.0.0.1:4318"), "1.2.3")


@pytest.mark.parametrize(
    ("stated", "key"),
    [({"endpoint": "http://collector.example:4318"}, "telemetry.endpoint"), ({"sample": "1.1"}, "telemetry.sample")],
)
def test_settings_that_cannot_be_meant_stop_the_start(stated, key, tmp_path):
    """Plain http to another machine, and more than all orders."""
    with pytest.raises(ConfigError, match=key):
        from_mapping({"telemetry": stated}, base=tmp_path, source="(a test)")

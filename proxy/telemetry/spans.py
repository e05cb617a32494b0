"""Makes OpenTelemetry spans of what was seen of orders, and sends them over OTLP/HTTP, in threads of their own.

A receiver that is slow or gone costs spans, which are counted, and never an order's time. Needs the extra
`riskgate[otel]`; further settings of the exporter are its own environment variables (`OTEL_EXPORTER_OTLP_*`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.config import Telemetry
from proxy.telemetry.tracing import FORWARD, Trace

log = structlog.get_logger("riskgate.telemetry")

TRACES_WAITING_MAX = 10_000
SPANS_WAITING_MAX = 16_384
SPANS_AT_ONCE = 512
SEND_EVERY_MS = 1000
SEND_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.5  # what is not sent by then is lost: nobody waits for telemetry to stop a proxy
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# An order in these may have reached the exchange without an answer, or never have left: somebody wants to look.
WENT_WRONG = frozenset({"unknown", "not_sent"})


class Spans(Collector):
    """Takes traces, and sends them as spans."""

    def __init__(self, settings: Telemetry, version: str) -> None:
        assert settings.endpoint is not None
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        exporter = OTLPSpanExporter(
            endpoint=f"{settings.endpoint}/v1/traces", headers=headers or None, timeout=SEND_TIMEOUT_S
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(float(settings.sample))),
            resource=Resource.create({"service.name": settings.service, "service.version": version}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter, max_queue_size=SPANS_WAITING_MAX, max_export_batch_size=SPANS_AT_ONCE,
                schedule_delay_millis=SEND_EVERY_MS,
            )
        )  # fmt: skip
        self._tracer = self._provider.get_tracer("riskgate", version)
        self._parents = TraceContextTextMapPropagator()
        self._waiting: queue.SimpleQueue[Trace | None] = queue.SimpleQueue()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def take(self, trace: Trace) -> None:
        """Note one; where too many wait it is dropped and counted. Never waits."""
        if self._waiting.qsize() >= TRACES_WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.put(trace)

    def close(self) -> None:
        """Send what waits, for a moment."""
        self._waiting.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            log.warning("telemetry.cut_short", waiting=self._waiting.qsize())

    def collect(self) -> Iterable[Metric]:
        """How many were dropped."""
        found = CounterMetricFamily("riskgate_telemetry_dropped", "Traces dropped because too many waited")
        found.add_metric((), self.dropped)
        yield found

    def _run(self) -> None:
        while (trace := self._waiting.get()) is not None:
            try:
                self._tell(trace)
            except Exception as error:  # one trace ends here and is lost; the next is told
                self.dropped += 1
                log.exception("telemetry.failed", error=type(error).__name__)
        self._provider.shutdown()

    def _tell(self, trace: Trace) -> None:
        """One span for the request, and below it one for each of its stages."""
        began_ns = (trace.at - EPOCH) // MICROSECOND * 1000

        def instant(at_s: float) -> int:
            return began_ns + round((at_s - trace.began_s) * 1_000_000_000)

        outcome = trace.told.get("riskgate.outcome")
        whole = self._tracer.start_span(
            "order" if outcome is not None else "refusal", context=self._context(trace), kind=SpanKind.SERVER,
            attributes=trace.told, start_time=began_ns,
        )  # fmt: skip
        inside = otel.set_span_in_context(whole)
        for name, from_s, to_s in trace.stages:
            kind = SpanKind.CLIENT if name == FORWARD else SpanKind.INTERNAL
            self._tracer.start_span(name, context=inside, kind=kind, start_time=instant(from_s)).end(instant(to_s))
        if outcome in WENT_WRONG:
            whole.set_status(Status(StatusCode.ERROR, str(outcome)))
        whole.end(instant(trace.ended_s))

    def _context(self, trace: Trace) -> Context:
        """Below what the bot says it is doing, where it says so exactly once and as the standard writes it."""
        carrier: dict[str, str] = {}
        if len(trace.parents) == 1:
            carrier["traceparent"] = trace.parents[0].decode("latin-1")
            carrier["tracestate"] = ",".join(one.decode("latin-1") for one in trace.states)
        return self._parents.extract(carrier, Context())

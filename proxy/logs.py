"""What the proxy says while it runs: one JSON object a line, or readable lines on a terminal.

Lines are handed to a thread through a bounded queue. A reader that does not read, such as a
pipe nobody empties, costs log lines, which are counted, and never stalls an order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Literal

import orjson
import structlog
from pydantic import SecretBytes, SecretStr

from proxy.clock import Clock
from proxy.order_lines import OURS, Told, as_line, told_by_risk_guard, told_of
from rules import Caller, Decision, Instruction

REDACTED = "[redacted]"
LINES_MAX = 20_000
_BATCH_BYTES = 1 << 16
_GATHER_S = 0.02  # lines that come within this time are written together
_SECRET_KEYS = frozenset(
    {
        "api_key", "apikey", "x_mbx_apikey", "secret", "api_secret", "secret_key", "private_key", "passphrase",
        "password", "signature", "listenkey", "listen_key", "token", "admin_token", "authorization", "cookie",
        "set_cookie",
    }
)  # fmt: skip
_SECRET_IN_TEXT = re.compile(
    r"""(?ix)
    ( \b (?: signature | listen_?key | api_?key | x-mbx-apikey | secret (?:_?key)? | token | password | passphrase )
      \\? ["']? \s* [=:] \s* \\? ["']? )
    [^\s&"'\\,;}]+
    | ( \b (?: bearer | authorization ["']? \s* : \s* ["']? \w+ ) \s+ ) [^\s"',;]+
    | ( :// [^\s/@:"']* : ) [^\s/@"']+ (?= @ )  # a password in a URL
    | ( /bot [0-9]+ : | tgram://[0-9]+ : ) [^\s/"']+  # the token of a Telegram bot
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.DOTALL,
)

EVENTS = (
    "admin.failed",
    "admin.listening",
    "admin.refused",
    "answer.unreadable",
    "audit.anchor_failed",
    "audit.anchored",
    "audit.failed",
    "audit.recovered",
    "audit.rotated",
    "audit.unavailable",
    "day.started",
    "ess.drain_failed",
    "ess.engaged",
    "ess.not_stored",
    "ess.released",
    "ess.slot_damaged",
    "ess.unreadable",
    "feed.failed",
    "feed.recovered",
    "governor.changed",
    "library.said",
    "loop.stalled",
    "order.decided",
    "policy.changed",
    "proxy.drain_cut_short",
    "proxy.listening",
    "request.failed",
    "request.refused",
    "store.failed",
    "store.unavailable",
    "task.failed",
    "upstream.unreachable",
)
"""The events that dashboards and alerts may rely on; a name that stands here is not changed."""


class LineWriter:
    """Writes lines to a file descriptor in a thread of its own; never blocks who hands them over."""

    def __init__(self, descriptor: int, *, lines_max: int = LINES_MAX) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._lines_max = lines_max
        self._lines: deque[bytes] = deque()
        self._wake = threading.Lock()  # held while nothing is to be written
        self._wake.acquire()
        self._is_asleep = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Take a line or more, with their line ends; when too many wait, drop them and count that."""
        if len(self._lines) >= self._lines_max:
            self.dropped += lines.count(b"\n")
            return
        self._lines.append(lines)
        if self._is_asleep:
            self._rouse()

    def _rouse(self) -> None:
        """Waking the thread costs more than making a line: while it works it looks again by itself."""
        self._is_asleep = False
        with contextlib.suppress(RuntimeError):  # two threads had a line at once, and the other was quicker
            self._wake.release()

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            while self._lines or not self._closing.is_set():
                # One write for all that gathers meanwhile.
                self._closing.wait(_GATHER_S)
                if not self._lines:
                    break
                while self._lines:
                    self._write_all(self._taken())
            if self._closing.is_set() and not self._lines:
                return
            self._is_asleep = True
            if self._lines:  # came before the thread was seen to be asleep
                self._rouse()

    def _taken(self) -> bytes:
        taken, size = [], 0
        while self._lines and size < _BATCH_BYTES:
            taken.append(self._lines.popleft())
            size += len(taken[-1])
        return b"".join(taken)

    def _write_all(self, content: bytes) -> None:
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
        except OSError:  # the reader is gone; there is nowhere left to say so but the count
            self.dropped += content.count(b"\n")

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits; give up on a reader that does not read."""
        self._closing.set()
        self._rouse()
        self._thread.join(timeout_s)


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take secrets out of a log event: by the name of the key, by type, and by how they look in text."""
    for key, value in event.items():
        event[key] = REDACTED if _names_a_secret(key) else _clean(value)
    return event


def _names_a_secret(key: object) -> bool:
    return str(key).lower().replace("-", "_") in _SECRET_KEYS


def _clean(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - whatever somebody logged
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, SecretStr | SecretBytes):
        return REDACTED
    if isinstance(value, bytes | bytearray | memoryview):
        # Bytes are bodies, keys and signatures; how many there were is all that is told.
        return f"[{len(value)} bytes]"
    if depth < 6 and isinstance(value, Mapping):
        return {
            str(key): REDACTED if _names_a_secret(key) else _clean(inner, depth + 1)
            for key, inner in value.items()
        }
    if depth < 6 and isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner, depth + 1) for inner in value]
    return clean_text(str(value))


def clean_text(text: str) -> str:
    """The text without what looks like a key, a signature or a token."""
    return _SECRET_IN_TEXT.sub(lambda found: f"{next(filter(None, found.groups()), '')}{REDACTED}", text)


def _to_json(_: object, __: str, event: MutableMapping[str, Any]) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


class _Lines:
    """The logger at the end of the chain: hands finished lines to the writer."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def msg(self, line: str | bytes) -> None:
        """Write one finished line."""
        raw = line if isinstance(line, bytes) else line.encode("utf-8", "replace")
        self._writer.write(raw + b"\n")

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class Logs:
    """Logging as configured; `close` writes what still waits."""

    def __init__(
        self,
        writer: LineWriter,
        clock: Clock,
        *,
        as_json: bool,
        tells_orders: bool = True,
        tells_risk_guard: bool = True,
    ) -> None:
        self.tells_orders = tells_orders  # every decision is told, unless only errors were asked for
        self.tells_risk_guard = tells_risk_guard  # and once more under the name that RiskGuard gave it
        self.writer = writer
        self.clock = clock
        self.as_json = as_json
        self._log = structlog.get_logger("riskgate.orders")

    @property
    def dropped(self) -> int:
        """Lines lost to a reader that is too slow."""
        return self.writer.dropped

    def order_decided(self, told: Told, beside: tuple[str, Told] | None = None) -> None:
        """One line, and RiskGuard's beside it; in JSON without the detour through processors: they hold no secrets."""
        if not self.as_json:
            self._log.info(OURS, **told)
            if beside is not None:
                self._log.info(beside[0], **beside[1])
            return
        at = self.clock.stamp()
        if beside is None:
            self.writer.write(as_line(OURS, at, told))
        else:
            self.writer.write(as_line(OURS, at, told) + as_line(beside[0], at, beside[1]))

    def close(self) -> None:
        """Write what waits and leave logging as it was before."""
        global _current
        if _current is self:
            _current = None
            _tell_plainly()
            root = logging.getLogger()
            root.handlers = [one for one in root.handlers if not isinstance(one, _FromLibraries)]
        self.writer.close()


def _tell_plainly() -> None:
    """Logging before and after somebody configures it: exceptions without the values of variables.

    The library's own way shows those, and they may hold keys.
    """
    structlog.reset_defaults()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            redact,
            structlog.dev.ConsoleRenderer(colors=False),
        ]
    )


_tell_plainly()
_current: Logs | None = None


class _FromLibraries(logging.Handler):
    """Brings what libraries log through the standard library into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on; a record that cannot be formatted is told as such."""
        with contextlib.suppress(Exception):  # a library's log line must never break the request it is about
            said = structlog.get_logger(record.name)
            exception = record.exc_info if record.exc_info and record.exc_info[0] else None
            said.log(record.levelno, "library.said", logger=record.name, said=record.getMessage(), exc_info=exception)


def configure(
    *,
    clock: Clock,
    level: str = "info",
    form: Literal["auto", "json", "console"] = "auto",
    descriptor: int | None = None,
    risk_guard_events: bool = True,
) -> Logs:
    """Set up logging for the process: JSON lines, or readable ones on a terminal."""
    global _current
    if _current is not None:
        _current.close()
    out = sys.stdout.fileno() if descriptor is None else descriptor
    as_json = form == "json" or (form == "auto" and not os.isatty(out))
    logs = Logs(
        LineWriter(out), clock, as_json=as_json, tells_orders=level != "error", tells_risk_guard=risk_guard_events
    )

    def stamp(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["timestamp"] = clock.stamp()
        return event

    last = _to_json if as_json else structlog.dev.ConsoleRenderer(colors=os.isatty(out))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            redact,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(logs.writer),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, _FromLibraries)]
    root.addHandler(_FromLibraries())
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    _current = logs
    return logs


def set_level(level: str) -> None:
    """Another level from the next line on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    if _current is not None:
        _current.tells_orders = level != "error"


def order_decided(
    decision: Decision,
    caller: Caller,
    *,
    decision_id: str,
    instructions: Sequence[Instruction],
    endpoint: str,
    outcome: str,
    took_s: float,
    upstream_s: float | None = None,
    profile: str = "",
) -> None:
    """Tell one decision: the whole story in one line, with nothing in it that is secret."""
    logs = _current
    if logs is None or not logs.tells_orders:
        return
    told = told_of(
        decision,
        caller,
        decision_id=decision_id,
        instructions=instructions,
        endpoint=endpoint,
        outcome=outcome,
        took_s=took_s,
        upstream_s=upstream_s,
        profile=profile,
    )
    beside = None
    if logs.tells_risk_guard:
        beside = told_by_risk_guard(decision, caller, instructions, decision_id, profile)
    logs.order_decided(told, beside)

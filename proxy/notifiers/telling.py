"""Tells people what happens, without ever making anybody wait.

`tell` puts an alert into bounded queues and returns. Each notifier has a queue and a task of its own, so that one
that hangs delays no other. Of each class only so many messages go out in a minute; what is more is held back,
counted, and told in one message when the minute is over. Nothing is dropped without that being said.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Literal

import structlog

from proxy.clock import Clock
from proxy.notifiers.alerts import Alert, AlertClass, Message, Notifier, NotifyFailed, Severity, message_of
from proxy.tasks import Tasks

log = structlog.get_logger("riskgate.notifiers")

Mode = Literal["on", "digest", "off"]
WAITING_MAX = 200  # messages for one notifier
DIGEST_LINES_MAX = 30
MINUTE_S = 60.0
LOOK_EVERY_S = 0.5
SEND_TIMEOUT_S = 10.0
TRY_AGAIN_AFTER_S = (1.0, 5.0, 30.0, 120.0)
CLOSE_TIMEOUT_S = 1.0  # a drained process is gone within two seconds, whoever cannot be told
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class _Held:
    """Alerts that are not told one by one: how many, and the newest of them."""

    def __init__(self) -> None:
        self.count = 0
        self.severity = Severity.INFO
        self.newest: deque[Alert] = deque(maxlen=DIGEST_LINES_MAX)

    def add(self, alert: Alert) -> None:
        self.count += 1
        self.newest.append(alert)
        self.severity = max(self.severity, alert.severity, key=_RANK.__getitem__)


class _Channel:
    """One notifier, what waits for it, and what was lost of that."""

    def __init__(self, notifier: Notifier) -> None:
        self.notifier = notifier
        self.waiting: deque[Message] = deque()
        self.lost = 0
        self.woken = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.failed = 0
        self.sent = 0

    def put(self, message: Message) -> None:
        """Take a message; where too many wait, the least urgent and oldest goes, and is counted."""
        if len(self.waiting) >= WAITING_MAX:
            least = min(range(len(self.waiting)), key=lambda place: _RANK[self.waiting[place].severity])
            del self.waiting[least]
            self.lost += 1
        self.waiting.append(message)
        self.idle.clear()
        self.woken.set()

    def take(self) -> Message:
        """The oldest message, which also says what was lost before it."""
        message = self.waiting.popleft()
        if self.lost:
            lost, self.lost = self.lost, 0
            message = message._replace(text=f"{message.text}\n({lost} older messages could not be delivered)".strip())
        return message


class Telling:
    """Hands alerts to every notifier, as the settings want each class told."""

    def __init__(
        self,
        notifiers: Sequence[Notifier],
        *,
        clock: Clock,
        modes: Mapping[str, Mode] | None = None,
        per_minute: int = 6,
        digest_s: float = 900.0,
        instance: str = "riskgate",
    ) -> None:
        self._channels = [_Channel(one) for one in notifiers]
        self._clock = clock
        self._modes = dict(modes or {})
        self._per_minute = per_minute
        self._digest_s = digest_s
        self._digest_at_s = clock.monotonic() + digest_s
        self._instance = instance
        self._sent: dict[AlertClass, deque[float]] = {about: deque() for about in AlertClass}
        self._held: dict[AlertClass, _Held] = {}
        self._digest: dict[AlertClass, _Held] = {}
        self._tasks = Tasks()
        self.told: Counter[str] = Counter()  # by class and what became of it

    def start(self) -> None:
        """Begin to deliver."""
        for channel in self._channels:
            self._tasks.spawn(self._deliver(channel), name=f"notify.{channel.notifier.name}")
        self._tasks.spawn(self._watch(), name="notify.watch")

    def tell(self, about: AlertClass, severity: Severity, title: str, detail: str = "") -> None:
        """Take an alert; never waits, never fails."""
        alert = Alert(about, severity, title, detail, self._clock.now())
        mode = self._modes.get(about.value, "on")
        if mode == "off":
            return
        if mode == "digest":
            self._digest.setdefault(about, _Held()).add(alert)
        elif about in self._held or not self._has_room(about):
            self._held.setdefault(about, _Held()).add(alert)
        else:
            self._put(message_of(alert))

    def report(self) -> list[dict[str, object]]:
        """How each notifier does, for people."""
        return [
            {
                "name": channel.notifier.name, "sent": channel.sent, "failed": channel.failed,
                "waiting": len(channel.waiting), "lost": channel.lost,
            }
            for channel in self._channels
        ]  # fmt: skip

    async def close(self, *, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Deliver what waits, as far as that is quick, then end."""
        self._tell_held(everything=True)
        self._tell_digest()
        try:
            async with asyncio.timeout(timeout_s):
                for channel in self._channels:
                    await channel.idle.wait()
        except TimeoutError:
            log.warning("notifier.undelivered", waiting=sum(len(channel.waiting) for channel in self._channels))
        await self._tasks.close()

    def _has_room(self, about: AlertClass) -> bool:
        now_s = self._clock.monotonic()
        sent = self._sent[about]
        while sent and sent[0] <= now_s - MINUTE_S:
            sent.popleft()
        if len(sent) >= self._per_minute:
            return False
        sent.append(now_s)
        return True

    def _put(self, message: Message) -> None:
        message = message._replace(title=f"[{self._instance}] {message.title}")
        for channel in self._channels:
            channel.put(message)

    async def _watch(self) -> None:
        while True:
            self._tell_held()
            if self._clock.monotonic() >= self._digest_at_s:
                self._digest_at_s = self._clock.monotonic() + self._digest_s
                self._tell_digest()
            await asyncio.sleep(LOOK_EVERY_S)

    def _tell_held(self, *, everything: bool = False) -> None:
        for about in list(self._held):
            if everything or self._has_room(about):
                held = self._held.pop(about)
                self._put(self._summary(f"{held.count} more of {about.value} held back", {about: held}))

    def _tell_digest(self) -> None:
        if self._digest:
            gathered, self._digest = self._digest, {}
            count = sum(held.count for held in gathered.values())
            self._put(self._summary(f"{count} gathered", gathered))

    def _summary(self, title: str, gathered: Mapping[AlertClass, _Held]) -> Message:
        lines = []
        for about, held in gathered.items():
            lines.append(f"{about.value}: {held.count}, the newest {len(held.newest)}:")
            lines += [f"- {alert.at:%H:%M:%S} {message_of(alert).title}" for alert in held.newest]
        severity = max((held.severity for held in gathered.values()), key=_RANK.__getitem__)
        return Message(severity, title, "\n".join(lines), self._clock.now(), tuple(gathered))

    async def _deliver(self, channel: _Channel) -> None:
        while True:
            if not channel.waiting:
                channel.idle.set()
                channel.woken.clear()
                await channel.woken.wait()
            await self._send(channel, channel.take())

    async def _send(self, channel: _Channel, message: Message) -> None:
        """Try a few times; what cannot be delivered then is in the log, and counted for the next message."""
        for again_after_s in (*TRY_AGAIN_AFTER_S, None):
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await channel.notifier.send(message)
            except (NotifyFailed, TimeoutError) as error:
                why = str(error) or "no answer in time"
            except Exception as error:  # noqa: BLE001 - one notifier's fault must not end the telling; its text may hold a secret
                why = type(error).__name__
            else:
                channel.sent += 1
                return
            channel.failed += 1
            log.error("notifier.failed", notifier=channel.notifier.name, error=why, again_after_s=again_after_s)
            if again_after_s is None:
                break
            await asyncio.sleep(again_after_s)
        channel.lost += 1

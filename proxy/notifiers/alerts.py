"""What people are told: an alert, of a class that can be switched on, gathered or switched off."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from proxy.logs import clean_text

TITLE_MAX = 160
DETAIL_MAX = 1200


class AlertClass(StrEnum):
    """What an alert is about; settings name the same words."""

    ESS = "ess"
    LOSS = "loss"
    BYPASS = "bypass"
    FEED = "feed"
    STORE = "store"
    AUDIT = "audit"
    BLOCK_RATE = "block_rate"
    PERMIT = "permit"
    POLICY = "policy"
    LIFECYCLE = "lifecycle"


class Severity(StrEnum):
    """How soon somebody has to look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Alert(NamedTuple):
    """One thing that happened."""

    about: AlertClass
    severity: Severity
    title: str
    detail: str
    at: datetime


class Message(NamedTuple):
    """What goes out at once: one alert, or several in one."""

    severity: Severity
    title: str
    text: str
    at: datetime
    classes: tuple[AlertClass, ...]


class NotifyFailed(Exception):
    """A message could not be delivered; its text names no address and no secret."""


class Notifier(Protocol):
    """A way to reach people."""

    name: str

    async def send(self, message: Message) -> None:
        """Deliver, or raise NotifyFailed."""
        ...


def message_of(alert: Alert) -> Message:
    """An alert on its own, without what looks like a key or a token."""
    title, detail = clean_text(alert.title)[:TITLE_MAX], clean_text(alert.detail)[:DETAIL_MAX]
    return Message(alert.severity, title, detail, alert.at, (alert.about,))

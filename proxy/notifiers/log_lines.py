"""Alerts as log lines: the notifier that always works."""

from __future__ import annotations

import structlog

from proxy.notifiers.alerts import Message, Severity

log = structlog.get_logger("riskgate.notifiers")


class LogLines:
    """Tells every message in one line, `alert.told`."""

    name = "log"

    async def send(self, message: Message) -> None:
        """Write the line."""
        fields = {
            "title": message.title,
            "text": message.text,
            "severity": message.severity.value,
            "classes": [about.value for about in message.classes],
        }
        told = {Severity.INFO: log.info, Severity.WARNING: log.warning}.get(message.severity, log.error)
        told("alert.told", **fields)

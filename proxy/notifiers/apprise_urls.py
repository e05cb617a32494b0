"""Alerts to whatever apprise reaches: Slack, Discord, mail and many more. An extra: `riskgate[apprise]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.errors import ConfigError
from proxy.notifiers.alerts import Message, NotifyFailed, Severity

KINDS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


class Apprise:
    """Hands each message to apprise, which knows each service's form. Its URLs hold secrets and are never told."""

    name = "apprise"

    def __init__(self, urls: Sequence[str]) -> None:
        try:
            import apprise
        except ImportError:
            raise ConfigError("notify.apprise needs apprise: pip install 'riskgate[apprise]'") from None
        self._target: Any = apprise.Apprise()
        for number, url in enumerate(urls, 1):
            if not self._target.add(url):
                raise ConfigError(f"notify.apprise: the URL number {number} is none that apprise knows")

    async def send(self, message: Message) -> None:
        """Send to every URL; apprise says only whether all of them took it."""
        taken = await self._target.async_notify(
            title=message.title, body=message.text or message.title, notify_type=KINDS[message.severity]
        )
        if not taken:
            raise NotifyFailed("at least one of its services did not take it")

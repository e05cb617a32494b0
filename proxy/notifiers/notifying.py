"""Builds what the settings ask for: the notifiers, what they are told, and who may command from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp
import structlog

from proxy.admin.access import ROLES_BY_WORD, Person
from proxy.audit import Audit
from proxy.clock import Clock
from proxy.config import Notify
from proxy.ess import EssLatch
from proxy.ess_release import Releases
from proxy.ess_scopes import Scopes
from proxy.loss_watch import Used
from proxy.notifiers.alerts import AlertClass, Notifier, Severity
from proxy.notifiers.apprise_urls import Apprise
from proxy.notifiers.log_lines import LogLines
from proxy.notifiers.telegram import Api, Commands, Telegram
from proxy.notifiers.telling import Telling
from proxy.notifiers.watch import Watch
from proxy.notifiers.webhook import Webhook
from proxy.permits import Permit
from proxy.stores.base import StoredPolicy
from proxy.tasks import Tasks
from rules import EssLevel, Stop

log = structlog.get_logger("riskgate.notifiers")

TIMEOUT_S = 8.0


class Notifying:
    """Everything that tells people, as one part of the proxy."""

    def __init__(self, settings: Notify, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._tasks = Tasks()
        self._watch: Watch | None = None
        # First, as it may refuse: nothing is open yet that somebody would have to close.
        apprise = Apprise([url.get_secret_value() for url in settings.apprise]) if settings.apprise else None
        # A session of its own: no cookie, no proxy of the environment, nothing of the exchange's.
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        self._api: Api | None = None
        self._users: dict[int, Person] = {}
        self.telling = Telling(
            self._notifiers(apprise),
            clock=clock,
            modes=settings.events.model_dump(),
            per_minute=settings.per_minute,
            digest_s=settings.digest_interval,
            instance=settings.instance,
        )
        self.telling.start()

    def _notifiers(self, apprise: Apprise | None) -> list[Notifier]:
        settings = self._settings
        found: list[Notifier] = [LogLines()]
        if (hook := settings.webhook) is not None:
            secret = None if hook.secret is None else hook.secret.get_secret_value().encode()
            found.append(Webhook(self._session, hook.url, secret=secret, clock=self._clock))
        if apprise is not None:
            found.append(apprise)
        if (bot := settings.telegram) is not None:
            self._api = Api(self._session, bot.token.get_secret_value(), origin=bot.api)
            self._users = {
                int(user): Person(one.name, ROLES_BY_WORD[one.role], f"telegram:{user}")
                for user, one in bot.users.items()
            }
            found.append(Telegram(self._api, self._users))
        return found

    def watch(
        self,
        *,
        ready: Callable[[], tuple[bool, Mapping[str, Any]]],
        losses: Callable[[str], Iterable[Used]],
        bypasses: Callable[[str], int],
        decisions: Callable[[], tuple[int, int]],
        accounts: Iterable[str],
    ) -> None:
        """Begin to look at what is worth telling."""
        self._watch = Watch(
            self.telling, ready=ready, losses=losses, bypasses=bypasses, decisions=decisions, accounts=accounts,
            clock=self._clock,
        )  # fmt: skip
        self._tasks.spawn(self._watch.watch(), name="notify.look")

    def listen(
        self,
        *,
        latch: EssLatch,
        releases: Releases,
        scopes: Scopes,
        audit: Audit,
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Begin to take commands, where the settings ask for that."""
        bot = self._settings.telegram
        if self._api is None or bot is None or not bot.commands:
            return
        commands = Commands(
            self._api, self._users, latch=latch, releases=releases, scopes=scopes, audit=audit, status=status,
            clock=self._clock,
        )  # fmt: skip
        self._tasks.spawn(commands.watch(), name="notify.telegram.commands")

    def stopped(self, stop: Stop) -> None:
        """A stop was engaged or released. Whatever happens here, the stop itself goes on."""
        if self._watch is not None:
            try:
                self._watch.stopped(stop)
            except Exception as error:  # noqa: BLE001 - the stop is being stored next; that it was not told is in the log
                log.error("notifier.look_failed", error=repr(error))

    def permit_changed(self, permit: Permit) -> None:
        """Somebody asked to let an order through, or something became of that."""
        if self._watch is not None:
            self._watch.permit_changed(permit)

    def policy_changed(self, stored: StoredPolicy) -> None:
        """A revision is in force."""
        if self._watch is not None:
            self._watch.policy_changed(stored)

    def began(self, version: str, stops: Iterable[Stop]) -> None:
        """The proxy starts; what is stopped already is said with it."""
        engaged = [f"{one.level.name} {one.scope}: {one.reason}" for one in stops if one.level is not EssLevel.CLEAR]
        severity = Severity.WARNING if engaged else Severity.INFO
        self.telling.tell(AlertClass.LIFECYCLE, severity, f"started, version {version}", "\n".join(engaged))

    async def close(self) -> None:
        """Say that the proxy stops, deliver what waits, and end."""
        await self._tasks.close()
        self.telling.tell(AlertClass.LIFECYCLE, Severity.INFO, "stopping", "")
        await self.telling.close()
        await self._session.close()

"""Alerts to Telegram, and commands from there: /status, /halt, /reduceonly, /resume.

Who may command is decided by the sender's user id and nothing else: in a group everybody writes, so commands count
in private chats alone. The bot's token is one of its own, and stands in the address of every call: no error that
names an address is ever told. Stopping is one message. Starting again takes two, the second with a number that the
answer to the first gave, which counts for two minutes, for this person, and for the stop as it was seen.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import aiohttp
import structlog

from proxy import wire
from proxy.admin.access import Person, Role
from proxy.admin.roles import OPERATOR_RELEASES
from proxy.audit import Audit, admin_record
from proxy.clock import Clock
from proxy.errors import AuditError, OrderNotUnderstood, ProxyError
from proxy.ess import EssLatch, check_scope
from proxy.ess_release import Asked, Releases
from proxy.ess_scopes import Scopes
from proxy.notifiers.alerts import Message, NotifyFailed
from rules import EssLevel
from rules.ess import GLOBAL

log = structlog.get_logger("riskgate.notifiers")

API = "https://api.telegram.org"
POLL_S = 25
TIMEOUT_S = 10.0
AGAIN_AFTER_S = 5.0
CODE_LASTS_S = 120.0
TRIES_MAX = 3
TEXT_MAX = 3500
ANSWER_BYTES_MAX = 1024 * 1024
# A stop that was asked for while nothing got through is still meant; a look at what was is not.
OLD_S = 60
OLD_STOP_S = 600
HELP = (
    "/status\n/halt [scope] [reason]\n/reduceonly [scope] [reason]\n/resume [scope] reason, then /resume NUMBER\n"
    "scope: global, or account:NAME, strategy:NAME, symbol:NAME, exchange:NAME"
)


class Api:
    """Calls of the Bot API."""

    def __init__(self, session: aiohttp.ClientSession, token: str, *, origin: str = API) -> None:
        self._session = session
        self._base = f"{origin}/bot{token}"

    async def call(self, method: str, *, timeout_s: float = TIMEOUT_S, **parameters: object) -> Any:  # noqa: ANN401 - any JSON value
        """What a method answers; NotifyFailed, with nothing of the address in it, where it does not."""
        try:
            async with self._session.post(
                f"{self._base}/{method}", json=parameters, allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:  # fmt: skip
                raw = await response.content.read(ANSWER_BYTES_MAX)
                document = wire.loads(raw, characters_max=ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError, OrderNotUnderstood) as error:
            raise NotifyFailed(f"{method}: {type(error).__name__}") from None
        if not isinstance(document, dict) or document.get("ok") is not True:
            raise NotifyFailed(f"{method}: it answered {response.status}")
        return document.get("result")


class Telegram:
    """Tells every listed user, in the private chat that each of them began."""

    name = "telegram"

    def __init__(self, api: Api, users: Mapping[int, Person]) -> None:
        self._api = api
        self._users = users

    async def send(self, message: Message) -> None:
        """Send to everybody; who cannot be reached does not keep the others from hearing."""
        text = f"{message.severity.upper()}: {message.title}\n{message.text}"[:TEXT_MAX]
        failed = []
        for user in self._users:
            try:
                await self._api.call("sendMessage", chat_id=user, text=text, disable_web_page_preview=True)
            except NotifyFailed as error:
                failed.append(str(error))
        if len(failed) == len(self._users):
            raise NotifyFailed(failed[0])
        if failed:
            log.warning("notifier.partly_failed", notifier=self.name, failed=len(failed), error=failed[0])


class _Resume(NamedTuple):
    """A release that one person has to say once more."""

    code: str
    scope: str
    epoch: int
    reason: str
    until_s: float


class Commands:
    """Reads what listed users write, and does it in their names."""

    def __init__(
        self,
        api: Api,
        users: Mapping[int, Person],
        *,
        latch: EssLatch,
        releases: Releases,
        scopes: Scopes,
        audit: Audit,
        status: Callable[[], Mapping[str, Any]],
        clock: Clock,
    ) -> None:
        self._api = api
        self._users = users
        self._latch = latch
        self._releases = releases
        self._scopes = scopes
        self._audit = audit
        self._status = status
        self._clock = clock
        self._resumes: dict[int, _Resume] = {}
        self._tries: dict[int, int] = {}
        self._offset = 0

    async def watch(self) -> None:
        """Ask for what was written until cancelled; one long question at a time."""
        while True:
            try:
                await self.poll()
            except NotifyFailed as error:
                log.warning("notifier.unheard", notifier="telegram", error=str(error))
                await asyncio.sleep(AGAIN_AFTER_S)

    async def poll(self, *, wait_s: int = POLL_S) -> None:
        """Take what was written since the last time."""
        updates = await self._api.call(
            "getUpdates", timeout_s=wait_s + TIMEOUT_S, offset=self._offset, timeout=wait_s, allowed_updates=["message"]
        )
        for update in updates if isinstance(updates, list) else ():
            number = update.get("update_id") if isinstance(update, dict) else None
            if not isinstance(number, int):
                continue
            self._offset = number + 1  # first: what cannot be read is not to be read for ever
            await self._take(update.get("message"))

    async def _take(self, message: object) -> None:
        try:
            user, kind, text, sent_s = _read(message)
        except (KeyError, TypeError):
            return  # a sticker, a picture, somebody joining
        person = self._users.get(user)
        if person is None or kind != "private":
            log.warning("notifier.stranger", notifier="telegram", user=user, chat=kind)
            return  # no answer: who is not listed does not learn that something listens here
        try:
            answer = await self._do(user, person, text, age_s=self._clock.now_ms() // 1000 - sent_s)
        except ProxyError as error:
            answer = f"NOT done: {error}"
        except Exception as error:  # the command ends here; the person is told, the next one is heard
            log.exception("notifier.command_failed", error=type(error).__name__)
            answer = "NOT done: it failed; the log says why"
        try:
            await self._api.call("sendMessage", chat_id=user, text=answer[:TEXT_MAX], disable_web_page_preview=True)
        except NotifyFailed as error:
            log.error("notifier.failed", notifier="telegram", error=str(error), again_after_s=None)

    async def _do(self, user: int, person: Person, text: str, *, age_s: int) -> str:
        command, _, rest = text.partition(" ")
        command = command.partition("@")[0].lower()
        stops = command in ("/halt", "/reduceonly")
        if age_s > (OLD_STOP_S if stops else OLD_S):
            return f"NOT done: written {age_s} s ago. Send it again if it is still meant"
        if command == "/status":
            return _shown(self._status())
        if stops:
            level = EssLevel.HALT if command == "/halt" else EssLevel.REDUCE_ONLY
            return await self._engage(person, level, *_scope_of(rest, "stopped by Telegram"))
        if command == "/resume":
            return await self._resume(user, person, rest.strip())
        return HELP

    async def _engage(self, person: Person, level: EssLevel, scope: str, reason: str) -> str:
        if person.role < Role.OPERATOR:
            return self._refused(person, "ess.engage", scope, Role.OPERATOR)
        self._check_known(scope)
        engaged = await self._latch.engage(
            level=level, scope=scope, actor=person.name, reason=reason, source="telegram"
        )
        recorded = self._record(
            actor=person.name, act="ess.engage", scope=scope, reason=reason, result=engaged.problem or "done",
            after={"level": engaged.stop.level.name.lower(), "epoch": engaged.epoch},
        )  # fmt: skip
        told = [
            f"{engaged.stop.level.name} ({scope}) is in force" + ("" if engaged.changed else " already"),
            f"unanswered at that moment: {engaged.in_flight_unanswered}; of unknown fate: {engaged.unknown}",
        ]
        told += [engaged.problem] if engaged.problem else []
        told += [] if recorded else ["it is NOT on record"]
        return "\n".join(told)

    async def _resume(self, user: int, person: Person, rest: str) -> str:
        if rest.isascii() and rest.isdigit():
            return await self._confirm(user, person, rest)
        scope, reason = _scope_of(rest, "")
        needed = Role.OPERATOR if scope.partition(":")[0] in OPERATOR_RELEASES else Role.ADMIN
        if person.role < needed:
            return self._refused(person, "ess.release", scope, needed)
        check_scope(scope)
        stop = self._latch.stop_of(scope)
        if stop.level is EssLevel.CLEAR:
            return f"{scope} is clear, nothing was changed"
        if not reason:
            return f"NOT done: a release needs a reason: /resume {scope} REASON"
        code = f"{secrets.randbelow(1_000_000):06}"
        self._resumes[user] = _Resume(code, scope, stop.epoch, reason, self._clock.monotonic() + CODE_LASTS_S)
        self._tries[user] = 0
        return (
            f"now: {stop.level.name} ({scope}) by {stop.actor}: {stop.reason}\n"
            f"To let orders pass again, within two minutes: /resume {code}"
        )

    async def _confirm(self, user: int, person: Person, code: str) -> str:
        waiting = self._resumes.get(user)
        if waiting is None or self._clock.monotonic() >= waiting.until_s:
            self._resumes.pop(user, None)
            return "NOT done: nothing waits for a number; begin with /resume REASON"
        if not secrets.compare_digest(code, waiting.code):
            self._tries[user] += 1
            if self._tries[user] >= TRIES_MAX:
                del self._resumes[user]
            return "NOT done: this is not the number"
        del self._resumes[user]
        told = {"actor": person.name, "act": "ess.release", "scope": waiting.scope, "reason": waiting.reason}
        await self._audit.durable(self._audit.append(admin_record(**told, result="requested", peer="telegram")))
        try:
            done = await self._releases.release(
                scope=waiting.scope, actor=person.name, reason=waiting.reason, expected_epoch=waiting.epoch,
                credential=f"person:{person.name.casefold()}",
            )  # fmt: skip
        except ProxyError as error:
            self._record(**told, result=f"refused: {error}")
            raise
        if isinstance(done, Asked):
            self._record(**told, result="asked for; a second person has to confirm")
            return f"asked for. A second person has to release {waiting.scope} too, until {done.until:%H:%M:%S} UTC"
        self._record(**told | {"actor": done.actor}, result="done")
        return f"{waiting.scope} is released"

    def _check_known(self, scope: str) -> None:
        check_scope(scope)
        if (wrong := self._scopes.wrong_with(scope)) is not None:
            raise ProxyError(wrong)

    def _refused(self, person: Person, act: str, scope: str, needed: Role) -> str:
        sentence = f"{person.name} is {person.role.word}; this needs {needed.word}"
        self._record(actor=person.name, act=act, scope=scope, reason=sentence, result="refused")
        return f"NOT done: {sentence}"

    def _record(self, **told: Any) -> bool:  # noqa: ANN401 - the fields of a record
        try:
            self._audit.append(admin_record(**told, peer="telegram"))
        except AuditError as error:  # the act stands and its answer says that it is not on record
            log.error("audit.unavailable", error=str(error), act=told["act"])
            return False
        return True


def _read(message: Any) -> tuple[int, str, str, int]:  # noqa: ANN401 - as it came
    """Sender, kind of chat, text and instant of a message; KeyError or TypeError if it has none."""
    user, kind, text, sent_s = message["from"]["id"], message["chat"]["type"], message["text"], message["date"]
    if not (isinstance(user, int) and isinstance(text, str) and isinstance(sent_s, int)):
        raise TypeError("not a text of a person")
    return user, str(kind), text, sent_s


def _scope_of(rest: str, reason: str) -> tuple[str, str]:
    """The scope where one is stated, and the reason; without one it is everything."""
    first, _, more = rest.strip().partition(" ")
    if first == GLOBAL or ":" in first:
        return first, more.strip() or reason
    return GLOBAL, rest.strip() or reason


def _shown(status: Mapping[str, Any]) -> str:
    stops = [
        f"{stop['level'].upper()} ({stop['scope']}) by {stop['actor']}: {stop['reason']}"
        for stop in status["stops"]
        if stop["level"] != "clear"
    ]
    accounts = [
        f"{name}: {one['state']}, equity {one['equity'] or 'not known'}" for name, one in status["accounts"].items()
    ]
    return "\n".join([f"{status['state'].upper()}, {'ready' if status['ready'] else 'NOT READY'}", *stops, *accounts])

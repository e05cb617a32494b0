"""The emergency stop's endpoints. Engaging works when everything else fails; releasing needs everything.

Anybody may stop what is theirs: an operator anything, a bot with its own key its own strategy or account.
Only operators release, and two of them where a person had stopped everything.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiohttp import web

from proxy.admin.acts import intend, note
from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import BotEngageBody, EngageBody, ReleaseBody, read_body
from proxy.admin.guard import BOT_ENGAGE, FAILURES_MAX, Failures
from proxy.admin.parts import AdminParts
from proxy.admin.roles import CREDENTIAL, release_allowed
from proxy.errors import CallerUnknown, ProxyError
from proxy.ess import check_scope
from proxy.ess_release import Asked, Releases
from proxy.identity import Bot
from proxy.strangers import Strangers
from rules import EssLevel, Stop
from rules.ess import scoped

log = structlog.get_logger("riskgate.admin")

BOT_REPEATS_MAX = 60  # of bots that engage what is engaged, so many at once are on record, and one a second


class Stopping:
    """Shows, engages and releases the stop."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._ess = parts.ess
        self._releases = parts.releases or Releases(parts.ess, parts.clock, by_two=parts.release_by_two)
        self._failures = Failures(parts.clock)
        self._repeats = Strangers(at_once=BOT_REPEATS_MAX, per_second=1.0)

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/admin/v1/ess", self.show),
            web.post("/admin/v1/ess/engage", self.engage),
            web.post("/admin/v1/ess/release", self.release),
            web.get("/admin/v1/ess/triggers", self.triggers),
            web.post(BOT_ENGAGE, self.engage_own),
        ]

    async def show(self, _: web.Request) -> web.Response:
        """Every stop in force, the global one first, and what is being waited for."""
        recovery = self._parts.recovery
        return answer(
            {
                "epoch": self._ess.epoch,
                "durable": self._ess.durable,
                "stops": [stop_document(stop) for stop in self._ess.stops()],
                "release_asked": _asked_document(self._releases.asked),
                "recovering": {} if recovery is None else dict(recovery.waiting),
            }
        )

    async def triggers(self, _: web.Request) -> web.Response:
        """Every trigger: what it does, when it was last tried, and whether it has anything to see with."""
        found = self._parts.triggers
        return answer({"triggers": [] if found is None else found.report()})

    async def engage(self, request: web.Request) -> web.Response:
        """Latch first; then store, wait for what is on its way, record, and say how it went."""
        body = await read_body(request, EngageBody)
        return answer(
            await self.engage_for(
                request, level=body.ess_level, scope=body.scope, actor=body.actor, reason=body.reason, source="api"
            )
        )

    async def engage_own(self, request: web.Request) -> web.Response:
        """The same for a bot, which says with its own key who it is, and stops nothing but its own.

        One that names none of its strategies stops all of them; the answer tells of its own one.
        """
        bot = self.bot_of(request, act="ess.engage")
        body = await read_body(request, BotEngageBody)
        if body.scope == "account":
            return answer(await self._engage_own(request, bot, body, scoped("account", bot.account.name)))
        if body.strategy is not None and body.strategy not in bot.callers:
            known = ", ".join(sorted(bot.callers))
            raise Problem(422, f"bot {bot.name} trades for no {body.strategy[:64]!r}; expected one of: {known}")
        names = bot.strategies if body.strategy is None else (body.strategy,)
        # All latch before the first of them waits for its disk, and what one could not do keeps no other from it.
        engaged = await asyncio.gather(
            *(self._engage_own(request, bot, body, scoped("strategy", name)) for name in names),
            return_exceptions=True,
        )
        for one in engaged:
            if isinstance(one, BaseException):
                raise one
        return answer(engaged[0])

    async def _engage_own(self, request: web.Request, bot: Bot, body: BotEngageBody, scope: str) -> dict[str, Any]:
        actor, reason, held = f"bot {bot.name}", body.reason, self._ess.stop_of(scope)
        is_new = held.level < body.ess_level or self._repeats.may_record(self._parts.clock.monotonic())
        if not is_new:
            # It says again and again what holds already: engaged all the same, in the words it was engaged with,
            # so that neither the stop's file nor the record grows with a bot that is stuck.
            actor, reason = held.actor, held.reason
        return await self.engage_for(
            request, level=body.ess_level, scope=scope, actor=actor, reason=reason, source="bot", on_record=is_new
        )

    def bot_of(self, request: web.Request, *, act: str) -> Bot:
        """Whose key came. The right key always works, whoever else guesses from the same address."""
        given = request.headers.getall("X-MBX-APIKEY", [])
        key = given[0] if len(given) == 1 else None
        try:
            if self._parts.identities is not None:
                return self._parts.identities.of(key)
        except CallerUnknown:
            pass  # refused below, as if there were no bots at all
        source = request.remote or "unknown"
        wait_s = self._failures.wait_s(source)
        if wait_s > 0:
            retry = {"Retry-After": str(int(wait_s) + 1)}
            raise Problem(429, "too many unknown keys from this address", headers=retry)
        if self._failures.add(source) <= FAILURES_MAX:
            note(
                self._parts.audit, actor="unknown", act=act, result="refused", reason="unknown bot key",
                peer=request.remote or "",
            )  # fmt: skip
        raise Problem(401, "this needs one header X-MBX-APIKEY with the key of a configured bot")

    async def engage_for(
        self, request: web.Request, *, level: EssLevel, scope: str, actor: str, reason: str, source: str,
        on_record: bool = True,
    ) -> dict[str, Any]:
        """Engage for whoever asks, by whatever way; a Problem if the scope is wrong or something could not be done."""
        self._check_known(scope)
        before = stop_document(self._ess.stop_of(scope))
        engaged = await self._ess.engage(level=level, scope=scope, actor=actor, reason=reason, source=source)
        stop = stop_document(engaged.stop)
        audited = on_record and note(
            self._parts.audit,
            peer=request.remote or "",
            actor=actor or engaged.stop.actor,
            act="ess.engage",
            scope=scope,
            reason=reason,
            before=before,
            after=stop,
            result=engaged.problem or "done",
        )
        document = {
            **stop,
            "durable": engaged.durable,
            "in_flight_unanswered": engaged.in_flight_unanswered,
            "unknown": engaged.unknown,
            "aborted": engaged.aborted,
            "changed": engaged.changed,
            "level_before": before["level"],
            "took_ms": round(engaged.took_ms, 3),
            "audited": audited,
        }
        if engaged.problem:
            raise Problem(500, engaged.problem, more=document)
        return document

    async def release(self, request: web.Request) -> web.Response:
        """Record the intent first: a release that cannot be recorded does not happen."""
        document = await self.release_for(request, await read_body(request, ReleaseBody))
        return answer(document, status=200 if document["released"] else 202)

    @property
    def release_asked(self) -> dict[str, object] | None:
        """The release that waits for a second person."""
        return _asked_document(self._releases.asked)

    async def release_for(self, request: web.Request, body: ReleaseBody) -> dict[str, Any]:
        """Release for a person, by whatever way, or note that a second one is needed."""
        release_allowed(request, body.scope)
        self._check_known(body.scope)
        told: dict[str, Any] = {
            "actor": body.actor,
            "act": "ess.release",
            "scope": body.scope,
            "reason": body.reason,
            "before": stop_document(self._ess.stop_of(body.scope)),
            "peer": request.remote or "",
        }
        audit = self._parts.audit
        await intend(audit, **told)
        try:
            stop = await self._releases.release(
                scope=body.scope,
                actor=body.actor,
                reason=body.reason,
                expected_epoch=body.expected_epoch,
                credential=request.get(CREDENTIAL, ""),
            )
        except ProxyError as error:
            note(audit, **told, result=f"refused: {error}")
            raise
        if isinstance(stop, Asked):
            note(audit, **told, result="asked for; a second person has to confirm")
            return {"released": False, **(_asked_document(stop) or {})}
        document = {"released": True, **stop_document(stop)}
        audited = note(audit, **told | {"actor": stop.actor, "result": "done", "after": document})
        return {**document, "durable": True, "audited": audited}

    def _check_known(self, scope: str) -> None:
        """A stop for an account that does not exist would stop nothing and look as if it did."""
        check_scope(scope)
        wrong: str | None = None
        kind, _, name = scope.partition(":")
        if self._parts.scopes is not None:
            wrong = self._parts.scopes.wrong_with(scope)
        elif kind == "account" and name not in self._parts.accounts:
            wrong = f"there is no account {name[:64]!r}; known: {', '.join(sorted(self._parts.accounts)) or 'none'}"
        if wrong is not None:
            raise Problem(422, f"{wrong}. Nothing was changed")


def stop_document(stop: Stop) -> dict[str, object]:
    """A stop as the API shows it."""
    return {
        "level": stop.level.name.lower(),
        "scope": stop.scope,
        "reason": stop.reason,
        "actor": stop.actor,
        "source": stop.source,
        "since": stop.since,
        "epoch": stop.epoch,
        "by_person": stop.by_person,
        "expires_s": stop.expires_s,
    }


def _asked_document(asked: Asked | None) -> dict[str, object] | None:
    """A release that waits for a second person."""
    if asked is None:
        return None
    return {
        "scope": asked.scope,
        "epoch": asked.epoch,
        "asked_by": asked.actor,
        "reason": asked.reason,
        "until": asked.until,
        "detail": "a person stopped everything: a second person has to release it too, by another name",
    }

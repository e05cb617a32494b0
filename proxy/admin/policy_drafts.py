"""Drafts: policies that are proposed, compared with the one in force, and put in force now, later or never.

A draft is a whole document and the revision that it was made on. It is published only onto that revision:
what others changed since is never undone unseen. Drafts are files of this proxy, one for each, so that they
and their hours survive a restart; what is in force is in the store alone.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import structlog
from aiohttp import web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import POLICY_BYTES_MAX, DraftBody, PublishBody, read_body
from proxy.admin.parts import AdminParts
from proxy.admin.policy_changes import PolicyChanges, Wanted, differences, shown
from proxy.admin.roles import PERSON
from proxy.audit import admin_record
from proxy.errors import AuditError, PolicyInvalid, StoreError
from proxy.loosening import loosened
from proxy.stores.base import StoredPolicy, merged, validated
from proxy.stores.changes import document
from rules.profile import warnings

log = structlog.get_logger("riskgate.admin")

DRAFTS_MAX = 100
LOOK_EVERY_S = 0.25
_ID = re.compile(r"[a-f0-9]{16}")
OPEN, SCHEDULED, FAILED = "open", "scheduled", "failed"
SCHEDULED_TOKEN = "scheduled_token"  # noqa: S105 - whose it is, not what it is; kept and not shown

Draft = dict[str, Any]


class Drafts:
    """Drafts by their id, in a folder where there is one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._kept: dict[str, Draft] = {}
        if folder is not None and folder.is_dir():
            for file in sorted(folder.glob("*.json")):
                self._load(file)

    def _load(self, file: Path) -> None:
        try:
            draft = orjson.loads(file.read_bytes())
            is_ours = bool(_ID.fullmatch(file.stem)) and draft["id"] == file.stem
            is_ours = is_ours and {"created_at", "status", "policy", "base_revision"} <= draft.keys()
        except (OSError, ValueError, KeyError, TypeError) as error:
            # A draft binds nobody: one that cannot be read is left where it is, and said.
            log.error("policy.draft_unreadable", file=file.name, error=str(error))
            return
        if is_ours:
            self._kept[file.stem] = draft

    def all(self) -> list[Draft]:
        """Every draft, the oldest first."""
        return sorted(self._kept.values(), key=lambda draft: str(draft["created_at"]))

    def get(self, name: str) -> Draft:
        """One draft, or 404."""
        if name not in self._kept:
            raise Problem(404, f"there is no draft {name[:32]!r}")
        return self._kept[name]

    def is_kept(self, draft: Draft) -> bool:
        """Whether this very draft is still there: neither deleted nor changed since."""
        return self._kept.get(draft["id"]) is draft

    async def keep(self, draft: Draft) -> None:
        """Keep a draft, new or changed; on disk before it is answered, and in a thread, as a disk may be slow."""
        if draft["id"] not in self._kept and len(self._kept) >= DRAFTS_MAX:
            raise Problem(409, f"there are {DRAFTS_MAX} drafts; delete some first")
        if self._folder is not None:
            await asyncio.to_thread(_written, self._folder, draft)
        self._kept[draft["id"]] = draft

    async def failed(self, draft: Draft, problem: str) -> None:
        """Try a draft no more, also where that cannot be written down."""
        changed = draft | {"status": FAILED, "problem": problem}
        self._kept[draft["id"]] = changed
        if self._folder is not None:
            await asyncio.to_thread(_written, self._folder, changed)

    def drop(self, name: str) -> None:
        """Forget a draft. One whose file stays is found again by the next start, stale by then."""
        self._kept.pop(name, None)
        if self._folder is None:
            return
        try:
            (self._folder / f"{name}.json").unlink(missing_ok=True)
        except OSError as error:
            log.error("policy.draft_file_stays", draft=name, error=str(error))


def _written(folder: Path, draft: Draft) -> None:
    """Whole under another name first: a crash leaves no half draft."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / f".{draft['id']}.{secrets.token_hex(4)}"
    try:
        with temporary.open("xb") as file:
            file.write(orjson.dumps(draft))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / f"{draft['id']}.json")
    except OSError as error:
        raise Problem(507, f"the draft cannot be kept: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


class DraftRoutes:
    """Creates, shows, compares, publishes and deletes drafts; puts scheduled ones in force at their hour."""

    def __init__(self, parts: AdminParts, changes: PolicyChanges) -> None:
        self._parts = parts
        self._changes = changes
        self._drafts = Drafts(parts.drafts_dir)
        # Publishing, scheduling and deleting wait for the disk and the store: one after the other, so that nothing
        # is put in force once its deletion was answered.
        self._turn = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        one = "/api/v2/policy/drafts/{id}"
        return [
            web.get("/api/v2/policy/drafts", self.listed),
            web.post("/api/v2/policy/drafts", self.create),
            web.get(one, self.show),
            web.delete(one, self.delete),
            web.get(f"{one}/diff", self.diff),
            web.post(f"{one}/publish", self.publish),
        ]

    async def listed(self, _: web.Request) -> web.Response:
        """Every draft without its document, the oldest first."""
        return answer({"drafts": [_short(draft) for draft in self._drafts.all()]})

    async def create(self, request: web.Request) -> web.Response:
        """Propose changes to the policy in force, or a whole policy; nothing is in force by it."""
        body = await read_body(request, DraftBody, bytes_max=POLICY_BYTES_MAX)
        if (body.changes is None) is (body.policy is None):
            raise Problem(422, "found both or neither of changes and policy, expected one of them")
        stored = await self._parts.store.get()

        def made() -> dict[str, Any]:
            changes = body.changes
            given = body.policy if changes is None else merged(document(stored.policy), changes)
            return document(validated(given))

        try:
            policy = await asyncio.to_thread(made)
        except PolicyInvalid as error:
            raise Problem(422, str(error), more={"problems": list(error.problems)}) from None
        draft: Draft = {
            "id": secrets.token_hex(8),
            "status": OPEN,
            "base_revision": stored.revision,
            "created_at": self._parts.clock.now().isoformat(),
            "created_by": body.updated_by,
            "reason": body.reason,
            "policy": policy,
        }
        record = admin_record(
            actor=body.updated_by, act="policy.draft_create", reason=body.reason, after=_short(draft), result="kept",
            peer=request.remote or "",
        )  # fmt: skip
        await self._parts.audit.durable(self._parts.audit.append(record))
        await self._drafts.keep(draft)
        compared = await self._compared(draft)
        return answer(_short(draft) | compared, status=201, headers={"Location": f"{request.path}/{draft['id']}"})

    async def show(self, request: web.Request) -> web.Response:
        """A draft with its document."""
        draft = self._drafts.get(request.match_info["id"])
        return await asyncio.to_thread(lambda: answer(_short(draft) | {"policy": draft["policy"]}))

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a draft; a scheduled one is not put in force then."""
        audit, person = self._parts.audit, request[PERSON]
        async with self._turn:
            draft = self._drafts.get(request.match_info["id"])
            told: dict[str, Any] = {
                "actor": person.name, "act": "policy.draft_delete", "before": _short(draft),
                "peer": request.remote or "",
            }  # fmt: skip
            await audit.durable(audit.append(admin_record(**told, result="deleted")))
            self._drafts.drop(draft["id"])
        log.info("policy.draft_deleted", draft=draft["id"], status=draft["status"], actor=person.name)
        return answer(_short(draft) | {"status": "deleted"})

    async def diff(self, request: web.Request) -> web.Response:
        """What publishing would change, and what it would loosen; `stale` once somebody changed the policy since."""
        draft = self._drafts.get(request.match_info["id"])
        return answer(_short(draft) | await self._compared(draft))

    async def _compared(self, draft: Draft) -> dict[str, object]:
        stored = await self._parts.store.get()
        now = self._parts.clock.now()

        def compared() -> dict[str, object]:
            policy = validated(draft["policy"])
            return {
                "revision": stored.revision,
                "stale": stored.revision != draft["base_revision"],
                "changes": differences(stored.policy, policy),
                "looser": loosened(stored.policy, policy, now),
                "warnings": warnings(policy),
            }

        return await asyncio.to_thread(compared)

    async def publish(self, request: web.Request) -> web.Response:
        """Put a draft in force, now or at `effective_at`."""
        draft = self._drafts.get(request.match_info["id"])
        body = await read_body(request, PublishBody)
        wanted = Wanted.by(request, "policy.publish", updated_by=body.updated_by, reason=body.reason)
        if body.effective_at is not None:
            at = _instant(body.effective_at)
            if at > self._parts.clock.now():
                return await self._scheduled(draft, wanted, at, request[PERSON].token_id)
        stored = await self._published(draft, wanted)
        return await shown(stored)

    async def _scheduled(self, draft: Draft, wanted: Wanted, at: datetime, token_id: str) -> web.Response:
        """Write down the hour; who wanted it is on record now, as the change will be then."""
        audit = self._parts.audit
        told: dict[str, Any] = {
            "actor": wanted.updated_by, "act": "policy.schedule", "reason": wanted.reason, "peer": wanted.peer,
            "before": draft["base_revision"], "after": {"draft": draft["id"], "effective_at": at.isoformat()},
        }  # fmt: skip
        async with self._turn:
            self._check_kept(draft)
            await audit.durable(audit.append(admin_record(**told, result="scheduled")))
            draft = draft | {
                "status": SCHEDULED, "effective_at": at.isoformat(), "scheduled_by": wanted.updated_by,
                "publish_reason": wanted.reason, SCHEDULED_TOKEN: token_id,
            }  # fmt: skip
            await self._drafts.keep(draft)
        return answer(_short(draft), status=202)

    async def _published(self, draft: Draft, wanted: Wanted) -> StoredPolicy:
        async with self._turn:
            self._check_kept(draft)
            stored = await self._changes.change(
                wanted, lambda _: validated(draft["policy"]), expected_revision=draft["base_revision"]
            )
            self._drafts.drop(draft["id"])
        return stored

    async def _check_scheduler(self, draft: Draft) -> None:
        """Whose token was taken back loosens nothing any more, whatever was scheduled before."""
        access, token_id = self._parts.access, draft.get(SCHEDULED_TOKEN, "")
        if access is None or not token_id or not access.is_taken_back(token_id):
            return
        stored, now = await self._parts.store.get(), self._parts.clock.now()

        def looser() -> list[str]:
            try:
                return loosened(stored.policy, validated(draft["policy"]), now)
            except PolicyInvalid:
                return []  # it is refused for that

        if found := await asyncio.to_thread(looser):
            raise Problem(
                409, f"the token of {draft['scheduled_by']}, who scheduled it, was revoked, and it would loosen "
                f"{len(found)} limits: somebody else has to publish it"
            )  # fmt: skip

    def _check_kept(self, draft: Draft) -> None:
        if not self._drafts.is_kept(draft):
            raise Problem(409, "the draft was deleted or changed meanwhile; nothing was changed")

    async def watch(self) -> None:
        """Put scheduled drafts in force at their hour, also those whose hour passed while nothing ran."""
        while True:
            now = self._parts.clock.now()
            for draft in self._drafts.all():
                try:
                    if draft["status"] == SCHEDULED and _instant(draft["effective_at"]) <= now:
                        await self._due(draft)
                except Exception as error:  # noqa: BLE001 - one draft must not keep the others from their hour
                    log.error("policy.draft_failed", draft=draft["id"], error=repr(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _due(self, draft: Draft) -> None:
        wanted = Wanted(
            act="policy.publish", updated_by=draft["scheduled_by"], reason=draft["publish_reason"], peer="",
            trace_id=draft["id"],
        )  # fmt: skip
        try:
            await self._check_scheduler(draft)
            stored = await self._published(draft, wanted)
        except (StoreError, AuditError) as error:
            # The store or the record is away: it is tried again until it is back.
            log.error("policy.draft_waits", draft=draft["id"], error=str(error))
        except Problem as problem:
            # Somebody changed the policy since: a person has to look; what is in force stays.
            log.error("policy.draft_not_published", draft=draft["id"], error=problem.detail)
            if self._drafts.is_kept(draft):
                await self._drafts.failed(draft, problem.detail)
        else:
            log.info("policy.draft_published", draft=draft["id"], revision=stored.revision)


def _short(draft: Draft) -> dict[str, object]:
    return {name: value for name, value in draft.items() if name not in ("policy", SCHEDULED_TOKEN)}


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        expected = "an instant with its offset, like '2026-01-31T18:00:00Z'"
        raise Problem(422, f"effective_at: found {text!r}, expected {expected}")
    return at.astimezone(UTC)

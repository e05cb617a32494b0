"""What the console shows of actions, and what its forms begin: cancel everything, flatten, drill.

Each form names what it is for, and has that name confirmed: an action on the wrong account cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.accounts import Accounts
from proxy.actions import Kind
from proxy.actions.results import RunState
from proxy.admin.actions import ActionRoutes
from proxy.admin.answers import Problem
from proxy.admin.parts import AdminParts
from proxy.admin.sessions import Session
from rules.ess import GLOBAL, parts_of, scoped

EVERYTHING = "everything"


class ActionPages:
    """What the pages hold, and what becomes of their forms."""

    def __init__(self, parts: AdminParts, actions: ActionRoutes) -> None:
        self._parts = parts
        self._actions = actions

    # -- shown

    def choice(self, asked: str) -> dict[str, Any]:
        """The forms for what was chosen; with one account there is nothing to choose."""
        places = self._places()
        scope = asked if asked in places else ""
        if asked and not scope:
            raise Problem(404, f"there is nothing to act on under {asked[:64]!r}")
        if not scope and len(self._parts.accounts) == 1:
            scope = scoped("account", next(iter(self._parts.accounts)))
        return {
            "places": places, "scope": scope, "word": word_of(scope) if scope else "",
            "accounts": [self._account(name) for name in self._accounts_under(scope)],
        }  # fmt: skip

    def listed(self) -> list[dict[str, Any]]:
        """Every action that is remembered, without what it did."""
        return self._actions.all()

    def unfinished(self) -> list[dict[str, Any]]:
        """Actions that run, and those that wait for a person and were not begun again since."""
        newest: dict[tuple[str, str], dict[str, Any]] = {}
        for job in () if self._parts.actions is None else self._parts.actions.jobs:
            newest[job.kind.value, job.scope] = {
                "id": job.id, "kind": job.kind.value, "scope": job.scope, "state": job.state.value,
            }  # fmt: skip
        return [one for one in newest.values() if one["state"] != RunState.DONE]

    def one(self, action_id: str) -> dict[str, Any]:
        """One action, with how far each account's part is."""
        found = self._actions.one(action_id)
        for run in found.get("accounts", ()):
            orders, positions = run["orders"], run["positions"]
            run["orders_over"] = sum(one["state"] != "working" for one in orders)
            run["positions_over"] = sum(one["state"] != "open" for one in positions)
        return found

    def _places(self) -> dict[str, str]:
        """What can be acted on, and what it is called."""
        names = sorted(self._parts.accounts)
        exchanges = sorted(self._parts.scopes.names("exchange")) if self._parts.scopes is not None else []
        found = {scoped("account", name): f"account {name}" for name in names}
        if len(names) > 1:
            found |= {scoped("exchange", name): f"all accounts at {name}" for name in exchanges}
            found[GLOBAL] = "all accounts"
        return found

    def _accounts_under(self, scope: str) -> tuple[str, ...]:
        return self._parts.scopes.accounts_under(scope) if scope and self._parts.scopes is not None else ()

    def _account(self, name: str) -> dict[str, Any]:
        """What an account holds as far as that is known, and whether the proxy can act for it."""
        views: Accounts | None = self._parts.account_views
        view = views.one(name) if views is not None and name in views.names else None
        actions = self._parts.actions
        held = [] if view is None else view["positions"]
        return {
            "name": name,
            "can_act": actions is not None and actions.can_act_for(name),
            "working": None if view is None else view["orders"]["working_count"],
            "positions": [one for one in held if any((one["quantity"], one["long"], one["short"]))],
        }

    # -- begun; each returns the action's name

    async def cancel_all(self, form: Mapping[str, str], session: Session) -> str:
        """Engage REDUCE_ONLY unless something as strict holds, then cancel."""
        return await self._begin(Kind.CANCEL_ALL, form, session)

    async def flatten(self, form: Mapping[str, str], session: Session) -> str:
        """Engage HALT unless it holds, then cancel and close."""
        return await self._begin(Kind.FLATTEN, form, session)

    async def drill(self, form: Mapping[str, str], session: Session) -> str:
        """Try it all before an exchange that exists for a moment."""
        self._named(form, session)
        return str(self._actions.begin_drill(session.actor)["id"])

    async def _begin(self, kind: Kind, form: Mapping[str, str], session: Session) -> str:
        scope, reason = form.get("scope", ""), form.get("reason", "")
        if scope not in self._places():
            raise Problem(422, f"there is nothing to act on under {scope[:64]!r}. Nothing was sent")
        self._named(form, session)
        if not reason:
            raise Problem(422, "this needs a reason. Nothing was sent")
        if (given := form.get("confirm", "")) != (word := word_of(scope)):
            raise Problem(
                422, f"to confirm, {word!r} has to be given exactly, found {given[:64]!r}. Nothing was sent"
            )
        job = await self._actions.begin(
            kind, scope=scope, actor=session.actor, reason=reason, spot=kind is Kind.FLATTEN and "spot" in form
        )
        return job.id

    def _named(self, form: Mapping[str, str], session: Session) -> None:
        """Who acts; asked for where the token is nobody's own."""
        if not (form.get("name") or session.own_name):
            raise Problem(422, "this needs your name. Nothing was sent")
        session.name = form.get("name") or session.name


def word_of(scope: str) -> str:
    """What a person has to give to confirm that this scope is meant."""
    kind, name = parts_of(scope)
    return EVERYTHING if kind == GLOBAL else name

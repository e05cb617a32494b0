"""Accounts: what they hold and may still do, how large an order could be, and settling an order of unknown fate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import structlog
from aiohttp import web

from proxy.accounts import Accounts
from proxy.admin.acts import intend, keep, note
from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import SettleBody, read_body
from proxy.admin.parts import AdminParts
from proxy.reservations import Outcome
from rules import Bucket, Caller, Market, Order, OrderType, Side

log = structlog.get_logger("riskgate.admin")

ASKED = frozenset({
    "account", "symbol", "side", "strategy", "market", "type", "price", "bucket", "bot", "confidence",
})  # fmt: skip
TYPES = {"market": OrderType.MARKET, "limit": OrderType.LIMIT}
ONE = Decimal(1)
TEXT_MAX = 64
# What becomes of a settled order, in the word that an outcome's record has for it.
RECORDED = {Outcome.ACCEPTED: "accepted", Outcome.FAILED: "rejected"}

Word = TypeVar("Word")


class AccountRoutes:
    """Shows accounts; and settles, on record, an order that only a person can tell the fate of."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/admin/v1/accounts", self.overview),
            web.get("/admin/v1/accounts/{name}", self.one),
            web.post("/admin/v1/accounts/{name}/settle", self.settle),
            web.get("/admin/v1/headroom", self.headroom),
        ]

    @property
    def _views(self) -> Accounts:
        if self._parts.account_views is None:
            raise Problem(503, "accounts cannot be shown: nothing reads them here")
        return self._parts.account_views

    async def overview(self, _: web.Request) -> web.Response:
        """Every account in a line, each with the limits that are nearest."""
        return answer({"accounts": self._views.overview()})

    async def one(self, request: web.Request) -> web.Response:
        """Everything of one account."""
        return answer(self._views.one(self._named(request.match_info["name"])))

    async def headroom(self, request: web.Request) -> web.Response:
        """The largest quantity now, by every rule, and the rule that binds."""
        stated = _stated(request)
        views = self._views
        account = self._named(_needed(stated, "account"))
        order = self._asked(stated, account)
        caller = Caller(
            account=account,
            exchange=views.exchange(account),
            strategy=_strategy(stated, sorted(views.strategies(account))),
            bot=stated.get("bot", ""),
            confidence=_number(stated, "confidence") if "confidence" in stated else ONE,
        )
        return answer(views.headroom(caller, order))

    async def settle(self, request: web.Request) -> web.Response:
        """Record the intent first, then settle, then record what came of it, also for a restart to find."""
        name = self._named(request.match_info["name"])
        body = await read_body(request, SettleBody)
        views, audit = self._views, self._parts.audit
        unknown = views.unknown(name, body.decision_id)
        if not unknown:
            raise Problem(404, f"account {name!r} has no order of unknown fate by that decision; nothing was changed")
        outcome = Outcome(body.outcome)
        if outcome is Outcome.FAILED and (left_s := views.unsettled_s(body.decision_id)):
            # Its room would be given away while it may still be on its way; then it would trade on top.
            found = f"the order may still arrive for {math.ceil(left_s)} s"
            raise Problem(409, f"{found}; look again then, nothing was changed")
        told: dict[str, Any] = {
            "actor": body.actor, "act": "reservation.settle", "scope": f"account:{name}", "reason": body.reason,
            "before": {"decision_id": body.decision_id, "orders": unknown}, "after": body.outcome,
            "peer": request.remote or "",
        }  # fmt: skip
        await intend(audit, **told)
        settled = views.settle(body.decision_id, outcome)
        audited = note(audit, **told, result=f"{settled} settled")
        if settled:
            record: dict[str, object] = {
                "kind": "outcome", "decision_id": body.decision_id, "outcome": RECORDED[outcome],
                "detail": f"settled by {body.actor}",
            }  # fmt: skip
            audited = keep(audit, record) and audited
        log.warning(
            "reservation.settled", decision_id=body.decision_id, account=name, outcome=body.outcome, orders=settled,
            actor=body.actor,
        )  # fmt: skip
        told = {"decision_id": body.decision_id, "outcome": body.outcome, "settled": settled, "audited": audited}
        return answer(told)

    def _named(self, name: str) -> str:
        if name not in self._views.names:
            known = ", ".join(sorted(self._views.names)) or "none"
            raise Problem(404, f"there is no account {name[:TEXT_MAX]!r}; known: {known}")
        return name

    def _asked(self, stated: Mapping[str, str], account: str) -> Order:
        """The order that is asked about: at the market, unless a price is stated."""
        side = _word(stated, "side", {one.value.lower(): one for one in Side})
        market = self._market(stated, account)
        price = _number(stated, "price") if "price" in stated else None
        kind = _word({"type": "limit" if price else "market", **stated}, "type", TYPES)
        if (kind is OrderType.LIMIT) is (price is None):
            raise Problem(422, "state a price for type=limit, and none for type=market")
        hedged = market is Market.LINEAR and self._views.is_hedged(account)
        leg = (Bucket.LONG if side is Side.BUY else Bucket.SHORT) if hedged else Bucket.BOTH
        if "bucket" in stated:
            leg = _word(stated, "bucket", {one.value.lower(): one for one in Bucket})
        return Order(
            symbol=_needed(stated, "symbol"), side=side, type=kind, market=market, quantity=ONE, price=price, bucket=leg
        )

    def _market(self, stated: Mapping[str, str], account: str) -> Market:
        markets = {one.value: one for one in sorted(self._views.markets(account))}
        if "market" not in stated and len(markets) == 1:
            return next(iter(markets.values()))
        return _word(stated, "market", markets)


def _stated(request: web.Request) -> dict[str, str]:
    """The parameters, each known and stated once."""
    names = list(request.query)
    for name in names:
        if name not in ASKED or names.count(name) > 1:
            known = ", ".join(sorted(ASKED))
            raise Problem(422, f"found the parameter {name[:TEXT_MAX]!r}, expected each once and of: {known}")
    return {name: request.query[name] for name in names}


def _needed(stated: Mapping[str, str], name: str) -> str:
    value = stated.get(name, "")
    if not 0 < len(value) <= TEXT_MAX:
        raise Problem(422, f"{name} is needed, with at most {TEXT_MAX} characters")
    return value


def _word(stated: Mapping[str, str], name: str, words: Mapping[str, Word]) -> Word:
    found = words.get(stated.get(name, "").lower())
    if found is None and name not in stated:
        raise Problem(422, f"{name} is needed here, one of {', '.join(words)}")
    if found is None:
        raise Problem(422, f"{name} is one of {', '.join(words)}, found {stated[name][:TEXT_MAX]!r}")
    return found


def _number(stated: Mapping[str, str], name: str) -> Decimal:
    text = stated[name]
    try:
        number = Decimal(text if len(text) <= TEXT_MAX and text.replace(".", "", 1).isdigit() else "")
    except InvalidOperation:
        raise Problem(422, f"{name} is a plain number, found {text[:TEXT_MAX]!r}") from None
    if number <= 0 and name == "price":
        raise Problem(422, f"{name} is above nothing, found {text!r}")
    return number


def _strategy(stated: Mapping[str, str], known: list[str]) -> str:
    """The strategy that is asked for; the account's only one need not be stated."""
    if "strategy" in stated:
        return _needed(stated, "strategy")
    if len(known) == 1:
        return known[0]
    raise Problem(422, f"strategy is one of {', '.join(known) or 'none that a bot has'}; this account has not just one")

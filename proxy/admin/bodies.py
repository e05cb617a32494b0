"""What may stand in the bodies of admin requests; anything else is refused."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, WithJsonSchema

from proxy import wire
from proxy.admin.answers import Problem
from proxy.admin.roles import PERSON
from proxy.errors import OrderNotUnderstood
from rules import EssLevel

BODY_BYTES_MAX = 16 * 1024
POLICY_BYTES_MAX = 1024 * 1024

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]
Stated = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Scope = Annotated[str, StringConstraints(max_length=80)]
Mode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EngageBody(_Body):
    """Engaging the stop: everything may be left out, so that nobody has to look anything up to halt."""

    level: Literal["halt", "reduce_only"] = "halt"
    scope: Scope = "global"
    reason: Text = ""
    actor: Text = ""

    @property
    def ess_level(self) -> EssLevel:
        """The level that was asked for."""
        return EssLevel[self.level.upper()]


class BotEngageBody(_Body):
    """A bot stopping itself: one of its strategies or all, or its whole account. Everything may be left out."""

    level: Literal["halt", "reduce_only"] = "halt"
    scope: Literal["strategy", "account"] = "strategy"
    strategy: Text | None = None
    reason: Text = ""

    @property
    def ess_level(self) -> EssLevel:
        """The level that was asked for."""
        return EssLevel[self.level.upper()]


class ReleaseBody(_Body):
    """Releasing the stop: a person, a reason, and which stop the person has seen."""

    scope: Scope
    reason: Stated
    actor: Stated
    expected_epoch: Annotated[int, Field(ge=0)]


class ModeBody(_Body):
    """Switching the active risk mode."""

    mode: Mode
    updated_by: Stated
    reason: Stated
    expected_revision: Annotated[int, Field(ge=0)] | None = None


class PolicyBody(_Body):
    """Replacing the policy: the whole document, who and why. The revision it was made on is in If-Match."""

    policy: dict[str, Any]
    updated_by: Stated
    reason: Stated


class TokenBody(_Body):
    """Handing out a token: to whom, for what role, and for how long."""

    person: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
    role: Literal["viewer", "operator", "admin"]
    expires_in: Annotated[str, StringConstraints(max_length=20)] | None = None


class EmptyBody(_Body):
    """Nothing to say: an empty object."""


class SettleBody(_Body):
    """Saying what became of a decision's orders of unknown fate: only a person who looked at the exchange can."""

    decision_id: Stated
    outcome: Literal["accepted", "failed"]
    actor: Stated
    reason: Stated


class WhoBody(_Body):
    """Who wants it, and why."""

    updated_by: Stated
    reason: Stated


class ReloadBody(_Body):
    """Reading the settings again; who and why may be left out, as whoever sends a signal leaves them out."""

    actor: Text = ""
    reason: Text = ""


class PatchBody(WhoBody):
    """Merging changes into the policy: sections by key, values and lists replaced, null removes."""

    changes: dict[str, Any]


class RollbackBody(WhoBody):
    """Bringing a revision back."""

    revision: Annotated[int, Field(ge=1)]


class PresetBody(WhoBody):
    """Applying a preset; null takes its limits off."""

    preset: Mode | None
    expected_revision: Annotated[int, Field(ge=0)] | None = None


class DraftBody(WhoBody):
    """Proposing a policy: changes to the one in force, or a whole one."""

    changes: dict[str, Any] | None = None
    policy: dict[str, Any] | None = None


class PublishBody(WhoBody):
    """Putting a draft in force, now or at an instant."""

    effective_at: Annotated[str, StringConstraints(max_length=40)] | None = None


class AliasBody(_Body):
    """What v1 may say of who and why; its clients say nothing."""

    updated_by: Stated = "api v1"
    reason: Stated = "no reason stated"


Listed = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=10_000)]


Share = Annotated[Decimal, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]


class V1PatchBody(AliasBody):
    """What v1 may change; numbers as v1 wrote them, shares as fractions."""

    risk_mode: Mode | None = None
    allowed_strategies: Listed | Literal["any"] | None = None
    allowed_symbols: Listed | Literal["any"] | None = None
    max_risk_per_trade: Share | None = None
    max_positions: int | None = None
    global_min_confidence: Share | None = None
    opp_rankings: dict[str, Share | None] | None = None
    model_versions: dict[str, str | None] | None = None

    @classmethod
    def stated_names(cls) -> list[str]:
        """What can be changed."""
        return [name for name in cls.model_fields if name not in AliasBody.model_fields]


B = TypeVar("B", bound=BaseModel)
ACTORS = ("actor", "updated_by")  # the fields that say who


async def read_body(request: web.Request, model: type[B], *, bytes_max: int = BODY_BYTES_MAX) -> B:
    """The body, strictly read: one JSON object with known keys, each once."""
    raw = await request.read()
    if not raw and issubclass(model, AliasBody):
        raw = b"{}"  # clients of v1 send no body
    if len(raw) > bytes_max:
        raise Problem(413, f"found a body of {len(raw)} bytes, expected at most {bytes_max}")
    try:
        if len(raw) > BODY_BYTES_MAX:  # reading a large one takes long: orders are judged meanwhile
            found = await asyncio.to_thread(wire.loads, raw, characters_max=bytes_max)
        else:
            found = wire.loads(raw, characters_max=bytes_max)
        return _acted(request, model, found)
    except OrderNotUnderstood as error:
        raise Problem(400, str(error)) from None
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in one['loc']) or 'body'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Problem(422, "; ".join(lines), more={"problems": lines}) from None


def _acted(request: web.Request, model: type[B], found: Any) -> B:  # noqa: ANN401 - whatever was sent
    """The body, with the person of the token as its actor: what it states adds to that, and replaces nothing.

    Who has a token of their own need not say who they are; who shares the bootstrap token has to.
    """
    person = request.get(PERSON)
    fields = [name for name in ACTORS if name in model.model_fields]
    if person is None or not fields:
        return model.model_validate(found)
    if not person.is_bootstrap and isinstance(found, dict):
        found = dict.fromkeys(fields, person.name) | found
    body = model.model_validate(found)
    return body.model_copy(update={name: person.acts_as(getattr(body, name)) for name in fields})

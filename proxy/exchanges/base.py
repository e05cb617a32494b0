"""What a venue's codec does: bytes in, instructions out; instructions in, signed bytes out.

A codec is pure: it opens no socket, reads no clock and keeps no state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

from proxy.wire import Params, WireRequest, WireResponse
from rules import Decision, Instruction, Reason


class Verb(StrEnum):
    """What a request wants, from the venue's own list of endpoints."""

    READ = "read"
    PLACE = "place"
    TEST = "test"  # judged like PLACE, reserves nothing
    AMEND = "amend"
    CANCEL = "cancel"
    MARGIN = "margin"  # leverage, margin type, position mode, position margin
    TRANSFER = "transfer"
    KEEP_ALIVE = "keep_alive"  # listen keys
    OTHER = "other"  # known, mutating, neither an order nor a transfer: refused
    UNSUPPORTED = "unsupported"  # an order on a family that is not gated yet: refused, naming the family
    UNKNOWN = "unknown"  # not on the list: refused unless it is a plain GET under a known prefix

JUDGED: Final = frozenset({Verb.PLACE, Verb.TEST, Verb.AMEND, Verb.MARGIN})
PASSED: Final = frozenset({Verb.READ, Verb.CANCEL, Verb.KEEP_ALIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A request put in its place: which family and what it wants."""

    family: str  # "/api", "/fapi", ...
    verb: Verb
    endpoint: str  # method and path as listed, e.g. "POST /fapi/v1/order"
    security: str  # "none" (public), "key" (needs the key), "signed"


@dataclass(slots=True, init=False, unsafe_hash=True)
class Parsed:
    """A request that asks for something to be judged, read once for gate, audit, rewrite and forward."""

    recognised: Final[Recognised]
    instructions: Final[tuple[Instruction, ...]]
    params: Final[Params]

    def __init__(self, *, recognised: Recognised, instructions: tuple[Instruction, ...], params: Params) -> None:
        self.recognised = recognised
        self.instructions = instructions
        self.params = params


class AnswerKind(StrEnum):
    """What a venue's answer says of an order."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # an allow-listed code: certainly not working
    UNKNOWN = "unknown"  # anything else; the reservation stays


@dataclass(slots=True, init=False, unsafe_hash=True)
class OrderState:
    """What an answer told of one order; `executed` and `remaining` in base units where stated."""

    kind: Final[AnswerKind]
    order_id: Final[str | None]
    client_order_id: Final[str | None]
    executed: Final[Decimal | None]
    remaining: Final[Decimal | None]
    finished: Final[bool]  # no longer working (filled, expired, cancelled)

    def __init__(
        self,
        *,
        kind: AnswerKind,
        order_id: str | None = None,
        client_order_id: str | None = None,
        executed: Decimal | None = None,
        remaining: Decimal | None = None,
        finished: bool = False,
    ) -> None:
        self.kind = kind
        self.order_id = order_id
        self.client_order_id = client_order_id
        self.executed = executed
        self.remaining = remaining
        self.finished = finished


@dataclass(slots=True, init=False, unsafe_hash=True)
class Answer:
    """An answer read: one state per instruction, and a pause the venue asked for (seconds)."""

    kind: Final[AnswerKind]
    orders: Final[tuple[OrderState, ...]]
    retry_after_s: Final[int | None]

    def __init__(
        self,
        *,
        kind: AnswerKind,
        orders: tuple[OrderState, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        self.kind = kind
        self.orders = orders
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A venue key: `kind` is hmac, ed25519 or rsa; the secret is the HMAC secret or a PEM private key."""

    api_key: str
    secret: bytes = field(repr=False)
    kind: str = "hmac"


class Exchange(Protocol):
    """One venue's API."""

    name: str
    families: tuple[str, ...]

    def family_of(self, path: bytes) -> str | None:
        """The family a raw path belongs to, or None."""
        ...

    def recognise(self, request: WireRequest) -> Recognised:
        """Say what a request wants, after `wire.check_head`.

        Raises OrderNotUnderstood for a head that two readers could read differently.
        """
        ...

    def api_key(self, request: WireRequest) -> str | None:
        """The key that came with the request. Raises OrderNotUnderstood if it came more than once."""
        ...

    def parse(self, request: WireRequest, recognised: Recognised) -> Parsed:
        """Read the instructions of a judged request. Raises OrderNotUnderstood, RequestTooLarge."""
        ...

    def read_params(self, request: WireRequest) -> Params:
        """Read the parameters strictly, for checks on requests that are not judged (custody signatures)."""
        ...

    def verify(self, request: WireRequest, params: Params, secret: bytes) -> None:
        """Check a bot's HMAC-SHA256 signature. Raises NotAuthentic."""
        ...

    def verify_own(self, request: WireRequest, params: Params, credentials: Credentials) -> None:
        """Check a signature that the bot made with the venue key itself. Raises NotAuthentic."""
        ...

    def timestamp_window(self, params: Params) -> tuple[int, Decimal]:
        """The request's timestamp (ms) and recvWindow (ms). Raises NotAuthentic if absent or too wide."""
        ...

    def rescale(
        self, request: WireRequest, parsed: Parsed, quantities: Sequence[Decimal | None]
    ) -> WireRequest:
        """Write smaller quantities in place; the signature is then wrong until `sign`."""
        ...

    def sign(self, request: WireRequest, credentials: Credentials) -> WireRequest:
        """Replace key header and signature. Keeps every other byte and the order of parameters."""
        ...

    def rekey(self, request: WireRequest, credentials: Credentials) -> WireRequest:
        """Replace the key header's value, for requests that carry a key and no signature."""
        ...

    def read_answer(self, parsed: Parsed, response: WireResponse) -> Answer:
        """Say what the venue did. Unparsable, unlisted and unexpected answers are UNKNOWN."""
        ...

    def signature_refused(self, response: WireResponse) -> bool:
        """Whether the venue refused a request because its signature is not its key's."""
        ...

    def refuse(
        self, recognised: Recognised | None, decision: Decision, decision_id: str, *, approval_id: str = ""
    ) -> WireResponse:
        """A block in the venue's own error shape; with the id of the approval that it waits for, if it does."""
        ...

    def refuse_plain(
        self,
        recognised: Recognised | None,
        reason: Reason,
        sentence: str,
        decision_id: str,
        *,
        status: int = 403,
        retry_after_s: int | None = None,
    ) -> WireResponse:
        """A refusal without a decision of the rulebook: not understood, unknown key, transfer, unknown endpoint."""
        ...

    def outcome_unknown(self, decision_id: str) -> WireResponse:
        """The answer when bytes left and nothing came back."""
        ...

    def not_sent(self, sentence: str, decision_id: str) -> WireResponse:
        """The answer when the venue could not be reached and nothing was sent."""
        ...


Hosts = Mapping[str, str]  # family -> upstream origin

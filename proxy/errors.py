"""The exceptions, by who has to act.

    ProxyError                    never raised itself
    ├─ ConfigError                start-up only; exit code 2; says file, key, found, expected
    ├─ CallerError                the bot must change its request
    │  ├─ CallerUnknown           no bot or account has this key
    │  ├─ NotAuthentic            signature, timestamp window or replay
    │  ├─ OrderNotUnderstood      could be read two ways, or not at all; never forwarded
    │  └─ RequestTooLarge         over a stated size
    ├─ StoreError                 the operator must look
    │  ├─ StoreUnavailable        last known good within its age, then block
    │  ├─ ProfileNotFound         block
    │  ├─ RevisionConflict        the second writer is told
    │  ├─ RevisionNotFound        the history has no such revision
    │  ├─ PolicyInvalid           the writer is told, line by line; nothing changed
    │  └─ StoredDataInvalid       block; never a default in its place
    ├─ UpstreamError              after an allow
    │  ├─ UpstreamUnreachable     certainly not sent
    │  ├─ UpstreamSilent          may have been accepted; the reservation stays
    │  └─ LastLookRefused         the emergency stop was engaged before the first byte
    ├─ SigningError               a scaled order cannot be signed: block
    └─ AuditError                 what cannot be recorded is not sent

A refused order is a `rules.Decision`, not an exception. Messages name what was found and
what was expected and never carry a secret.
"""

from __future__ import annotations

from rules import Reason


class ProxyError(Exception):
    """Base of all; `status` and `reason` say what a caller is answered."""

    status: int = 503
    reason: Reason = Reason.RULE_FAILED


class ConfigError(ProxyError):
    """Settings that cannot be used; the process does not start."""


class CallerError(ProxyError):
    """The bot must change its request; nothing was sent."""

    status = 403
    reason = Reason.ORDER_NOT_UNDERSTOOD


class CallerUnknown(CallerError):
    """No account lists the key that came with the request."""

    reason = Reason.KEY_UNKNOWN


class NotAuthentic(CallerError):
    """A signature that does not verify, a timestamp outside its window, or a replay."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OrderNotUnderstood(CallerError):
    """The request could be read in two ways, or in none."""

    def __init__(self, message: str, reason: Reason = Reason.ORDER_NOT_UNDERSTOOD, status: int = 403) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class RequestTooLarge(CallerError):
    """More bytes or parameters than an order can need."""

    status = 413


class StoreError(ProxyError):
    """The policy store could not answer; the operator must look."""

    reason = Reason.POLICY_UNAVAILABLE


class StoreUnavailable(StoreError):
    """The store did not answer in time."""


class ProfileNotFound(StoreError):
    """A named profile does not exist."""


class RevisionConflict(StoreError):
    """Somebody else changed the policy first."""

    status = 409


class RevisionNotFound(StoreError):
    """The policy's history has no such revision."""

    status = 404


class PolicyInvalid(StoreError):
    """A proposed policy that cannot be used; `problems` has one line per error. Nothing changed."""

    status = 422

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (message,)


class StoredDataInvalid(StoreError):
    """What is stored cannot be trusted; no default takes its place."""


class UpstreamError(ProxyError):
    """Something happened after an allow."""


class UpstreamUnreachable(UpstreamError):
    """No connection could be made; certainly nothing was sent."""

    status = 503


class UpstreamSilent(UpstreamError):
    """Bytes left and no usable answer came back; the order may live at the venue."""

    status = 504


class LastLookRefused(UpstreamError):
    """The last look before the first byte found the emergency stop engaged; nothing was sent."""

    status = 403
    reason = Reason.ESS_TRADING_HALT_ACTIVE


class SigningError(ProxyError):
    """No usable key to sign with."""

    status = 403
    reason = Reason.RESIGN_UNAVAILABLE


class AuditError(ProxyError):
    """A decision could not be recorded; what cannot be recorded is not sent."""

    reason = Reason.AUDIT_UNAVAILABLE

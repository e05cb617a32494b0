"""What people do, on record: that it is wanted, before it is done; and what came of it, after."""

from __future__ import annotations

from typing import Any

import structlog

from proxy.audit import Audit, admin_record
from proxy.errors import AuditError

log = structlog.get_logger("riskgate.admin")


async def intend(audit: Audit, *, result: str = "requested", **told: Any) -> None:  # noqa: ANN401 - a record's fields
    """What cannot be recorded does not happen: return once the intent is on disk, or raise AuditError."""
    await audit.durable(audit.append(admin_record(**told, result=result)))


def note(audit: Audit, **told: Any) -> bool:  # noqa: ANN401 - a record's fields
    """What became of an act; whether that is on record."""
    return keep(audit, admin_record(**told))


def keep(audit: Audit, record: dict[str, object]) -> bool:
    """A record of something that is done already; whether it could be kept."""
    try:
        audit.append(record)
    except AuditError as error:  # the act stands, and whoever asked is told that it is not on record
        log.error("audit.unavailable", error=str(error), act=record.get("act", record["kind"]))
        return False
    return True

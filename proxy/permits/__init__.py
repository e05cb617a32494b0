"""What people let through once: approvals of large orders, and overrides of limits in an emergency.

A permit is bound to one order by its fingerprint, lasts minutes, and is spent before the order is sent: on disk,
so that no restart makes it good again. docs/overrides.md tells people, ADR 15 says why it is as it is.
"""

from proxy.permits.desk import Permits, PermitSettings
from proxy.permits.fingerprint import fingerprint_of
from proxy.permits.permit import (
    Kind,
    Permit,
    PermitNotStored,
    PermitRefused,
    PermitUnknown,
    Signer,
    State,
)

__all__ = [
    "Kind", "Permit", "PermitNotStored", "PermitRefused", "PermitSettings", "PermitUnknown", "Permits", "Signer",
    "State", "fingerprint_of",
]

"""What the proxy remembers: an append-only, hash-chained record of every decision.

A record is one line of JSON in a segment file (`audit-000001.jsonl`, ...):

    {"seq":7,"at":"...","prev":"<hash of record 6>","kind":"decision",...,"hash":"<hash>"}

`hash` is SHA-256 over the previous hash and the bytes of the line without its hash, so a
changed, lost, added or moved line breaks the chain at that place. What is cut off at the
end breaks no chain; it is found against the anchor, a small file with the last sequence
and hash that were surely on disk, against the head the running process remembers, and against
anchors that were left elsewhere, which also find a chain that was rebuilt from its beginning.
A record survives `kill -9` when `append` has returned and power loss when `durable` has.
"""

from __future__ import annotations

from proxy.audit.anchors import AnchorFolder, Anchoring, AnchorPlace, check_start, document_of, read_anchors
from proxy.audit.chain import (
    BEGINNING,
    Anchor,
    Head,
    Verification,
    find,
    newest,
    read,
    read_anchor,
    since,
    verify,
)
from proxy.audit.records import admin_record, decision_record, instruction_record
from proxy.audit.retention import Retention
from proxy.audit.writer import Audit

__all__ = [
    "Anchor", "AnchorFolder", "AnchorPlace", "Anchoring", "Audit", "BEGINNING", "Head", "Retention", "Verification",
    "check_start", "document_of", "read_anchors",
    "admin_record", "decision_record", "instruction_record",
    "find", "newest", "read", "read_anchor", "since", "verify",
]

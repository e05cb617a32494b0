"""Anchors: heads of the chain, left every minute where whoever can write the audit cannot.

Who can write to the audit's folder and knows its form can rebuild the whole chain, `anchor.json` included. What
he cannot change is what was told elsewhere before: a line in a folder of another machine, a log that is shipped,
a message to a webhook. `verify` holds the chain against those.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
import structlog

from proxy.audit.aside import Aside
from proxy.audit.chain import Anchor, hash_of, sync_directory
from proxy.audit.writer import Audit
from proxy.clock import Clock
from proxy.errors import AuditError, ProxyError

log: Final = structlog.get_logger("riskgate.audit")

EVERY_S: Final = 60.0
PLACE_TIMEOUT_S: Final = 10.0
LOG: Final = "log"
EVENT: Final = "audit.anchored"


class AnchorPlace(Protocol):
    """Somewhere else, where anchors are left."""

    name: str

    async def leave(self, anchor: Anchor) -> None:
        """Leave one; raises OSError or ProxyError where that failed."""
        ...


class AnchorFolder:
    """Anchors as lines of a file a month, in a folder that is best on another machine."""

    name = "folder"

    def __init__(self, directory: Path, *, secret: bytes | None = None) -> None:
        self._directory = directory
        self._secret = secret
        self._aside = Aside("audit-anchor")
        self._is_busy = False

    async def leave(self, anchor: Anchor) -> None:
        """Append a line and bring it to disk."""
        if self._is_busy:
            raise AuditError("its disk does not answer")
        self._is_busy = True
        await self._aside.run(partial(self._append_one, anchor))

    def close(self) -> None:
        """End; what hangs is left behind."""
        self._aside.close()

    def _append_one(self, anchor: Anchor) -> None:
        try:
            self._append(anchor)
        finally:
            self._is_busy = False

    def _append(self, anchor: Anchor) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"anchors-{anchor.at[:7]}.jsonl"
        is_new = not path.exists()
        line = orjson.dumps(document_of(anchor, self._secret)) + b"\n"
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last one was cut off; it is no anchor, and must not spoil this one
            if os.write(descriptor, line) != len(line):
                raise OSError("the line did not fit")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_directory(self._directory)

    def newest(self) -> Anchor | None:
        """The anchor that was left last; None if there is none yet."""
        for path in sorted(self._directory.glob("anchors-*.jsonl"), reverse=True):
            if found := _anchors_in(path, self._secret):
                return found[-1]
        return None


class Anchoring:
    """Leaves an anchor everywhere, once a minute."""

    def __init__(self, audit: Audit, places: Sequence[AnchorPlace], *, clock: Clock) -> None:
        self._audit = audit
        self._places = tuple(places)
        self._clock = clock
        self._begun_s = clock.monotonic()
        self._left_s: dict[str, float] = {}
        self._errors: dict[str, str] = {}

    async def watch(self, *, every_s: float = EVERY_S) -> None:
        """Run until cancelled; a place that failed waits for the next round."""
        while True:
            await asyncio.sleep(every_s)
            await self.leave()

    async def leave(self) -> None:
        """Leave one anchor in every place."""
        try:
            head = await self._audit.anchor()
        except ProxyError as error:  # the previous anchor still stands
            self._failed(LOG, str(error))
            return
        anchor = Anchor(head.sequence, head.hash, self._clock.now().isoformat())
        log.info(EVENT, sequence=head.sequence, hash=head.hash)
        self._succeeded(LOG)
        await asyncio.gather(*(self._leave_at(place, anchor) for place in self._places))

    async def _leave_at(self, place: AnchorPlace, anchor: Anchor) -> None:
        try:
            async with asyncio.timeout(PLACE_TIMEOUT_S):
                await place.leave(anchor)
        except (OSError, ProxyError) as error:  # asyncio's TimeoutError is an OSError
            self._failed(place.name, str(error) or f"it took longer than {PLACE_TIMEOUT_S:g} s")
        else:
            self._succeeded(place.name)

    def _failed(self, place: str, error: str) -> None:
        self._errors[place] = error
        log.warning("audit.anchor_failed", place=place, error=error)

    def _succeeded(self, place: str) -> None:
        self._errors.pop(place, None)
        self._left_s[place] = self._clock.monotonic()

    def report(self) -> dict[str, dict[str, Any]]:
        """By place: how long ago the last anchor was left there, and what failed since."""
        now_s = self._clock.monotonic()
        return {
            name: {"age_s": now_s - self._left_s.get(name, self._begun_s), "error": self._errors.get(name, "")}
            for name in (LOG, *(place.name for place in self._places))
        }


def check_start(audit: Audit, folder: AnchorFolder) -> None:
    """Raise AuditError where the chain is not the one that the newest anchor of a folder names.

    A folder that cannot be read stops nothing: the next round tells that.
    """
    try:
        anchor = folder.newest()
    except OSError as error:
        log.warning("audit.anchor_failed", place=folder.name, error=str(error))
        return
    if anchor is None:
        return
    head = audit.head
    if anchor.sequence > head.sequence:
        raise AuditError(
            f"the audit in {audit.directory} ends at record {head.sequence}, but record {anchor.sequence} was left as "
            f"an anchor at {anchor.at}: records are missing. Keep the directory as it is; a new chain needs a new "
            "folder of anchors too"
        )
    found = hash_of(audit.directory, anchor.sequence)
    if found is not None and found != anchor.hash:
        raise AuditError(
            f"record {anchor.sequence} in {audit.directory} is not the one that was left as an anchor at {anchor.at}: "
            "the chain was rewritten. Keep the directory as it is; a new chain needs a new folder of anchors too"
        )


def document_of(anchor: Anchor, secret: bytes | None) -> dict[str, object]:
    """An anchor as it is left, signed where there is a secret."""
    document: dict[str, object] = {"at": anchor.at, "seq": anchor.sequence, "hash": anchor.hash}
    if secret is not None:
        document["hmac"] = _signature(anchor, secret)
    return document


def _signature(anchor: Anchor, secret: bytes) -> str:
    told = f"{anchor.sequence}.{anchor.hash}.{anchor.at}"
    return hmac.new(secret, told.encode(), hashlib.sha256).hexdigest()


def read_anchors(path: Path, *, secret: bytes | None = None) -> list[Anchor]:
    """The anchors in a file, or in all files of a folder: as left in a folder, or told in a log.

    Raises AuditError if there is none, or if one is not signed with `secret`.
    """
    files: Iterable[Path] = sorted(path.glob("*.jsonl")) if path.is_dir() else (path,)
    try:
        found = [anchor for file in files for anchor in _anchors_in(file, secret)]
    except OSError as error:
        raise AuditError(f"the anchors cannot be read: {error}") from error
    if not found:
        raise AuditError(f"there is no anchor in {path}")
    return found


def _anchors_in(path: Path, secret: bytes | None) -> list[Anchor]:
    with path.open("rb") as lines:
        return [anchor for line in lines if (anchor := _anchor_of(line, secret, path)) is not None]


def _anchor_of(line: bytes, secret: bytes | None, path: Path) -> Anchor | None:
    """What a line says; None for one that is no anchor, as most lines of a log are."""
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict):
        return None
    is_logged = said.get("event") == EVENT
    sequence = said.get("sequence" if is_logged else "seq")
    if not isinstance(sequence, int) or not isinstance(said.get("hash"), str) or "prev" in said:
        return None
    anchor = Anchor(sequence, said["hash"], str(said.get("timestamp" if is_logged else "at", "?")))
    # A line of a log is not signed; whoever names a log as the anchor trusts it.
    if secret is not None and not is_logged:
        told = said.get("hmac")
        if not isinstance(told, str) or not hmac.compare_digest(told, _signature(anchor, secret)):
            raise AuditError(f"{path.name}: the anchor of record {sequence} is not signed with audit.anchor.secret")
    return anchor

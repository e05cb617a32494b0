"""Who may do what on the admin listener: people, their roles, and the tokens that prove who they are.

A token has 256 random bits and is shown once; what is kept is its SHA-256, which is enough for a secret that
nobody can guess. The file is replaced as a whole and only its owner can read it. Revoking counts at once, also
where the disk refuses; a new token counts only once it is stored. The bootstrap token, in a file of its own,
is always an admin, so that nobody can lock everybody out.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import structlog

from proxy.clock import Clock
from proxy.errors import ConfigError, ProxyError

log = structlog.get_logger("riskgate.admin")

BOOTSTRAP = "bootstrap"
TOKENS_FILE = "admin_tokens.json"
PREFIX = "rgt_"  # so that whoever finds one in a text knows what it is
TOKENS_MAX = 500
SAVE_USES_EVERY_S = 60.0
_FILE_BYTES_MAX = 1024 * 1024
_PERSON = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.@+ -]{0,62}[A-Za-z0-9])?")
_RESERVED = frozenset({BOOTSTRAP, "riskgate", "unknown"})
_VERSION = 1


class Role(IntEnum):
    """What somebody may do; each role may do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As settings, files and answers write it."""
        return self.name.lower()


ROLES_BY_WORD = {role.word: role for role in Role}


class TokenRequestInvalid(ProxyError):
    """A token that cannot be made as asked."""

    status = 422


class TokenUnknown(ProxyError):
    """No token has this id."""

    status = 404


class TokensNotStored(ProxyError):
    """The file of tokens could not be written."""

    status = 500


@dataclass(frozen=True, slots=True)
class Person:
    """Who is asking, as proven by a token."""

    name: str
    role: Role
    token_id: str

    @property
    def is_bootstrap(self) -> bool:
        """Whether this is the token of the first start, which is nobody's own."""
        return self.token_id == BOOTSTRAP

    def acts_as(self, stated: str) -> str:
        """The actor of an act: the person first; what the request states may add to it and replaces nothing."""
        stated = " ".join(stated.split())
        if not stated or stated.casefold() == self.name.casefold():
            return self.name
        return f"{self.name} ({stated})"


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token."""

    id: str
    person: str
    role: Role
    sha256: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""
    last_used_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """live, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "live"

    def shown(self, now: datetime) -> dict[str, Any]:
        """What people are shown: everything but the digest."""
        document = {key: value for key, value in asdict(self).items() if key != "sha256"}
        return document | {"role": self.role.word, "state": self.state(now)}


class Refused(NamedTuple):
    """A token that was right once, and why it is not any more."""

    person: str
    why: str


class Access:
    """Finds the person behind a token, makes tokens and revokes them."""

    def __init__(
        self, path: Path | None, *, clock: Clock, bootstrap: bytes, tokens: Iterable[Token] = ()
    ) -> None:
        if not bootstrap:
            raise ValueError("the admin listener needs a token")
        self._path = path  # None: in memory
        self._clock = clock
        self._bootstrap = hashlib.sha256(bootstrap).digest()
        self._tokens: tuple[Token, ...] = tuple(tokens)
        self._by_digest: dict[str, Token] = {}
        self._used: dict[str, datetime] = {}  # since it was last written
        self._writing = asyncio.Lock()
        self._index()

    @classmethod
    def open(cls, path: Path, *, clock: Clock, bootstrap: bytes) -> Access:
        """Read the tokens; no file means that none was made yet.

        Raises ConfigError for a file that cannot be read whole: a revocation must not get lost with it.
        """
        return cls(path, clock=clock, bootstrap=bootstrap, tokens=_load(path))

    def person(self, token: bytes) -> Person | Refused | None:
        """Whose token this is; Refused where it has ended, None where it is nobody's."""
        digest = hashlib.sha256(token)
        if hmac.compare_digest(digest.digest(), self._bootstrap):
            return Person(BOOTSTRAP, Role.ADMIN, BOOTSTRAP)
        # Looked up by digest: how long that takes says nothing about the token it was made from.
        found = self._by_digest.get(digest.hexdigest())
        if found is None:
            return None
        now = self._clock.now()
        state = found.state(now)
        if state != "live":
            return Refused(found.person, state)
        self._used[found.id] = now
        return Person(found.person, found.role, found.id)

    def is_live(self, person: Person) -> bool:
        """Whether the token that somebody came with still counts; sessions and streams ask again."""
        return person.is_bootstrap or self.is_live_token(person.token_id)

    def is_live_token(self, token_id: str) -> bool:
        """Whether a person's own token still counts."""
        now = self._clock.now()
        return any(one.id == token_id and one.state(now) == "live" for one in self._tokens)

    def is_taken_back(self, token_id: str) -> bool:
        """Whether a token was revoked, or is not known at all; one that only expired was good in its time."""
        if token_id == BOOTSTRAP:
            return False
        return all(one.id != token_id or one.revoked_at is not None for one in self._tokens)

    def credential(self, person: Person) -> str:
        """What two persons must not share where two are needed; "" while nobody has a token of their own.

        A person with two tokens is one person. Until the first token is made, names have to do.
        """
        if not person.is_bootstrap:
            return f"person:{person.name.casefold()}"
        now = self._clock.now()
        return BOOTSTRAP if any(one.state(now) == "live" for one in self._tokens) else ""

    def makers(self, person: Person) -> frozenset[str]:
        """Everybody who had a hand in a person's token: who made it, who made theirs, and so on; names folded.

        Where an act needs two persons, none of them may have made the other one.
        """
        made_by: dict[str, set[str]] = {}
        for one in self._tokens:
            made_by.setdefault(one.person.casefold(), set()).add(one.created_by.casefold())
        found: set[str] = set()
        ahead = {one.created_by.casefold() for one in self._tokens if one.id == person.token_id}
        while ahead:
            found |= ahead
            ahead = {maker for name in ahead for maker in made_by.get(name, ())} - found
        return frozenset(found)

    def listed(self) -> list[dict[str, Any]]:
        """Every token, the newest first, without what could be used."""
        now = self._clock.now()
        return [self._with_use(one).shown(now) for one in reversed(self._tokens)]

    async def issue(
        self, person: str, role: Role, *, by: str, lasts_s: float | None = None
    ) -> tuple[dict[str, Any], str]:
        """A new token and what is kept of it; only here can the token itself be seen."""
        person = checked_name(person)
        now = self._clock.now()
        secret = PREFIX + secrets.token_urlsafe(32)
        token = Token(
            id=secrets.token_hex(6),
            person=person,
            role=role,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            created_at=now,
            created_by=by,
            expires_at=None if lasts_s is None else now + timedelta(seconds=lasts_s),
        )
        async with self._writing:
            kept = self._room(now)
            await self._write((*kept, token))
            self._tokens = (*kept, token)
            self._index()
        return token.shown(now), secret

    async def revoke(self, token_id: str, *, by: str) -> dict[str, Any]:
        """End a token: at once in memory, then on disk. Revoking twice changes nothing.

        Raises TokensNotStored where the disk refuses; the token is worth nothing here all the same.
        """
        async with self._writing:
            now = self._clock.now()
            found = next((one for one in self._tokens if one.id == token_id), None)
            if found is None:
                raise TokenUnknown(f"there is no token {token_id[:40]!r}; `riskgate token list` shows them")
            if found.revoked_at is None:
                found = replace(self._with_use(found), revoked_at=now, revoked_by=by)
            self._tokens = tuple(found if one.id == token_id else one for one in self._tokens)
            self._index()
            try:
                await self._write(self._tokens)
            except TokensNotStored as error:
                raise TokensNotStored(f"revoked here, but a restart would forget it: {error}") from None
        return found.shown(now)

    async def save_uses(self) -> None:
        """Write down when tokens were last used, if any was since."""
        if not self._used:
            return
        async with self._writing:
            used, self._used = self._used, {}
            self._tokens = tuple(
                replace(one, last_used_at=used[one.id]) if one.id in used else one for one in self._tokens
            )
            self._index()
            try:
                await self._write(self._tokens)
            except TokensNotStored as error:  # the tokens themselves are stored; the next use writes again
                log.error("admin.tokens_unwritten", error=str(error))

    async def watch(self, *, every_s: float = SAVE_USES_EVERY_S) -> None:
        """Run until cancelled: write down uses now and then, as a disk is slow and a request is not to wait."""
        while True:
            await asyncio.sleep(every_s)
            await self.save_uses()

    def _with_use(self, token: Token) -> Token:
        used_at = self._used.get(token.id)
        return token if used_at is None else replace(token, last_used_at=used_at)

    def _room(self, now: datetime) -> tuple[Token, ...]:
        """The tokens, without the oldest that ended where there are too many."""
        kept = list(self._tokens)
        while len(kept) >= TOKENS_MAX:
            ended = next((one for one in kept if one.state(now) != "live"), None)
            if ended is None:
                raise TokenRequestInvalid(f"found {len(kept)} live tokens, expected fewer than {TOKENS_MAX}")
            kept.remove(ended)
        return tuple(kept)

    def _index(self) -> None:
        self._by_digest = {one.sha256: one for one in self._tokens}

    async def _write(self, tokens: tuple[Token, ...]) -> None:
        if self._path is None:
            return
        try:
            await asyncio.to_thread(_replace_file, self._path, _content(tokens))
        except OSError as error:
            raise TokensNotStored(f"{self._path.name}: {error.strerror}") from error


def checked_name(person: str) -> str:
    """A person's name as it may stand beside acts; raises TokenRequestInvalid for any other."""
    person = " ".join(person.split())
    if not _PERSON.fullmatch(person) or person.casefold() in _RESERVED:
        raise TokenRequestInvalid(
            f"found the name {person[:64]!r}, expected 1 to 64 letters, digits, spaces and _.@+- "
            f"(and none of {', '.join(sorted(_RESERVED))})"
        )
    return person


def _load(path: Path) -> tuple[Token, ...]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"the file of admin tokens {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode) or mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigError(f"the file of admin tokens {path} has mode {stat.S_IMODE(mode):04o}, expected 0600")
    try:
        document = orjson.loads(content)
        if document["version"] != _VERSION:
            raise ConfigError(f"{path} has version {document['version']!r}, expected {_VERSION}")
        return tuple(_token(row) for row in document["tokens"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the file of admin tokens {path} is damaged ({type(error).__name__}); expected what riskgate wrote. "
            "Put a copy back, or remove it: then every token but the bootstrap one has ended"
        ) from error


def _token(row: dict[str, Any]) -> Token:
    times = {
        key: None if row[key] is None else datetime.fromisoformat(row[key]).astimezone(UTC)
        for key in ("created_at", "expires_at", "revoked_at", "last_used_at")
    }
    if not re.fullmatch(r"[0-9a-f]{64}", row["sha256"]) or times["created_at"] is None:
        raise ValueError("no digest, or no beginning")
    return Token(**(row | times | {"role": ROLES_BY_WORD[row["role"]]}))


def _content(tokens: tuple[Token, ...]) -> bytes:
    rows = [asdict(one) | {"role": one.role.word} for one in tokens]
    return orjson.dumps({"version": _VERSION, "tokens": rows}, option=orjson.OPT_INDENT_2) + b"\n"


def _replace_file(path: Path, content: bytes) -> None:
    """The whole new file under another name first, then in place of the old one: a crash leaves one of the two."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

"""The admin token: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from proxy.errors import ConfigError

CHARACTERS_MIN = 32
_BYTES_MAX = 4096
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]+")  # what an Authorization header can carry (RFC 6750)


def load_or_create_token(path: Path) -> bytes:
    """The token in the file; a new one of 256 bits is written if there is no file.

    Raises ConfigError for a file that others can read, and for a token that is empty, too
    short to be unguessable, or not fit for a header.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(f"the admin token file {path} cannot be read: {error.strerror}") from error
    token = secrets.token_urlsafe(32).encode()
    try:
        _create(path, token)
    except FileExistsError:
        return _load(path)  # another process was faster
    except OSError as error:
        raise ConfigError(f"the admin token file {path} cannot be written: {error.strerror}") from error
    return token


def read_token(path: Path) -> bytes:
    """The token in the file, under the same rules; FileNotFoundError if there is none, and none is made."""
    try:
        return _load(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"the admin token file {path} cannot be read: {error.strerror}") from error


def _load(path: Path) -> bytes:
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        content = file.read(_BYTES_MAX + 1)
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"the admin token file {path} is not a regular file")
    if found.st_mode & 0o007:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(f"the admin token file {path} has mode {mode:04o}, expected 0600: everybody can read it")
    token = content.strip()
    if not token:
        raise ConfigError(f"the admin token file {path} is empty, expected a token; delete it to have one made")
    if len(content) > _BYTES_MAX or not _TOKEN.fullmatch(token):
        raise ConfigError(f"the admin token file {path} does not hold one token of letters, digits and -._~+/=")
    if len(token) < CHARACTERS_MIN:
        raise ConfigError(
            f"the admin token in {path} has {len(token)} characters, expected at least {CHARACTERS_MIN}"
        )
    return token


def _create(path: Path, token: bytes) -> None:
    """Write the whole token under another name first: a crash leaves no empty token file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(token + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, never over an existing file
    finally:
        temporary.unlink()

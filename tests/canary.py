"""The canary: a word in every secret that tests use, which may stand in nothing that the proxy says or writes.

`marked("venue-secret")` is a secret with the word in it. Whatever a test lets the proxy print, answer, record or
store is searched for the word when the test ends (`tests/conftest.py`); a test whose output holds it fails. What
holds secrets on purpose (settings, token files) is listed below by name; everything else that lies in a test's
folder counts as output, also what nobody has thought of yet. Rows of PostgreSQL and keys of Redis are searched as
well (`tests/stored.py`), and so is what real clients are answered (`tests/clients/tap.py`).

Keys that bots send (X-MBX-APIKEY) are secrets here too. Some secrets cannot hold the word. Private keys (Ed25519, RSA,
TLS) are numbers: where one is read as a text, that text's form is looked for (`BEGIN PRIVATE KEY`, `tests/proxy/
test_logs.py`), and the word stands in for its content (`tests/proxy/test_config.py`). Signatures are derived. What the
proxy draws itself, its tokens, cookies, links and the keys of `riskgate init` and `demo`, is random: tokens of people
are known by their beginning, admin tokens by their file, and `tests/threats/test_t21_secrets.py` looks for one link and
one cookie as they are. Venue documents' own examples of signing keep their published keys. Nothing that was encoded on
the way (base64, hex, compressed) is recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

WORD = "cAnArY7f3aDoNotTellAnybodyOfThisWord"
# Tokens of people are made at random; they are known by their beginning.
TOKEN_OF_A_PERSON = re.compile(rb"rgt_[A-Za-z0-9_-]{20,}")
HOLDS_SECRETS = (
    "*.yaml", "*.yml", "*.toml", "*.env", "settings.json",
    "*.pem", "*.key", "admin_token", "*token*.txt", "*token", "*secret*", "bot_*_key",
    # What exchanges and bots of tests write down of themselves.
    "journal*", "*.http", "recorded*",
)  # fmt: skip
BYTES_MAX = 64 << 20
_ANSWERED: list[str] = []  # where the word stood in answers since somebody asked


def marked(secret: str) -> str:
    """The secret with the word in it."""
    return f"{secret}-{WORD}"


KEY, SECRET = marked("key"), marked("secret").encode()  # for tests that need one pair and no more


def found_in(content: bytes) -> str | None:
    """Where the word, or a person's token, stands in some output; None if nowhere."""
    at = content.find(WORD.encode())
    if at < 0:
        token = TOKEN_OF_A_PERSON.search(content)
        if token is None:
            return None
        at = token.start()
    around = content[max(0, at - 120) : at + 60]
    return around.decode("utf-8", "replace")


def noted(answer: bytes) -> None:
    """Look at an answer of a listener; what is found fails the test when it ends. A new token is shown once."""
    if WORD.encode() in answer:
        _ANSWERED.append(f"an answer: ...{found_in(answer)}...")


def answered() -> list[str]:
    """What was noted since the last time."""
    found = list(_ANSWERED)
    _ANSWERED.clear()
    return found


def holds_secrets(path: Path) -> bool:
    """Whether a file is there to hold a secret."""
    return any(fnmatchcase(path.name, pattern) for pattern in HOLDS_SECRETS)


def leaks_below(folder: Path) -> Iterator[str]:
    """Every file below a folder that holds the word and is not there for it."""
    secrets = list(tokens_of(folder))
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or holds_secrets(path) or path.stat().st_size > BYTES_MAX:
            continue
        content = path.read_bytes()
        if (around := found_in(content)) is not None:
            yield f"{path.relative_to(folder)}: ...{around}..."
        yield from (
            f"{path.relative_to(folder)}: the admin token of this test" for secret in secrets if secret in content
        )


def tokens_of(folder: Path) -> Iterable[bytes]:
    """The admin tokens that proxies of a test wrote down."""
    for path in folder.rglob("admin_token"):
        if path.is_file() and len(token := path.read_bytes().strip()) >= 20:
            yield token

"""People's tokens: what is kept of them, when they count, and what a file that is not right means."""

import stat
from datetime import UTC, datetime, timedelta

import pytest

from proxy.admin.access import (
    BOOTSTRAP,
    TOKENS_MAX,
    Access,
    Person,
    Refused,
    Role,
    TokenRequestInvalid,
    TokensNotStored,
)
from proxy.clock import ManualClock
from proxy.errors import ConfigError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FIRST = b"bootstrap-token-" + b"x" * 30


def opened(path, clock):
    """The tokens of a file."""
    return Access.open(path, clock=clock, bootstrap=FIRST)


@pytest.fixture
def clock():
    """Noon."""
    return ManualClock(NOW)


@pytest.fixture
def path(tmp_path):
    """Where the tokens are kept."""
    return tmp_path / "admin_tokens.json"


async def test_a_token_says_who_it_is_also_after_a_restart(path, clock):
    """Person and role are found by the token; the file holds neither the token nor anything to make it from."""
    access = opened(path, clock)
    shown, token = await access.issue("Anna B", Role.OPERATOR, by=BOOTSTRAP)

    again = opened(path, clock)
    assert access.person(token.encode()) == again.person(token.encode()) == Person("Anna B", Role.OPERATOR, shown["id"])
    assert again.person(FIRST) == Person(BOOTSTRAP, Role.ADMIN, BOOTSTRAP)
    assert again.person(token.encode()[:-1]) is None
    assert again.person(b"") is None
    assert token.encode() not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


async def test_a_token_ends_at_its_instant(path, clock):
    """Just before it still counts, at its end it does not."""
    access = opened(path, clock)
    shown, token = await access.issue("anna", Role.ADMIN, by=BOOTSTRAP, lasts_s=60)
    person = access.person(token.encode())

    clock.advance(to=NOW + timedelta(seconds=59, milliseconds=999))
    assert access.person(token.encode()) == person
    assert access.is_live(person)
    clock.advance(to=NOW + timedelta(seconds=60))
    assert access.person(token.encode()) == Refused("anna", "expired")
    assert not access.is_live(person)
    assert [(one["id"], one["state"]) for one in access.listed()] == [(shown["id"], "expired")]


async def test_revoking_counts_at_once_and_after_a_restart(path, clock):
    """Nobody comes in with a revoked token, and revoking it again keeps who did it first."""
    access = opened(path, clock)
    shown, token = await access.issue("anna", Role.ADMIN, by=BOOTSTRAP)
    await access.revoke(shown["id"], by="ben")
    await access.revoke(shown["id"], by="eve")

    for each in (access, opened(path, clock)):
        assert each.person(token.encode()) == Refused("anna", "revoked")
        assert each.listed()[0]["revoked_by"] == "ben"


async def test_a_disk_that_refuses_gives_no_token_and_revokes_all_the_same(tmp_path, clock):
    """A new token counts only once it is stored; taking one away does not wait for the disk."""
    folder = tmp_path / "data"
    folder.mkdir()
    access = opened(folder / "tokens.json", clock)
    shown, token = await access.issue("anna", Role.ADMIN, by=BOOTSTRAP)
    (folder / "tokens.json").unlink()
    folder.rmdir()

    with pytest.raises(TokensNotStored):
        await access.issue("ben", Role.ADMIN, by=BOOTSTRAP)
    assert [one["person"] for one in access.listed()] == ["anna"]
    with pytest.raises(TokensNotStored, match="revoked here"):
        await access.revoke(shown["id"], by="ben")
    assert access.person(token.encode()) == Refused("anna", "revoked")


async def test_when_it_was_last_used_is_written_down(path, clock):
    """Uses are kept in memory until they are saved, and shown in between."""
    access = opened(path, clock)
    _, token = await access.issue("anna", Role.VIEWER, by=BOOTSTRAP)
    clock.advance(to=NOW + timedelta(hours=1))
    access.person(token.encode())

    assert access.listed()[0]["last_used_at"] == NOW + timedelta(hours=1)
    assert opened(path, clock).listed()[0]["last_used_at"] is None
    await access.save_uses()
    assert opened(path, clock).listed()[0]["last_used_at"] == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b'{"version": 1}', b'{"version": 2, "tokens": []}', b'{"version": 1, "tokens": [{}]}',
        b'{"version": 1, "tokens": [1]}',
    ],
)  # fmt: skip
def test_a_damaged_file_stops_the_start(path, clock, content):
    """With the file a revocation could get lost, so nothing is made up in its place."""
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(ConfigError, match=r"damaged|version"):
        opened(path, clock)


async def test_a_changed_digest_or_role_stops_the_start(path, clock):
    """A role that does not exist is no role, and a digest that is none finds nobody."""
    await opened(path, clock).issue("anna", Role.VIEWER, by=BOOTSTRAP)
    whole = path.read_bytes()
    for old, new in ((b'"viewer"', b'"root"'), (b'"sha256": "', b'"sha256": "zz')):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ConfigError, match="damaged"):
            opened(path, clock)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o660])
def test_a_file_that_others_can_use_stops_the_start(path, clock, mode):
    """Who can write it could hand out roles."""
    path.write_bytes(b'{"version": 1, "tokens": []}')
    path.chmod(mode)

    with pytest.raises(ConfigError, match="expected 0600"):
        opened(path, clock)


@pytest.mark.parametrize(
    "name", ["", " ", "bootstrap", "Bootstrap", "riskgate", "unknown", "a\nb(c)", "x" * 65, "\u0430nna"]
)
async def test_a_name_that_could_be_taken_for_another_is_refused(path, clock, name):
    """Reserved names, brackets and look-alike letters would make the record ambiguous."""
    with pytest.raises(TokenRequestInvalid):
        await opened(path, clock).issue(name, Role.VIEWER, by=BOOTSTRAP)
    assert not path.exists()


async def test_the_oldest_that_ended_makes_room_and_no_live_one_does(clock):
    """A table that is full of live tokens takes no more; one that ended is forgotten first."""
    access = Access(None, clock=clock, bootstrap=FIRST)
    ids = [(await access.issue("anna", Role.VIEWER, by=BOOTSTRAP))[0]["id"] for _ in range(TOKENS_MAX)]
    with pytest.raises(TokenRequestInvalid, match="live tokens"):
        await access.issue("ben", Role.VIEWER, by=BOOTSTRAP)
    await access.revoke(ids[7], by="x")
    await access.issue("ben", Role.VIEWER, by=BOOTSTRAP)

    kept = [one["id"] for one in access.listed()]
    assert len(kept) == TOKENS_MAX
    assert ids[7] not in kept


async def test_two_tokens_of_one_person_are_one_credential(clock):
    """Names have to do until somebody has a token; then a person is one person, and so is the bootstrap token."""
    access = Access(None, clock=clock, bootstrap=FIRST)
    bootstrap = access.person(FIRST)
    assert access.credential(bootstrap) == ""
    tokens = [(await access.issue(name, Role.ADMIN, by=BOOTSTRAP))[1] for name in ("anna", "Anna", "ben")]
    anna, again, ben = (access.credential(access.person(token.encode())) for token in tokens)

    assert anna == again != ben
    assert access.credential(bootstrap) == BOOTSTRAP


def test_what_a_request_states_adds_to_the_person_and_replaces_nothing():
    """The person comes first, whatever is stated."""
    anna = Person("anna", Role.ADMIN, "1")

    assert [anna.acts_as(stated) for stated in ("", "ANNA", " for  ben ")] == ["anna", "anna", "anna (for ben)"]

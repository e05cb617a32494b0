"""The admin token's file."""

import stat

import pytest

from proxy.admin import load_or_create_token
from proxy.admin.guard import Guard
from proxy.errors import ConfigError


def test_a_token_is_made_once(tmp_path):
    """256 bits, 0600, the same on the next start, nothing else left behind."""
    path = tmp_path / "data" / "admin_token"
    token = load_or_create_token(path)

    assert len(token) == 43
    assert load_or_create_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["admin_token"]
    assert load_or_create_token(tmp_path / "other") != token


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"short", "has 5 characters"),
        (b"x" * 31, "has 31 characters"),
        (b"x" * 40 + b" " + b"y" * 40, "one token"),
        (b"x" * 40 + b"\ny", "one token"),
        (b"\xff" * 40, "one token"),
        (b"x" * 40 + b"\0", "one token"),
        (b"x" * 5000, "one token"),
    ],
)
def test_an_unusable_token_stops_the_start(tmp_path, content, said):
    """Empty, short and unspeakable tokens are a ConfigError that does not repeat them."""
    path = tmp_path / "admin_token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=said) as refused:
        load_or_create_token(path)
    assert "xxxxx" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666, 0o601])
def test_a_file_that_everybody_can_read_is_refused(tmp_path, mode):
    """The message says what mode was found and what is expected."""
    path = tmp_path / "admin_token"
    path.write_text("x" * 40)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}, expected 0600"):
        load_or_create_token(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_file_for_owner_or_group_is_accepted(tmp_path, mode):
    """Secret mounts are often readable by a group."""
    path = tmp_path / "admin_token"
    path.write_text("x" * 40 + "\n")
    path.chmod(mode)
    assert load_or_create_token(path) == b"x" * 40


def test_something_that_is_no_file_is_refused(tmp_path):
    """A directory in the token's place is a ConfigError."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_or_create_token(tmp_path)


def test_a_listener_without_a_token_is_not_built():
    """An empty token would compare equal to an empty header."""
    with pytest.raises(ValueError, match="needs a token"):
        Guard(None, b"")

"""`riskgate token`: who may ask the admin API, handing out a token, taking one back."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from proxy.admin.token import read_token
from proxy.cli.admin_client import AdminClient
from proxy.cli.output import CommandFailed, Exit, say, say_json, table, tell

ROLES = ("viewer", "operator", "admin")


def create(admin: AdminClient, person: str, *, role: str, expires_in: str, as_json: bool) -> None:
    """Make a token and print it alone on stdout, for a file or a pipe; what belongs to it goes to stderr."""
    if role not in ROLES:
        raise CommandFailed(f"found --role {role}; expected one of {', '.join(ROLES)}. Nothing was changed", Exit.USAGE)
    body = {"person": person, "role": role} | ({"expires_in": expires_in} if expires_in else {})
    made = admin.post("/admin/v1/tokens", body)
    if as_json:
        say_json(made)
        return
    until = f"until {made['expires_at']}" if made["expires_at"] else "until it is revoked"
    tell(f"token {made['id']} of {made['person']}, {made['role']}, {until}; it is shown this once:")
    say(made["token"])
    _tell_unrecorded(made)


def show(admin: AdminClient, *, as_json: bool) -> None:
    """List the tokens, the newest first."""
    tokens = admin.get("/admin/v1/tokens")["tokens"]
    if as_json:
        say_json(tokens)
        return
    rows = [
        (
            one["id"], one["person"], one["role"], one["state"], one["created_at"], one["expires_at"] or "never",
            one["last_used_at"] or "never",
        )
        for one in tokens
    ]  # fmt: skip
    for line in table(("id", "person", "role", "state", "created", "expires", "last used"), rows):
        say(line)


def revoke(admin: AdminClient, token_id: str, *, reason: str) -> None:
    """End a token."""
    query = f"?reason={quote(reason, safe='')}" if reason else ""
    ended = admin.delete(f"/admin/v1/tokens/{quote(token_id, safe='')}{query}")
    say(f"revoked: {ended['id']} of {ended['person']}; it is worth nothing from now on")
    _tell_unrecorded(ended)


def show_bootstrap(path: Path) -> None:
    """Print the bootstrap token, from its file; whoever may read that file is an admin anyway."""
    try:
        say(read_token(path).decode())
    except FileNotFoundError:
        raise CommandFailed(f"{path}: no such file; `riskgate init` or the first `run` makes it", Exit.USAGE) from None


def _tell_unrecorded(answer: dict[str, object]) -> None:
    if answer.get("audited") is False:
        tell("riskgate: it is in force but NOT on record: the audit cannot write; see `riskgate status`")

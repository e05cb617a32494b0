"""`policy show`, `diff` and `apply`: the policy in force, and putting a file in its place."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from proxy.cli.admin_client import AdminClient, AdminRefused
from proxy.cli.output import CommandFailed, Exit, say, say_json, tell
from proxy.cli.stopping import actor_named
from proxy.clock import SystemClock
from proxy.errors import PolicyInvalid
from proxy.loosening import loosened
from proxy.policy_file import read_policy_file
from proxy.stores.base import validated
from proxy.stores.changes import changes, document
from rules.profile import GlobalPolicy, warnings

PATH = "/api/v2/policy"


class InForce(NamedTuple):
    """The stored policy as the admin API told it."""

    policy: GlobalPolicy
    revision: int
    updated_at: str
    updated_by: str
    reason: str


def in_force(admin: AdminClient) -> InForce:
    """Ask the running proxy for its policy."""
    found = admin.get(PATH)
    try:
        policy = validated(found["policy"])
        return InForce(policy, int(found["revision"]), *(str(found[name]) for name in InForce._fields[2:]))
    except (PolicyInvalid, KeyError, TypeError, ValueError) as error:
        raise CommandFailed(f"the policy in force cannot be read here; is the proxy another version? {error}") from None


def show(admin: AdminClient, *, as_json: bool) -> None:
    """Print the policy in force as a file that `apply` takes."""
    if as_json:
        say_json(admin.get(PATH))
        return
    stored = in_force(admin)
    by = " ".join(f"{stored.updated_by}: {stored.reason}".split())
    say(f"# revision {stored.revision}, {stored.updated_at}, by {by}")
    say(yaml.safe_dump(document(stored.policy), sort_keys=False, allow_unicode=True, width=120).rstrip())


def diff(admin: AdminClient, file: Path) -> Exit:
    """Print what `apply` would change; exit 1 if anything, as diff does."""
    return Exit.FAILED if _told_diff(in_force(admin), read_policy_file(file), file) else Exit.OK


def apply(admin: AdminClient, file: Path, *, reason: str, actor: str) -> Exit:
    """Show the difference, then replace the policy it was made against; a newer one is left alone."""
    if not reason.strip():
        raise CommandFailed("a change of limits needs a reason: --reason TEXT", Exit.USAGE)
    policy = read_policy_file(file)
    stored = in_force(admin)
    if not _told_diff(stored, policy, file):
        return Exit.OK
    body = {"policy": document(policy), "updated_by": actor_named(actor), "reason": reason}
    try:
        answer = admin.put(PATH, body, if_match=stored.revision)
    except AdminRefused as refused:
        if refused.status == 412:
            sentence = "nothing was applied: somebody changed the policy meanwhile; look at the difference again"
            raise CommandFailed(sentence, Exit.REFUSED) from None
        raise CommandFailed(f"nothing was applied: {refused}", Exit.REFUSED) from None
    say(f"applied and stored: revision {answer['revision']}, in force from now on")
    for warning in answer.get("warnings", ()):
        tell(f"riskgate: remark: {warning}")
    return Exit.OK


def _told_diff(stored: InForce, policy: GlobalPolicy, file: Path) -> bool:
    """Print how a file differs from the policy in force, and what it loosens; whether it differs."""
    changed = changes(stored.policy, policy)
    if not changed:
        say(f"{file} is the policy in force (revision {stored.revision}); nothing to apply")
        return False
    say(f"{file} against the policy in force (revision {stored.revision}):")
    for change in changed:
        say(f"  {change}")
    for line in loosened(stored.policy, policy, SystemClock().now()):
        say(f"  looser: {line}")
    for warning in warnings(policy):
        if warning not in warnings(stored.policy):
            say(f"  remark: {warning}")
    return True

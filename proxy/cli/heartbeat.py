"""`heartbeat`: says that a strategy lives, for one that a scheduler or a supervisor watches over."""

from __future__ import annotations

import re

from proxy.cli.admin_client import AdminClient
from proxy.cli.output import CommandFailed, Exit, say, say_json, tell

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def beat(admin: AdminClient, *, strategy: str, as_json: bool) -> Exit:
    """Renew the strategy's leases; REFUSED where there is none to renew, or where a stop holds it all the same."""
    if _NAME.fullmatch(strategy) is None:
        raise CommandFailed(f"found the strategy {strategy!r}; expected a name as in the settings", Exit.USAGE)
    found = admin.post(f"/api/v2/strategies/{strategy}/heartbeat", {})
    if as_json:
        say_json(found)
    renewed = stopped = False
    for account, one in found["accounts"].items():
        lease_s, level = one["lease_s"], str(one["level"]).upper()
        renewed, stopped = renewed or lease_s is not None, stopped or level != "CLEAR"
        if not as_json:
            lease = "no lease" if lease_s is None else f"its lease of {lease_s:g} s began anew"
            say(f"{strategy} on {account}: {lease}, {level}")
    if not renewed:
        tell("riskgate: nobody watches over it: accounts.NAME.dead_man.lease is not set for any of its accounts")
    if stopped:
        tell(f"riskgate: a beat releases nothing: riskgate resume --scope strategy:{strategy}")
    return Exit.OK if renewed and not stopped else Exit.REFUSED

"""`status`, `halt`, `resume` and `health`: what people ask a running proxy."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from proxy.cli.admin_client import AdminClient, AdminUnreachable
from proxy.cli.checking import read_sections
from proxy.cli.output import CommandFailed, Exit, say, say_json, tell
from proxy.clock import SystemClock

HALT_FILE = "HALT"
LEVELS_ALLOW = {
    "clear": "orders are judged and may pass",
    "reduce_only": "only proven reductions and cancels pass",
    "halt": "only cancels pass",
}


def client(config: Path | None, admin_url: str, token_file: Path | None) -> AdminClient:
    """The admin API that the options name, else the one of the settings file."""
    if admin_url:
        return AdminClient(admin_url.rstrip("/"), token_file, token_file.parent if token_file else None)
    found = AdminClient.of(read_sections(config, "admin", "data_dir"))
    return found if token_file is None else replace(found, token_file=token_file)


def _actor(given: str) -> str:
    return given or os.environ.get("SUDO_USER") or getpass.getuser()


def describe(stop: dict[str, Any]) -> str:
    """One stop in one line: level, what still passes, who, why, since."""
    level = str(stop.get("level", "unknown")).lower()
    allowed = LEVELS_ALLOW.get(level, "an unknown level: expect that only cancels pass")
    line = f"{level.upper()} ({stop.get('scope', 'global')}): {allowed}"
    if level != "clear":
        line += f"; by {stop.get('actor') or '?'}, since {stop.get('since') or '?'}"
        line += f": {stop.get('reason') or 'no reason given'}"
    return line


def stops_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The stops in an answer of the admin API: the global one first, then those of accounts."""
    listed = answer.get("stops", answer.get("scopes", [answer]))
    stops = list(listed.values()) if isinstance(listed, dict) else list(listed)
    return sorted(stops, key=lambda stop: stop.get("scope", "global") != "global")


def status(admin: AdminClient, *, as_json: bool) -> None:
    """Print the emergency stop, then the rest."""
    stop = admin.get("/admin/v1/ess")
    rest = admin.get("/admin/v1/status")
    if as_json:
        say_json({"ess": stop, "status": rest})
        return
    for one in stops_of(stop):
        say(f"emergency stop: {describe(one)}")
    for key, value in sorted(rest.items()):
        if key != "ess":
            text = orjson.dumps(value).decode() if isinstance(value, dict | list) else value
            say(f"{key}: {text}")


def halt(admin: AdminClient, *, reduce_only: bool, scope: str, reason: str, actor: str) -> Exit:
    """Engage the stop; where the proxy does not do it, leave the file that makes it."""
    body = {
        "level": "reduce_only" if reduce_only else "halt",
        "scope": scope,
        "reason": reason or "halted from the command line",
        "actor": _actor(actor),
    }
    try:
        answer = admin.post("/admin/v1/ess/engage", body)
    except CommandFailed as error:
        tell(f"riskgate: {error}")
        tell(_leave_halt_file(admin, body))
        return error.code
    for stop in stops_of(answer):
        say(f"engaged and stored: {describe(stop)}")
    return Exit.OK


def _leave_halt_file(admin: AdminClient, body: dict[str, str]) -> str:
    if admin.data_dir is None:
        return "riskgate: NOT HALTED: without a data folder (--config or --token-file) no HALT file can be left."
    file = admin.data_dir / HALT_FILE
    left = {**body, "at": _now().isoformat()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            out.write(orjson.dumps(left) + b"\n")
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        return f"riskgate: NOT HALTED: {file} could not be written either: {error.strerror}"
    sentence = (
        f"riskgate: not confirmed; wrote {file}: "
        "a proxy on this folder halts when it sees the file, and starts halted."
    )
    if body["level"] != "halt" or body["scope"] != "global":
        sentence += " The file means HALT for everything, which is stricter than what was asked."
    return sentence


def _now() -> datetime:
    return SystemClock().now()


def resume(admin: AdminClient, *, scope: str, reason: str, actor: str, confirmed: bool) -> Exit:
    """Release the stop as it is now; a stop that changed in between is left alone."""
    if not reason.strip():
        raise CommandFailed("a release needs a reason: --reason TEXT", Exit.USAGE)
    current = next((one for one in stops_of(admin.get("/admin/v1/ess")) if one.get("scope") == scope), None)
    if current is None:
        raise CommandFailed(f"no stop has the scope {scope!r}", Exit.USAGE)
    say(f"now: {describe(current)}")
    if not confirmed:
        raise CommandFailed("nothing was released: add --yes to let orders pass again", Exit.REFUSED)
    body = {"scope": scope, "reason": reason, "actor": _actor(actor), "expected_epoch": current["epoch"]}
    for stop in stops_of(admin.post("/admin/v1/ess/release", body)):
        say(f"released and stored: {describe(stop)}")
    return Exit.OK


def health(admin: AdminClient, *, ready: bool, as_json: bool) -> Exit:
    """Ask a health question; anything but a clear yes is no, as container health checks know only 0 and 1."""
    path = "/readyz" if ready else "/healthz"
    try:
        code, answer = admin.probe(path)
    except AdminUnreachable as error:
        code, answer = 0, {"error": str(error)}
    good = code == 200
    if as_json:
        say_json({"ok": good, "status": code, "answer": answer})
    elif good:
        say("ready" if ready else "alive")
    else:
        tell(f"riskgate: {'not ready' if ready else 'not healthy'}: {admin.url}{path} answered {code or 'nothing'}")
    return Exit.OK if good else Exit.FAILED

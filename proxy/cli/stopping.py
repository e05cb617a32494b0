"""`status`, `halt`, `resume` and `health`: what people ask a running proxy."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from proxy.cli.admin_client import AdminClient, AdminRefused, AdminUnreachable
from proxy.cli.checking import read_sections
from proxy.cli.output import CommandFailed, Exit, say, say_json, shortened, tell
from proxy.clock import SystemClock
from proxy.errors import ConfigError
from rules.ess import GLOBAL, KINDS

HALT_FILE = "HALT"
DATA_DIR_VARIABLE = "RISKGATE_DATA_DIR"
UNPROCESSABLE = 422
CONFIRM_S = 2.5  # a running proxy looks for the file ten times a second
CONFIRM_EVERY_S = 0.1
WAIT_EVERY_S = 0.2
LEVELS_ALLOW = {
    "clear": "orders are judged and may pass",
    "reduce_only": "only proven reductions and cancels pass",
    "halt": "only cancels pass",
}


def accounts_of(config: Path | None) -> tuple[str, ...]:
    """The accounts of the settings; none if that section cannot be read, which must not keep anybody from halting."""
    try:
        return tuple(read_sections(config, "accounts").accounts)
    except (CommandFailed, ConfigError):
        return ()


def actor_named(given: str) -> str:
    """Who acts: as given, else who is logged in, also behind sudo."""
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
    """Print the emergency stop, then the rest, then the accounts with the limits that are near."""
    from proxy.cli import accounts  # which needs this module itself

    stop = admin.get("/admin/v1/ess")
    rest = admin.get("/admin/v1/status")
    held = admin.get("/admin/v1/accounts")
    if as_json:
        say_json({"ess": stop, "status": rest, "accounts": held.get("accounts", [])})
        return
    for one in stops_of(stop):
        say(f"emergency stop: {describe(one)}")
    for line in (*status_lines(rest), *accounts.overview_lines(held)):
        say(line)


def status_lines(found: dict[str, Any]) -> Iterator[str]:
    """What an operator asks next, a line each: ready or what is not, the accounts, what is on its way."""
    parts = _section(found, "parts")
    wrong = list(not_ready(parts))
    loop = f", on {found['event_loop']}" if found.get("event_loop") else ""  # a proxy before this one does not say
    yield f"ready: {'yes' if found.get('ready') else 'NO'}, version {found.get('version')}{loop}, up {_span(found)}"
    for line in wrong:
        yield f"  {'not well, and not needed' if found.get('ready') else 'not ready'}: {line}"
    for name, account in sorted(_section(found, "accounts").items()):
        yield (
            f"account {name}: {account.get('state', '?')}, equity {_amount(account.get('equity'))}, "
            f"exposure {_amount(account.get('exposure'))} ({account.get('mode', '?')})"
        )
    if policy := _section(parts, "policy"):
        yield f"policy: mode {policy.get('mode', '?')}, revision {policy.get('revision', '?')}"
    waiting = [f"{count} {state}" for state, count in sorted(_section(found, "reservations").items()) if count]
    yield f"orders: {found.get('in_flight', 0)} on their way; reserved: {', '.join(waiting) or 'none'}"
    permits = _section(found, "permits")
    open_ = [
        f"{count} {kind} {word}"
        for state, word in (("asked", "waiting for people"), ("granted", "in force"))
        for kind, count in sorted(_section(permits, state).items())
        if count
    ]
    if open_:
        yield f"permits: {', '.join(open_)}; riskgate approvals list, riskgate override list"


def not_ready(parts: dict[str, Any]) -> Iterator[str]:
    """The parts of /readyz that keep it from yes, by name and reason."""
    if parts.get("draining"):
        yield "draining: it is being stopped"
    for name, part in sorted(parts.items()):
        if name in ("feeds", "facts"):
            for inner, value in sorted(_section(parts, name).items()):
                yield from _not_ready(f"{name.removesuffix('s')} {inner}", value)
        elif name != "emergency_stop":
            yield from _not_ready(name, part)


def _not_ready(name: str, part: Any) -> Iterator[str]:  # noqa: ANN401 - a part as /readyz tells it
    if isinstance(part, list):
        yield from (f"{name}: {sentence}" for sentence in part)
    elif isinstance(part, dict) and part.get("ready") is not True and (part.get("error") or "ready" in part):
        age = f", last good {part['age_s']} s ago" if part.get("age_s") is not None else ""
        yield f"{name}: {part.get('error') or 'not healthy'}{age}"


def _section(found: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    section = found.get(name) if isinstance(found, dict) else None
    return section if isinstance(section, dict) else {}


def _amount(text: object) -> str:
    """At most twelve digits: a person compares magnitudes; --json has every digit."""
    return "not known" if text is None else shortened(str(text))


def _span(found: dict[str, Any]) -> str:
    seconds = int(found.get("uptime_s") or 0)
    days, rest = divmod(seconds, 86400)
    return (f"{days} d " if days else "") + f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def halt(
    admin: AdminClient, *, reduce_only: bool, scope: str, reason: str, actor: str, accounts: Collection[str] = ()
) -> Exit:
    """Engage the stop; where the proxy does not do it, leave the file that makes it, and ask what came of it."""
    _check_scope(scope)
    body = {
        "level": "reduce_only" if reduce_only else "halt",
        "scope": scope,
        "reason": reason or "halted from the command line",
        "actor": actor_named(actor),
    }
    try:
        answer = admin.post("/admin/v1/ess/engage", body)
    except CommandFailed as error:
        tell(f"riskgate: {error}")
        if isinstance(error, AdminRefused) and error.status == UNPROCESSABLE:
            tell("riskgate: NOT HALTED, and nothing was written: say it again as above expects")
            return Exit.REFUSED
        kind, _, name = scope.partition(":")
        if accounts and kind == "account" and name not in accounts:
            known = ", ".join(sorted(accounts))
            tell(f"riskgate: NOT HALTED, and nothing was written: found {scope}; the settings know {known}")
            return Exit.USAGE
        file, sentence = _leave_halt_file(admin, body)
        tell(f"riskgate: {sentence}")
        tell(f"riskgate: {_what_came_of_it(admin, file)}")
        return error.code
    _tell_engaged(answer, body["level"])
    return Exit.OK


def _check_scope(scope: str) -> None:
    kind, _, name = scope.partition(":")
    if scope != GLOBAL and (kind not in KINDS or not name.strip()):
        expected = ", ".join([GLOBAL, *(f"{one}:NAME" for one in KINDS)])
        raise CommandFailed(f"found --scope {scope}; expected one of {expected}. Nothing was changed", Exit.USAGE)


def _tell_engaged(answer: dict[str, Any], asked: str) -> None:
    for stop in stops_of(answer):
        level = str(stop.get("level", ""))
        if answer.get("level_before") != level:
            say(f"engaged and stored: {describe(stop)}")
        elif level == asked:
            say(f"already {level.upper()}, unchanged: {describe(stop)}")
        else:
            say(f"already {level.upper()}, which is stricter than {asked.upper()}, unchanged: {describe(stop)}")
    if unanswered := answer.get("in_flight_unanswered"):
        say(f"at the exchange and unanswered at that moment: {unanswered} order(s)")
    if unknown := answer.get("unknown"):
        say(f"of unknown fate, whenever they were sent: {unknown} order(s)")
    _tell_unrecorded(answer)


def _tell_unrecorded(answer: dict[str, Any]) -> None:
    if answer.get("audited") is False:
        tell("riskgate: it is in force but NOT on record: the audit cannot write; see `riskgate status`")


def _leave_halt_file(admin: AdminClient, body: dict[str, str]) -> tuple[Path | None, str]:
    """Write HALT into a data folder that is there; the file if that worked, and what was done."""
    if admin.data_dir is None:
        return None, "no HALT file was left: there is no data folder without --config or --token-file"
    file = admin.data_dir / HALT_FILE
    if not admin.data_dir.is_dir():
        # A folder that is not there belongs to no proxy; making it would only look like stopping one.
        said = f"no HALT file was left: there is no data folder {admin.data_dir}, so no proxy runs on it"
        if DATA_DIR_VARIABLE in os.environ:
            said += f" ({DATA_DIR_VARIABLE} in this shell names it, whatever the settings file says)"
        return None, said
    left = {**body, "at": _now().isoformat()}
    try:
        with file.open("wb") as out:
            out.write(orjson.dumps(left) + b"\n")
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        return None, f"no HALT file was left: {file}: {error.strerror}"
    sentence = f"wrote {file}: a proxy on this folder halts when it sees the file, and starts halted."
    if body["level"] != "halt" or body["scope"] != GLOBAL:
        sentence += " The file means HALT for everything, which is stricter than what was asked."
    return file, sentence


def _what_came_of_it(admin: AdminClient, file: Path | None) -> str:
    """Ask the open health question until it says HALT or the file has had its time."""
    clock = SystemClock()
    ends_at = clock.monotonic() + (CONFIRM_S if file is not None else 0.0)
    while True:
        found = _stop_in_force(admin)
        if found == "halt":
            return f"HALTED: the proxy at {admin.url} says that HALT is in force"
        if found is None and file is None:
            return f"NOT HALTED: nothing answers at {admin.url}, and no file was left"
        if found is None:
            return f"not confirmed: nothing answers at {admin.url}. If a proxy runs elsewhere, it goes on trading"
        if clock.monotonic() >= ends_at:
            break
        time.sleep(CONFIRM_EVERY_S)
    held = f"its emergency stop is {found.upper()}"
    folder = f"; {admin.data_dir} is not its data folder" if file is not None else ""
    return (
        f"NOT HALTED: a proxy answers at {admin.url}, and {held}{folder}. Orders go on. Do one of: "
        "riskgate halt with the --config or the --token-file of that proxy; touch HALT in its data_dir; "
        "kill -USR1 its process"
    )


def _stop_in_force(admin: AdminClient) -> str | None:
    """The global stop as /readyz tells it without a token; None if nothing usable answers."""
    try:
        _, answer = admin.probe("/readyz")
    except CommandFailed:
        return None
    parts = answer.get("parts") if isinstance(answer, dict) else None
    stop = parts.get("emergency_stop") if isinstance(parts, dict) else None
    return str(stop["state"]) if isinstance(stop, dict) and "state" in stop else "unknown"


def _now() -> datetime:
    return SystemClock().now()


def resume(admin: AdminClient, *, scope: str, reason: str, actor: str, confirmed: bool) -> Exit:
    """Release the stop as it is now; a stop that changed in between is left alone."""
    if not reason.strip():
        raise CommandFailed("a release needs a reason: --reason TEXT", Exit.USAGE)
    stops = stops_of(admin.get("/admin/v1/ess"))
    current = next((one for one in stops if one.get("scope") == scope), None)
    if current is None:
        scopes = ", ".join(str(one.get("scope")) for one in stops)
        raise CommandFailed(f"no stop has the scope {scope!r}; there are: {scopes}", Exit.USAGE)
    say(f"now: {describe(current)}")
    if current.get("level") == "clear":
        say("already clear, unchanged")
    elif not confirmed:
        raise CommandFailed("nothing was released: add --yes to let orders pass again", Exit.REFUSED)
    else:
        body = {"scope": scope, "reason": reason, "actor": actor_named(actor), "expected_epoch": current["epoch"]}
        answer = admin.post("/admin/v1/ess/release", body)
        if answer.get("released") is False:
            say(f"NOT released yet, asked for by {answer.get('asked_by')}: {answer.get('detail')}")
            say(f"until {answer.get('until')}: riskgate resume --actor SOMEBODY_ELSE --reason ... --yes")
            say("where people have tokens of their own: --token-file THEIR_TOKEN instead of --actor")
            return Exit.REFUSED
        for stop in stops_of(answer):
            say(f"released and stored: {describe(stop)}")
        _tell_unrecorded(answer)
    _tell_what_still_holds(admin, scope)
    return Exit.OK


def _tell_what_still_holds(admin: AdminClient, scope: str) -> None:
    """A release of one scope lets nothing pass that another one holds."""
    for stop in stops_of(admin.get("/admin/v1/ess")):
        if stop.get("level") != "clear" and stop.get("scope") != scope:
            whose = "orders are still blocked" if stop.get("scope") == GLOBAL else "still stopped"
            say(f"{whose}: {describe(stop)}")


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
        for line in not_ready(_section(answer, "parts")):
            tell(f"riskgate: {line}")
    return Exit.OK if good else Exit.FAILED


def wait(admin: AdminClient, *, timeout_s: float, as_json: bool) -> Exit:
    """Ask until orders can be judged, for at most `timeout_s`; then say what is missing, and exit 1."""
    clock = SystemClock()
    ends_at = clock.monotonic() + timeout_s
    while clock.monotonic() < ends_at:
        try:
            code, _ = admin.probe("/readyz")
        except AdminUnreachable:
            code = 0
        if code == 200:
            break
        time.sleep(WAIT_EVERY_S)
    return health(admin, ready=True, as_json=as_json)

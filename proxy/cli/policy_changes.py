"""`policy get`, `set`, `patch`, `use`, `list`, `history`, `rollback`, `presets` and `validate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import yaml

from proxy.cli.admin_client import AdminClient, AdminRefused
from proxy.cli.output import CommandFailed, Exit, say, say_json, table, tell
from proxy.cli.policies import PATH, show
from proxy.cli.stopping import actor_named
from proxy.config import read_document
from proxy.policy_file import read_policy_file
from rules.profile import warnings

OVERTAKEN = 412
NOT_FOUND = 404
UNPROCESSABLE = 422


def get(admin: AdminClient, path: str, *, as_json: bool) -> Exit:
    """One value by its path, or the whole policy; exit 1 if there is no such value."""
    if not path:
        show(admin, as_json=as_json)
        return Exit.OK
    try:
        found = admin.get(f"{PATH}/value?path={quote(path, safe='')}")
    except AdminRefused as refused:
        if refused.status != NOT_FOUND:
            raise
        tell(f"riskgate: {refused}")
        return Exit.FAILED
    if as_json:
        say_json(found)
    elif isinstance(found["value"], Mapping | list):
        say(yaml.safe_dump(found["value"], sort_keys=False, allow_unicode=True, width=120).rstrip())
    else:
        say(_word(found["value"]))
    return Exit.OK


def change(
    admin: AdminClient, changes: Mapping[str, Any], *, reason: str, actor: str, revision: int | None, dry_run: bool
) -> Exit:
    """Show what changes would come to, then make them on the revision that was looked at."""
    if not reason.strip() and not dry_run:
        raise CommandFailed("a change of limits needs a reason: --reason TEXT", Exit.USAGE)
    seen = int(admin.get(PATH)["revision"]) if revision is None else revision
    body = {"changes": changes, "updated_by": actor_named(actor), "reason": reason or "dry run"}
    told = _asked(lambda: admin.patch(f"{PATH}?dry_run=true", body, if_match=seen))
    for one in told["changes"]:
        say(f"  {one['path']}: {one['before']} -> {one['after']}")
    for line in told["looser"]:
        say(f"  looser: {line}")
    if not told["changes"]:
        say(f"nothing changes: that is the policy in force (revision {seen})")
        return Exit.OK
    if dry_run:
        return Exit.FAILED  # as diff has it: something would change
    answer = _asked(lambda: admin.patch(PATH, body, if_match=seen))
    say(f"stored: revision {answer['revision']}, in force from now on")
    _remarks(answer)
    return Exit.OK


def patched_by_file(file: Path) -> Mapping[str, Any]:
    """The changes that a file states: a part of a policy, YAML or TOML."""
    return read_document(file)


def assigned(assignments: Sequence[str]) -> dict[str, Any]:
    """`defaults.leverage_max=3 accounts.main.symbols=[BTCUSDT]` as changes; `null` removes."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        steps = path.strip().split(".")
        if not equals or not all(steps):
            expected = "PATH=VALUE, such as defaults.leverage_max=3"
            raise CommandFailed(f"found {assignment!r}, expected {expected}", Exit.USAGE)
        here = changes
        for step in steps[:-1]:
            here = here.setdefault(step, {})
            if not isinstance(here, dict):
                raise CommandFailed(f"found {path} below a value that is set as well", Exit.USAGE)
        here[steps[-1]] = _value(text.strip())
    return changes


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """A list or a section as JSON or in YAML's short form; all else is text, as a file's would be."""
    if text == "null":
        return None
    if text[:1] in ("[", "{"):
        try:
            return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - every scalar stays text
        except yaml.YAMLError as error:
            raise CommandFailed(f"found {text[:60]!r}, expected a list or a section: {error}", Exit.USAGE) from None
    return text


def use(admin: AdminClient, mode: str, *, reason: str, actor: str) -> Exit:
    """Make another risk mode the active one."""
    if not reason.strip():
        raise CommandFailed("a change of limits needs a reason: --reason TEXT", Exit.USAGE)
    body = {"mode": mode, "updated_by": actor_named(actor), "reason": reason}
    answer = _asked(lambda: admin.post(f"{PATH}/risk-mode", body))
    say(f"{answer['active']} is the risk mode from now on (revision {answer['revision']})")
    return Exit.OK


def modes(admin: AdminClient, *, as_json: bool) -> None:
    """Every risk mode, and which is active."""
    found = admin.get(f"{PATH}/risk-modes")
    if as_json:
        say_json(found)
        return
    rows = [
        [
            "*" if name == found["active"] else "", name, str(one["leverage_max"]), _percent(one["trade_risk_max"]),
            _percent(one["drawdown_daily_max"]), str(one["open_positions_max"]), str(one["position_notional_max"]),
            str(one["confidence_min"]),
        ]
        for name, one in found["modes"].items()
    ]  # fmt: skip
    head = ["", "mode", "leverage", "one order", "daily loss", "positions", "position", "confidence"]
    for line in table(head, rows):
        say(line)


def history(admin: AdminClient, *, count: int, revision: int | None, as_json: bool) -> Exit:
    """The latest revisions, or what one of them changed."""
    if revision is not None:
        found = _asked(lambda: admin.get(f"{PATH}/history/{revision}"))
        if as_json:
            say_json(found)
            return Exit.OK
        say(f"revision {found['revision']}, {_time(found['updated_at'])}, by {found['updated_by']}: {found['reason']}")
        for one in found["changes"]:
            say(f"  {one['path']}: {one['before']} -> {one['after']}")
        return Exit.OK
    found = admin.get(f"{PATH}/history?limit={count}")
    if as_json:
        say_json(found)
        return Exit.OK
    rows = [
        [str(one["revision"]), _time(one["updated_at"]), one["updated_by"], " ".join(one["reason"].split())]
        for one in found["revisions"]
    ]
    for line in table(["revision", "when", "who", "why"], rows):
        say(line)
    return Exit.OK


def rollback(admin: AdminClient, revision: int, *, reason: str, actor: str) -> Exit:
    """Bring an older revision's policy back, as a new revision."""
    if not reason.strip():
        raise CommandFailed("a change of limits needs a reason: --reason TEXT", Exit.USAGE)
    seen = int(admin.get(PATH)["revision"])
    body = {"revision": revision, "updated_by": actor_named(actor), "reason": reason}
    answer = _asked(lambda: admin.post(f"{PATH}/rollback", body, if_match=seen))
    say(f"the policy of revision {revision} is in force again, as revision {answer['revision']}")
    _remarks(answer)
    return Exit.OK


def presets(admin: AdminClient, name: str, *, off: bool, reason: str, actor: str, as_json: bool) -> Exit:
    """List presets, apply one, or take its limits off."""
    if not name and not off:
        found = admin.get(f"{PATH}/presets")
        if as_json:
            say_json(found)
            return Exit.OK
        rows = [
            ["*" if one == found["active"] else "", one, preset.get("active_mode", ""), preset.get("description", "")]
            for one, preset in found["presets"].items()
        ]
        for line in table(["", "preset", "mode", "what"], rows):
            say(line)
        return Exit.OK
    if name and off:
        raise CommandFailed("found a preset and --off, expected one of them", Exit.USAGE)
    if not reason.strip():
        raise CommandFailed("a change of limits needs a reason: --reason TEXT", Exit.USAGE)
    body = {"preset": name or None, "updated_by": actor_named(actor), "reason": reason}
    answer = _asked(lambda: admin.post(f"{PATH}/presets", body))
    on = answer["active_preset"]
    say(f"preset {on or 'none'}, risk mode {answer['active']} (revision {answer['revision']})")
    return Exit.OK


def validate(file: Path) -> Exit:
    """Read a policy file as `run` and `apply` do, asking no proxy; what is wrong ends with exit 2."""
    policy = read_policy_file(file)
    for warning in warnings(policy):
        tell(f"riskgate: remark: {warning}")
    say(f"{file}: a whole policy, mode {policy.active_mode}, {len(policy.accounts)} account(s)")
    return Exit.OK


def _asked(ask: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The answer; a refusal says that nothing was changed, and why."""
    try:
        return ask()
    except AdminRefused as refused:
        if refused.status == OVERTAKEN:
            sentence = "nothing was changed: somebody changed the policy meanwhile; look again"
            raise CommandFailed(sentence, Exit.REFUSED) from None
        problems = refused.answer.get("problems") if isinstance(refused.answer, Mapping) else None
        if refused.status == UNPROCESSABLE and problems:
            for line in problems:
                tell(f"riskgate: {line}")
            raise CommandFailed("nothing was changed: the policy would not be valid", Exit.REFUSED) from None
        raise CommandFailed(f"nothing was changed: {refused}", Exit.REFUSED) from None


def _remarks(answer: Mapping[str, Any]) -> None:
    for warning in answer.get("warnings", ()):
        tell(f"riskgate: remark: {warning}")


def _word(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _percent(share: object) -> str:
    text = str(share)
    if text.endswith("%"):
        return text
    return f"{float(text) * 100:g}%"


def _time(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")

"""`riskgate check`, and how every command finds its settings file."""

from __future__ import annotations

import os
from pathlib import Path

from proxy import loops
from proxy.cli.output import CommandFailed, Exit, say, say_json
from proxy.cli.remarks import remarks
from proxy.config import CONFIG_VARIABLE, Problem, Settings, SettingsInvalid, load, load_part
from proxy.stores import shown

USUAL_NAMES = ("riskgate.yaml", "riskgate.yml", "riskgate.toml")


def find_config(given: Path | None) -> Path:
    """The settings file: the option, else RISKGATE_CONFIG, else the usual name in this folder."""
    if given is not None:
        return given
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    for name in USUAL_NAMES:
        if Path(name).is_file():
            return Path(name)
    sentence = f"found no {USUAL_NAMES[0]} in {Path.cwd()}; expected --config FILE, or `riskgate init` first"
    raise CommandFailed(sentence, Exit.USAGE)


def read_settings(given: Path | None) -> Settings:
    """All settings, every reference resolved: what `run` needs."""
    return load(find_config(given))


def read_sections(given: Path | None, *sections: str) -> Settings:
    """Some sections of the settings, for commands beside a running proxy; needs no secret."""
    return load_part(find_config(given), sections)


def check(given: Path | None, *, as_json: bool) -> Exit:
    """Print every problem of the settings, or what they amount to."""
    file = find_config(given)
    try:
        settings = load(file)
        _check_loop(settings)
        found = remarks(settings)
    except SettingsInvalid as invalid:
        if as_json:
            say_json({"ok": False, "problems": [problem._asdict() for problem in invalid.problems]})
        else:
            for problem in invalid.problems:
                say(str(problem))
            say(f"{len(invalid.problems)} problem(s); the proxy would not start.")
        return Exit.USAGE
    if as_json:
        say_json({"ok": True, "remarks": found, "settings": settings.model_dump(mode="json")})
    else:
        for line in [*summary(settings), *(f"remark: {remark}" for remark in found)]:
            say(line)
    return Exit.OK


def _check_loop(settings: Settings) -> None:
    if settings.event_loop == "uvloop" and (found := loops.lacking()):
        raise SettingsInvalid((Problem(settings.source, "event_loop", found, loops.UVLOOP_WANTED),))


def summary(settings: Settings) -> list[str]:
    """What the settings amount to, in a few lines."""
    lines = [
        f"{settings.source}: good.",
        f"bots connect to {settings.listen.bind}, people to {settings.admin.bind}",
        f"policies: {shown(settings.store.url)}; audit: {settings.audit.sync}; "
        f"global risk signal: {settings.global_risk.source}",
    ]
    for name, account in settings.accounts.items():
        bots = ", ".join(account.bots) or "no bots"
        lines.append(f"account {name}: {account.exchange}, {account.mode}, {bots}")
    if not settings.accounts:
        lines.append("no accounts: every request that needs a key will be refused")
    if settings.environment_names:
        lines.append(f"changed by the environment: {', '.join(settings.environment_names)}")
    return lines

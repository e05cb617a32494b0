"""`riskgate run`: the proxy in the foreground until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from proxy import loops
from proxy.cli.checking import read_settings
from proxy.cli.output import CommandFailed, Exit, tell
from proxy.cli.service_manager import ServiceManager
from proxy.cli.stopping import describe
from proxy.config import Settings
from proxy.errors import StoreError
from proxy.policy_file import difference
from proxy.tasks import Tasks
from rules import EssLevel

if TYPE_CHECKING:
    from proxy.app import App


def settings_for(config: Path | None) -> Settings:
    """The settings, with what they amount to told on stderr; values of the environment are never shown."""
    settings = read_settings(config)
    for name in settings.environment_names:
        tell(f"riskgate: the environment variable {name} overrides the settings file")
    return settings


def run(settings: Settings) -> Exit:
    """Serve until TERM or INT; the second of them ends the drain."""
    _check_addresses(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return loops.run(_serve(settings), settings.event_loop)


def _check_addresses(settings: Settings) -> None:
    """An address that is taken is found before anything is opened or asked of the exchange."""
    for key, bind in (("listen.bind", settings.listen.bind), ("admin.bind", settings.admin.bind)):
        family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
        try:
            socket.create_server(bind, family=family).close()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            sentence = f"cannot start: {key}: found {bind}: {why}; expected an address that is free"
            raise CommandFailed(sentence) from None


async def _serve(settings: Settings) -> Exit:
    from proxy.app import App

    loop = asyncio.get_running_loop()
    told, hurry = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurry if told.is_set() else told).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    app = App.from_settings(settings)
    manager, feeding = ServiceManager(os.environ), Tasks()
    try:
        try:
            await app.start()
        except (OSError, StoreError) as error:  # an address in use, a folder that cannot be written, no policy
            raise CommandFailed(f"cannot start: {error}") from error
        tell(f"riskgate: the event loop is {loops.running()}")
        tell(f"riskgate: bots connect to {app.proxy_url}; admin at {app.admin_url}")
        tell(f"riskgate: the admin token is in {settings.admin_token_path}")
        for line in at_start(app, settings):
            tell(f"riskgate: {line}")
        manager.ready(f"bots connect to {app.proxy_url}")
        if manager.watchdog_s is not None:
            feeding.spawn(manager.feed(), name="watchdog")
        await told.wait()
        manager.stopping()
        tell("riskgate: stopping; a second signal stops at once")
    finally:
        await _stop(app, hurry)
        await feeding.close()  # fed to the end: a drain may take longer than the watchdog waits
    return Exit.FAILED if hurry.is_set() else Exit.OK


def at_start(app: App, settings: Settings) -> list[str]:
    """What whoever starts it should know: a stop in force, and a policy file that is not."""
    from proxy.admin.stopping import stop_document

    lines = [
        f"emergency stop: {describe(stop_document(stop))}; `riskgate resume` releases it"
        for stop in app.latch.stops()
        if stop.level is not EssLevel.CLEAR
    ]
    if settings.policy_file is not None and (said := difference(settings.policy_file, app.policies.current)):
        lines.append(said)
    return lines


async def _stop(app: App, hurry: asyncio.Event) -> None:
    """Drain; a second signal cuts it short."""
    tasks = Tasks()
    draining = tasks.spawn(app.stop(), name="drain")
    hurrying = tasks.spawn(hurry.wait(), name="hurry")
    try:
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if draining.done():
            await draining
    finally:
        await tasks.close()

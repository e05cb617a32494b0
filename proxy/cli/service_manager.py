"""What a service manager is told: ready, still alive, stopping (systemd's sd_notify protocol).

The watchdog is fed from the event loop, so a loop that stands still is a service that is restarted. Source:
the manual page sd_notify(3) of systemd.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import NoReturn

import structlog

log = structlog.get_logger("riskgate.service_manager")

MICROSECONDS_PER_SECOND = 1_000_000
FEEDS_PER_WATCHDOG = 3  # so that two lines may be lost before the manager acts


class ServiceManager:
    """Whoever started this process and wants to hear of it; nobody, unless the environment names a socket."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A name that starts with @ is abstract, which the kernel writes as a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environment) if address else None

    @property
    def listens(self) -> bool:
        """Whether anybody is told."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Start-up is over: orders can be judged."""
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """The drain has begun."""
        self._tell("STOPPING=1\nSTATUS=draining")

    async def feed(self) -> NoReturn:
        """Say again and again that the event loop runs; to be spawned only where `watchdog_s` is set."""
        if self.watchdog_s is None:
            raise ValueError("nobody asked for a watchdog")
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / FEEDS_PER_WATCHDOG)

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)  # orders do not wait for the service manager
                line.sendto(message.encode(), self._address)
        except OSError as error:
            # It notices by itself: a start that is never ready and a watchdog that starves are acted on.
            log.warning("service_manager.unreachable", error=str(error))


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """How often the manager wants to hear of this process, in seconds; None if it does not ask or asks another."""
    asked, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not asked.isdecimal() or int(asked) == 0 or (process and process != str(os.getpid())):
        return None
    return int(asked) / MICROSECONDS_PER_SECOND

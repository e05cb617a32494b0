"""Which event loop a program runs on: uvloop where it is installed, else asyncio's own.

uvloop before 0.23 kept what was written until the end of the loop's round. The stop waits for such bytes as
for all others, but the last look would no longer be in the step in which bytes are handed to the socket, so
an older one is not used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any, Final, Literal, TypeVar

from proxy.errors import ConfigError

Choice = Literal["auto", "asyncio", "uvloop"]
Factory = Callable[[], asyncio.AbstractEventLoop]
UVLOOP_MIN: Final = "0.23"
UVLOOP_WANTED: Final = f"uvloop {UVLOOP_MIN} or newer: pip install 'riskgate[speed]'"

_Result = TypeVar("_Result")


def run(main: Coroutine[Any, Any, _Result], choice: Choice = "auto") -> _Result:
    """Run a program to its end. Raises ConfigError where the loop that is asked for is not there."""
    try:
        factory = factory_of(choice)
    except ConfigError:
        main.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def factory_of(choice: Choice) -> Factory | None:
    """What makes the loop, None for asyncio's own. Raises ConfigError if uvloop is asked for and cannot be used."""
    if choice == "asyncio":
        return None
    if found := lacking():
        if choice == "uvloop":
            raise ConfigError(f"event_loop: found {found}; expected {UVLOOP_WANTED}")
        return None
    import uvloop

    factory: Factory = uvloop.new_event_loop
    return factory


def lacking() -> str:
    """What was found in place of a uvloop that can be used; empty where there is one."""
    try:
        import uvloop  # noqa: F401 - whether the `speed` extra is installed, and for this machine
    except ImportError as error:
        return f"no uvloop ({error})"
    found = version("uvloop")
    return f"uvloop {found}" if _numbers(found) < _numbers(UVLOOP_MIN) else ""


def running() -> str:
    """The loop this runs on: its name and, where it has one of its own, its version; empty outside of any."""
    try:
        name = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    except RuntimeError:
        return ""
    return f"{name} {version(name)}" if name == "uvloop" else name


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])

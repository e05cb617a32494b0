"""What the tests hold in their hands: the running house, a driver, and one client in it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from tests import canary
from tests.clients.environments import ROOT, python
from tests.clients.house import BOT, DIRECT

DRIVERS = Path(__file__).parent / "drivers"
START_TIMEOUT_S = 100.0
ANSWER_TIMEOUT_S = 60.0


class Subject(NamedTuple):
    """One way of using one client."""

    environment: str
    market: str  # "spot" or "futures"
    flavour: str = "sync"

    def __str__(self) -> str:
        return f"{self.environment}-{self.market}" + ("-async" if self.flavour == "async" else "")

    @property
    def driver(self) -> Path:
        """The script that drives the client."""
        return DRIVERS / f"drive_{self.environment.replace('-', '_')}.py"

    @property
    def order_path(self) -> str:
        """Where its orders go."""
        return {"spot": "/api/v3/order", "futures": "/fapi/v1/order"}[self.market]


SUBJECTS = (
    Subject("ccxt", "spot"),
    Subject("ccxt", "futures"),
    Subject("ccxt", "spot", "async"),
    Subject("ccxt", "futures", "async"),
    Subject("python-binance", "spot"),
    Subject("python-binance", "futures"),
    Subject("python-binance", "spot", "async"),
    Subject("python-binance", "futures", "async"),
    Subject("binance-connector", "spot"),
    Subject("binance-futures-connector", "futures"),
    Subject("binance-sdk", "futures"),
)
MODES = {"passthrough": ("direct/plain", DIRECT), "custody": ("desk/bot", BOT)}


class Lines:
    """A process that answers in JSON lines; reading one has a deadline, and an early end is told with its stderr."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self._stderr: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )  # fmt: skip
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_out, self._read_err)]
        for reader in self._readers:
            reader.start()

    def _read_out(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _read_err(self) -> None:
        for line in self._process.stderr:
            self._stderr.append(line)

    def read(self, timeout_s: float) -> dict[str, Any]:
        """The next line."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError(f"no line within {timeout_s:g} s; stderr: {''.join(self._stderr)[-3000:]}") from None
        assert line, f"the process ended; stderr: {''.join(self._stderr)[-3000:]}"
        return json.loads(line)

    def write(self, value: dict[str, Any]) -> None:
        """One line to its stdin."""
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def leak(self) -> str | None:
        """Where a secret stands in what it wrote to stderr."""
        return canary.found_in("".join(self._stderr).encode())

    def close(self) -> None:
        """End it by closing its stdin; it ends itself, or is killed."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(5)
        self._process.stdout.close()
        self._process.stderr.close()


class Running:
    """A house: where everything is, and hands on the exchange and the emergency stop."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self._lines = Lines([sys.executable, "-m", "tests.clients.house", *(["--tls"] if tls else [])])
        self.known = self._lines.read(START_TIMEOUT_S)
        self._seen = {"arrived": 0, "sent": 0}
        self._config = folder / "riskgate.yaml"
        self._config.write_text(_config(self.known, tls=tls))

    def close(self) -> None:
        """End it."""
        self._lines.close()
        assert self._lines.leak() is None, f"a secret stands in what the house said: {self._lines.leak()}"

    def leaks(self) -> list[str]:
        """Where secrets stand in what the proxy said and wrote since it began."""
        said = self._lines.leak()
        return self._ask("control_url", "/control/leaks") + ([] if said is None else [f"the house said: {said}"])

    def snippet(self, client: str, mode: str) -> str:
        """What `riskgate snippet` prints for a client and the bot of a key mode."""
        command = [sys.executable, "-m", "proxy", "snippet", client, "--bot", MODES[mode][0]]
        done = subprocess.run(
            [*command, "--config", str(self._config)], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done.stderr
        canary.noted((done.stdout + done.stderr).encode())
        return done.stdout

    def fault(self, **fault: object) -> None:
        """Let the exchange misbehave."""
        self._ask("control_url", "/control/fault", fault)

    def reset(self) -> None:
        """No faults, no working orders; what arrived and was sent so far is forgotten."""
        self._seen = self._ask("control_url", "/control/reset", {})

    def arrived(self) -> list[dict[str, Any]]:
        """What the exchange received since the last reset, the proxy's own reads included."""
        return self._ask("control_url", f"/control/arrived?since={self._seen['arrived']}")

    def orders(self) -> list[dict[str, Any]]:
        """The orders among it."""
        return [one for one in self.arrived() if one["is_order"]]

    def sent(self) -> list[bytes]:
        """The requests that clients wrote since the last reset, as bytes."""
        found = self._ask("control_url", f"/control/sent?since={self._seen['sent']}")
        return [one.encode("latin-1") for one in found]

    @contextmanager
    def halted(self) -> Iterator[None]:
        """The emergency stop engaged everywhere, and released again."""
        said = {"scope": "global", "reason": "client tests", "actor": "client tests"}
        self._ask("admin_url", "/admin/v1/ess/engage", {**said, "level": "halt"})
        try:
            yield
        finally:
            epoch = self._ask("admin_url", "/admin/v1/ess")["stops"][0]["epoch"]
            for person in ("client tests", "a second person"):
                self._ask("admin_url", "/admin/v1/ess/release", {**said, "actor": person, "expected_epoch": epoch})
            # What was halted may only reduce until it was read again.
            ends_s = time.monotonic() + 30
            while self._ask("admin_url", "/admin/v1/ess")["recovering"] and time.monotonic() < ends_s:
                time.sleep(0.05)

    def _ask(self, where: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(self.known[where] + path)
        request.add_header("Authorization", f"Bearer {self.known['admin_token']}")
        request.add_header("Content-Type", "application/json")
        if body is not None:
            request.data = json.dumps(body).encode()
        # No environment proxy may stand between the tests and this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            body = answer.read()
        if where == "admin_url":
            canary.noted(body)
        return json.loads(body)


def _config(known: dict[str, str], *, tls: bool) -> str:
    """The settings a user of this house would have, as far as a snippet is made from them."""
    listen = f"  bind: {known['proxy_url' if tls else 'tap_url'].partition('//')[2]}\n"
    if tls:
        domain = known["domain"]
        listen += f"  tls: {{cert: {known['cert_file']}, key: {known['key_file']}}}\n"
        listen += f"  host_families: {{api.{domain}: /api, fapi.{domain}: /fapi}}\n"
    return f"""\
listen:
{listen}accounts:
  direct:
    mode: passthrough
    credentials: {{api_key: "${{env:DIRECT_KEY}}", secret: "${{env:DIRECT_SECRET}}"}}
    bots:
      plain: {{key: "${{env:PLAIN_KEY}}"}}
  desk:
    mode: custody
    credentials: {{api_key: "${{env:DESK_KEY}}", secret: "${{env:DESK_SECRET}}"}}
    bots:
      bot: {{key: "${{env:BOT_KEY}}", secret: "${{env:BOT_SECRET}}"}}
"""


class Driver:
    """A client's process; the clients in it are made once per name."""

    def __init__(self, subject: Subject, house: Running) -> None:
        ca_file = house.known["ca_file"]
        trust = {"REQUESTS_CA_BUNDLE": ca_file} if ca_file else {}
        self._house = house
        self._lines = Lines([str(python(subject.environment)), str(subject.driver)], **trust)
        self._connected: dict[str, str] = {}

    def ask(self, do: str, **command: object) -> dict[str, Any]:
        """Have the client do something; how it ended, in the client's own terms."""
        self._lines.write({"do": do, **command})
        answer = self._lines.read(ANSWER_TIMEOUT_S)
        canary.noted(json.dumps(answer).encode())  # what the proxy said to it, by plain http and by TLS
        return answer

    def client(self, subject: Subject, mode: str, *, way: int = 1) -> Client:
        """A client configured by the printed snippet."""
        name = f"{subject} {mode} {way}"
        if name not in self._connected:
            key = MODES[mode][1]
            more = {}
            if way == 2:
                more = {"way": 2, "ca_file": self._house.known["ca_file"], "domain": self._house.known["domain"]}
            answer = self.ask(
                "connect", name=name, snippet=self._house.snippet(subject.environment, mode), key=key.key,
                secret=key.secret, market=subject.market, flavour=subject.flavour, **more,
            )  # fmt: skip
            assert answer["outcome"] == "ok", answer
            self._connected[name] = answer["version"]
        return Client(self, subject, mode, name, self._connected[name])

    def close(self) -> None:
        """End it."""
        self._lines.close()


@dataclass
class Client:
    """One configured client, and the orders it is told to send."""

    driver: Driver
    subject: Subject
    mode: str
    name: str
    version: str

    def place(
        self, quantity: str = "0.005", *, symbol: str = "BTCUSDT", form: str = "limit", **other: str
    ) -> dict[str, Any]:
        """Send an order, unless told otherwise a limit buy a little below the market so that it rests."""
        price = {"BTCUSDT": "59000", "DOGEUSDT": "0.14"}[symbol]
        given = {"price": price, "client_id": other.get("client_id") or self.new_id(), **other}
        answer = self.driver.ask("place", on=self.name, symbol=symbol, quantity=quantity, form=form, **given)
        return {**answer, "sent_id": given["client_id"]}

    def cancel(self, client_id: str) -> dict[str, Any]:
        """Cancel by client order id."""
        return self.driver.ask("cancel", on=self.name, symbol="BTCUSDT", client_id=client_id)

    def reads(self) -> dict[str, Any]:
        """What the client reads by itself: the listing, the time, the balance."""
        return self.driver.ask("reads", on=self.name)

    def new_id(self) -> str:
        """A client order id nobody used before."""
        return f"t{os.urandom(8).hex()}"


class Request(NamedTuple):
    """A request on the wire, taken apart only as far as comparing needs."""

    method: str
    target: str
    headers: list[list[str]]
    body: str

    @classmethod
    def read(cls, raw: bytes) -> Request:
        """Read one request from its bytes."""
        head, _, body = raw.decode("latin-1").partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = [[name, value.strip()] for name, _, value in (line.partition(":") for line in lines)]
        return cls(method, target, headers, body)

    def parameters(self) -> dict[str, str]:
        """Query and body together."""
        pairs = parse_qs(self.target.partition("?")[2]) | parse_qs(self.body)
        return {name: values[0] for name, values in pairs.items()}

"""`riskgate demo` is true: six requests through the real path, and a failure is shown as one."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import aiohttp
import pytest

from proxy.cli import demo
from proxy.cli.demo import Binds, Demo, DemoBot, Key, Step
from proxy.cli.main import run
from proxy.config import read_yaml
from rules.profile import GlobalPolicy, warnings

ROOT = Path(__file__).parents[3]


def test_once_shows_six_right_steps_and_exits_0(capfd, tmp_path):
    """The whole demo over real sockets: six rows, all right, nothing else printed, nothing left running."""
    assert run(["demo", "--once", "--data-dir", str(tmp_path)]) == 0

    out = capfd.readouterr().out
    rows = [line.split()[:2] for line in out.splitlines() if line[:1].isdigit()]
    assert rows == [[str(number), "right"] for number in range(1, 7)]
    assert "bytes identical: yes" in out
    assert "0.05 -> 0.010, signature valid at the exchange: yes" in out
    assert "403: risk gate: Symbol DOGEUSDT is not among those allowed here" in out
    assert "All six were right." in out


def test_the_demo_leaves_a_record_that_verifies(tmp_path):
    """What the demo did is on record like anything else, and the chain holds."""
    assert run(["demo", "--once", "--data-dir", str(tmp_path)]) == 0
    (tmp_path / "riskgate.yaml").write_text(f"data_dir: {tmp_path}\n")

    assert run(["audit", "verify", "--config", str(tmp_path / "riskgate.yaml")]) == 0


def test_one_wrong_step_makes_the_demo_fail(monkeypatch, capfd, tmp_path):
    """With a step that is not right, `--once` says WRONG and does not exit 0."""

    async def wrong(self: Demo) -> Step:
        return Step("a cancel while halted", "passes", "403", right=False)

    monkeypatch.setattr(Demo, "_cancelled", wrong)

    assert run(["demo", "--once", "--data-dir", str(tmp_path)]) == 1
    assert "1 of 6 were WRONG." in capfd.readouterr().out


def test_a_step_that_raises_is_a_wrong_step(monkeypatch, capfd, tmp_path):
    """An exception in one step is shown as that row's result, and the other five still run."""

    async def broken(self: Demo) -> Step:
        raise ConnectionResetError("gone")

    monkeypatch.setattr(Demo, "_scaled", broken)

    assert run(["demo", "--once", "--data-dir", str(tmp_path)]) == 1
    out = capfd.readouterr().out
    assert "ConnectionResetError: gone" in out
    assert sum(line[:1].isdigit() and line[1:3] == "  " for line in out.splitlines()) == 6


def test_an_exchange_that_would_lose_bytes_is_noticed(monkeypatch, capfd, tmp_path):
    """If what the exchange received differs from what was sent, step one is wrong."""
    real = Demo._received

    def altered(self: Demo, name: str) -> object:
        seen = real(self, name)
        if seen is not None and name == "demo-1":
            seen.body += b"&x=1"
        return seen

    monkeypatch.setattr(Demo, "_received", altered)

    assert run(["demo", "--once", "--data-dir", str(tmp_path)]) == 1
    assert "bytes identical: NO" in capfd.readouterr().out


@pytest.mark.parametrize("option", ["--proxy-bind", "--admin-bind", "--exchange-bind"])
def test_a_wrong_address_is_a_usage_error(option, capfd):
    """An address that cannot be read exits 2 before anything is started."""
    assert run(["demo", "--once", option, "nonsense"]) == 2
    assert option in capfd.readouterr().err


def test_an_address_in_use_is_a_sentence(capfd, tmp_path):
    """A port that is taken ends the demo with what and where, not with a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for option in ("--exchange-bind", "--proxy-bind", "--admin-bind"):
            assert run(["demo", "--once", option, address, "--data-dir", str(tmp_path)]) == 1
            assert "the demo cannot run" in capfd.readouterr().err


def test_the_demo_policy_is_valid():
    """The policy the demo starts with is one the store accepts, without remarks."""
    assert warnings(GlobalPolicy.model_validate(read_yaml(demo.POLICY_TEXT, "policy.yaml"))) == []


def test_keys_are_fresh_and_secrets_hidden():
    """Each demo draws its own keys, and a key's repr shows no secret."""
    one, two = Key.new(), Key.new()

    assert one.secret != two.secret
    assert one.secret not in repr(one)


def test_binds_are_read_apart():
    """The three addresses reach the three parts."""
    binds = Binds.parse(proxy="127.0.0.1:1", admin="127.0.0.1:2", exchange="127.0.0.1:3")

    assert (binds.proxy.port, binds.admin.port, binds.exchange.port) == (1, 2, 3)


async def test_without_once_it_keeps_running_and_says_how_to_reach_it(tmp_path):
    """The demo stays up: its bot's credentials work from outside, and TERM ends it cleanly."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RISKGATE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", "demo", "--data-dir", str(tmp_path),
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            told = b""
            while b"Running until" not in (line := await process.stdout.readline()):
                assert line, "the demo ended early"
                told += line
        lines = [line.removeprefix("try:").strip() for line in told.decode().splitlines() if " --data-dir " in line]
        assert [line.partition(" proxy ")[2].split()[0] for line in lines] == ["decisions", "audit"]
        for line in lines:  # what it tells people to type works as it stands
            typed = await asyncio.create_subprocess_shell(
                line, cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL
            )
            assert await typed.wait() == 0
        file = tmp_path / "demo_bot.json"
        bot = json.loads(file.read_text())
        assert set(bot) == {"key", "secret", "proxy_url", "admin_url", "exchange_url"}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (tmp_path / "admin_token").is_file()
        async with aiohttp.ClientSession() as session:
            reply = await DemoBot(session, bot["proxy_url"], Key(bot["key"], bot["secret"])).order("0.002", "mine")
            console = next(line.split()[1] for line in told.decode().splitlines() if line.startswith("console "))
            assert console.startswith(f"{bot['admin_url']}/ui/login?once=")
            async with session.get(console, allow_redirects=False) as page:
                assert (page.status, page.headers["Location"]) == (303, "/ui"), "it logs a browser in"
        assert reply.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        left, said = await process.communicate()
    assert process.returncode == 0
    assert f"are left in {tmp_path}" in left.decode()
    assert said == b""


def test_the_command_it_names_is_the_one_that_works(monkeypatch, tmp_path):
    """`riskgate` where the shell finds this very file; else the path it was started by."""
    file = tmp_path / "riskgate"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(file)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert demo.command_name() == "riskgate"

    monkeypatch.setenv("PATH", "/nonexistent")
    assert demo.command_name() == str(file)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    assert demo.command_name() == f"{sys.executable} -P -m proxy"

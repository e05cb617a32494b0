"""`riskgate run` serves until it is told to stop, and says where."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from proxy.cli.main import run
from proxy.cli.serving import settings_for
from tests.canary import noted

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(folder):
    """The folder `init` made, on free ports, with an upstream that nobody answers."""
    file = folder / "riskgate.yaml"
    text = file.read_text().replace("127.0.0.1:8080 ", "127.0.0.1:0 ").replace("127.0.0.1:8099 ", "127.0.0.1:0 ")
    file.write_text(text + "upstream: {api: 'http://127.0.0.1:1', fapi: 'http://127.0.0.1:1'}\n")
    return file


async def started(config: Path, **environment: str) -> tuple[asyncio.subprocess.Process, dict[str, str]]:
    """The process once it listens, and the addresses it told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", "run", "--config", str(config),
        cwd=ROOT, env={**os.environ, **environment}, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    told = ""
    try:
        async with asyncio.timeout(90):
            while "bots connect to" not in told:
                line = (await process.stderr.readline()).decode()
                assert line, f"it ended early: {told}"
                told += line
                noted(line.encode())
    except BaseException:  # nobody else knows of it
        if process.returncode is None:
            process.kill()
        await process.communicate()
        raise
    last = told.splitlines()[-1]
    proxy, admin = (word.rstrip(";") for word in last.split() if word.startswith("http"))
    return process, {"proxy": proxy, "admin": admin, "told": told}


async def test_it_serves_and_term_ends_it_with_0(config):
    """Alive on the admin address, not ready without an exchange, and exit 0 on TERM."""
    process, at = await started(config)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{at['admin']}/healthz") as answer:
            alive = answer.status
        async with session.get(f"{at['admin']}/readyz") as answer:
            ready = answer.status
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        await process.communicate()

    assert (alive, ready) == (200, 503)
    assert process.returncode == 0


async def test_overriding_variables_are_named_and_never_shown(config):
    """A start under RISKGATE_ variables names each; the value could be a secret and is not repeated."""
    process, at = await started(config, RISKGATE_LISTEN__CONNECTIONS_MAX="1234")
    process.send_signal(signal.SIGTERM)
    await process.communicate()

    assert "RISKGATE_LISTEN__CONNECTIONS_MAX" in at["told"]
    assert "1234" not in at["told"].replace(at["proxy"], "").replace(at["admin"], "")


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
async def test_the_event_loop_is_chosen_and_told(config, event_loop):
    """At the start, and to whoever asks for the status."""
    process, at = await started(config, RISKGATE_EVENT_LOOP=event_loop)
    token = (config.parent / "data" / "admin_token").read_text().strip()
    reach = ("--admin-url", at["admin"], "--token-file", str(config.parent / "data" / "admin_token"))
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(f"{at['admin']}/admin/v1/status") as answer,
    ):
        status = await answer.json()
    shown = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", "status", *reach, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await shown.communicate()
    process.send_signal(signal.SIGTERM)
    await process.communicate()

    assert f"the event loop is {event_loop}" in at["told"]
    assert status["event_loop"].split()[0] == event_loop
    assert f", on {status['event_loop']}, up" in said.decode()


def test_a_loop_that_is_not_there_is_found_by_the_check(config, monkeypatch, capsys):
    """`check` tells what the start would fail with."""
    config.write_text(config.read_text() + "event_loop: uvloop\n")
    monkeypatch.setenv("BINANCE_KEY", "k")
    monkeypatch.setenv("BINANCE_SECRET", "s")
    monkeypatch.setattr("proxy.loops.version", lambda name: "0.22.1")

    assert run(["check", "--config", str(config)]) == 2
    assert "event_loop: found uvloop 0.22.1; expected uvloop 0.23 or newer" in capsys.readouterr().out


async def test_hup_and_the_admin_api_read_the_settings_again(config):
    """A changed level is applied and an address waits; a file that is wrong changes nothing and ends nothing."""
    process, at = await started(config)
    token = (config.parent / "data" / "admin_token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def reload():
            async with session.post(f"{at['admin']}/admin/v1/reload", json={"actor": "ann"}) as answer:
                return answer.status, await answer.json()

        text = config.read_text()
        config.write_text(text + "log: {level: debug}\nfeeds: {market_interval: 3s}\n")
        status, done = await reload()
        assert (status, done["applied"], done["requires_restart"]) == (200, ["log.level"], ["feeds.market_interval"])
        assert done["policy_revision"] == 1
        config.write_text(text + "log: {level: loud}\n")
        status, problem = await reload()
        assert (status, "log.level" in problem["detail"]) == (422, True)
        config.write_text(text)
        process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10):
            while (await reload())[1]["applied"] != []:
                await asyncio.sleep(0.05)
        assert (await reload())[1]["requires_restart"] == []
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        await process.communicate()
    assert process.returncode == 0


async def test_a_second_signal_does_not_wait_for_the_drain(config):
    """The first TERM drains; the second ends it at once, with exit 1 because the drain was cut short."""
    process, _ = await started(config, RISKGATE_LISTEN__DRAIN_DELAY="60s")
    assert process.stderr is not None
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        while b"a second signal stops at once" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        await process.communicate()

    assert process.returncode == 1


def test_an_address_in_use_is_a_sentence(config, capfd):
    """A port that is taken ends the start with exit 1 and what is in the way, not with a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config.write_text(config.read_text().replace("127.0.0.1:0 ", f"127.0.0.1:{taken.getsockname()[1]} ", 1))
        assert run(["run", "--config", str(config)]) == 1

    told = capfd.readouterr().err
    assert "cannot start: listen.bind: found 127.0.0.1:" in told
    assert "Address already in use" in told
    assert not (config.parent / "data" / "audit").exists()


def test_settings_for_run_need_every_secret(config, monkeypatch):
    """Unlike the commands beside it, `run` resolves every reference."""
    assert settings_for(config).accounts["main"].credentials is not None
    monkeypatch.delenv("BINANCE_KEY")

    with pytest.raises(Exception, match="BINANCE_KEY, which is not set"):
        settings_for(config)


async def test_a_halted_start_and_a_file_not_in_force_are_told(config):
    """Why nothing passes, in the words of whoever left the file, and which policy counts."""
    process, _ = await started(config)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    left = {"level": "halt", "scope": "global", "reason": "fills nobody knows", "actor": "ann"}
    (config.parent / "data" / "HALT").write_text(json.dumps(left))
    policy = config.parent / "policy.yaml"
    policy.write_text(policy.read_text().replace("order_rate_max: 50", "order_rate_max: 10"))

    process, _ = await started(config)
    told = ""
    async with asyncio.timeout(90):
        while "policy apply" not in told:
            line = (await process.stderr.readline()).decode()
            assert line, told
            told += line
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert "emergency stop: HALT (global): only cancels pass; by ann" in told
    assert "fills nobody knows (the file HALT is in the data directory)" in told
    assert "policy.yaml differs from the stored policy (revision 1), which is in force" in told


async def test_a_service_manager_hears_when_it_is_ready_and_when_it_stops(config, tmp_path):
    """READY comes after the listeners, WATCHDOG while it runs, STOPPING with the signal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(30)
        process, _ = await started(config, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="600000")
        assert (await asyncio.to_thread(line.recv, 1000)).startswith(b"READY=1\nSTATUS=bots connect to http")
        assert await asyncio.to_thread(line.recv, 1000) == b"WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        heard = b""
        while not heard.startswith(b"STOPPING=1"):
            heard = await asyncio.to_thread(line.recv, 1000)
        await process.communicate()

    assert process.returncode == 0

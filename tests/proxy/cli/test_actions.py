"""The commands that act after a trip, against a running deployment."""

from __future__ import annotations

import asyncio

import pytest

from proxy.cli import actions
from proxy.cli.admin_client import AdminClient
from proxy.cli.output import CommandFailed, Exit
from tests.proxy.actions.conftest import a_desk


def client_of(run) -> AdminClient:
    """The admin API of a run."""
    return AdminClient(run.admin_url, run.app.settings.admin_token_path)


async def test_flatten_follows_the_action_to_its_end(tmp_path, capfd):
    """The command says each order and position and exits 0 once the exchange is flat."""
    async with a_desk(tmp_path) as desk:
        await desk.hold("BTCUSDT", "0.4")
        await desk.rest()

        code = await asyncio.to_thread(
            actions.flatten, client_of(desk.run), scope="account:desk", reason="a try", actor="kim", spot=False,
            confirmed=True, wait_s=20.0, as_json=False,
        )  # fmt: skip

        said = capfd.readouterr().out
        assert (code, desk.held(), desk.open_orders()) == (Exit.OK, 0, [])
        assert "account desk: done, flat" in said
        assert "position BTCUSDT BOTH: 0.4" in said
        assert "cancelled" in said


async def test_cancel_all_says_what_it_could_not_wait_for(tmp_path, capfd):
    """Followed for no time at all it says that it still runs, and exits 1."""
    async with a_desk(tmp_path) as desk:
        await desk.rest()

        code = await asyncio.to_thread(
            actions.cancel_all, client_of(desk.run), scope="account:desk", reason="a try", actor="kim", wait_s=0.0,
            as_json=False,
        )  # fmt: skip
        for job in desk.actions.jobs:
            await desk.ended(job)

        assert code == Exit.FAILED
        assert "it still runs" in capfd.readouterr().err
        assert desk.open_orders() == []


def test_flatten_needs_to_be_meant():
    """Without --yes nothing is asked of anybody."""
    with pytest.raises(CommandFailed, match="--yes"):
        actions.flatten(
            AdminClient("http://127.0.0.1:1", None), scope="global", reason="x", actor="", spot=False,
            confirmed=False, wait_s=0.0, as_json=False,
        )  # fmt: skip


def test_an_action_needs_a_reason():
    """An empty reason is refused before anything is asked."""
    with pytest.raises(CommandFailed, match="reason"):
        actions.cancel_all(
            AdminClient("http://127.0.0.1:1", None), scope="global", reason=" ", actor="", wait_s=0.0, as_json=False
        )

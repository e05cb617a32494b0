"""The command that keeps a strategy alive, against a running deployment."""

from __future__ import annotations

import asyncio

import pytest

from proxy.cli import heartbeat
from proxy.cli.admin_client import AdminClient
from proxy.cli.output import CommandFailed, Exit
from rules import EssLevel
from tests.runs import open_run


async def test_it_says_what_it_renewed_and_what_holds(tmp_path, capfd):
    """A lease on each account; after a stop it says that a beat releases nothing, and does not exit 0."""
    async with open_run(tmp_path / "run", accounts={"dead_man": {"lease": "60s"}}) as run:
        admin = AdminClient(run.admin_url, run.app.settings.admin_token_path)
        code = await asyncio.to_thread(heartbeat.beat, admin, strategy="grid", as_json=False)
        said = capfd.readouterr().out
        assert code == Exit.OK
        assert "grid on desk: its lease of 60 s began anew, CLEAR" in said
        assert "grid on direct: its lease of 60 s began anew, CLEAR" in said

        await run.app.latch.engage(
            level=EssLevel.REDUCE_ONLY, scope="strategy:grid", actor="a", reason="r", source="api"
        )
        code = await asyncio.to_thread(heartbeat.beat, admin, strategy="grid", as_json=True)
        assert (code, "a beat releases nothing" in capfd.readouterr().err) == (Exit.REFUSED, True)


async def test_nobody_to_renew_is_no_success(tmp_path, capfd):
    """Whoever runs it from a scheduler finds out that no lease is set."""
    async with open_run(tmp_path / "run") as run:
        admin = AdminClient(run.admin_url, run.app.settings.admin_token_path)
        code = await asyncio.to_thread(heartbeat.beat, admin, strategy="grid", as_json=False)

        assert code == Exit.REFUSED
        assert "accounts.NAME.dead_man.lease is not set" in capfd.readouterr().err


@pytest.mark.parametrize("strategy", ["", "grid/../x", "a b"])
def test_what_is_no_name_is_not_asked_for(strategy):
    """It would be another path."""
    with pytest.raises(CommandFailed, match="expected a name"):
        heartbeat.beat(AdminClient("http://127.0.0.1:1", None), strategy=strategy, as_json=False)

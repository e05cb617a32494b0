"""`riskgate token`: against a running proxy, over a restart; and the first token from its file."""

import asyncio
import signal

import pytest

from proxy.cli.main import run
from tests.proxy.cli.test_serving import config as config
from tests.proxy.cli.test_serving import started


async def ended(process):
    """Wait until a process has stopped."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        await process.communicate()


async def test_a_token_lives_from_create_to_revoke_over_a_restart(config, folder, tmp_path, capsys):
    """What `create` prints works as --token-file with its role, also after a restart, until it is revoked."""
    bootstrap = str(folder / "data" / "admin_token")
    own = tmp_path / "anna.token"

    async def command(at, token_file, *words):
        code = await asyncio.to_thread(run, [*words, "--admin-url", at["admin"], "--token-file", str(token_file)])
        return code, capsys.readouterr()

    process, at = await started(config)
    code, told = await command(at, bootstrap, "token", "create", "anna", "--role", "operator", "--expires", "1d")
    assert (code, told.out.count("\n"), "anna, operator, until 2" in told.err) == (0, 1, True)
    own.write_text(told.out)
    await ended(process)

    process, at = await started(config)
    assert (await command(at, own, "halt", "--scope", "account:main", "--actor", "anna"))[0] == 0
    assert (await command(at, own, "token", "list"))[0] == 3
    _, told = await command(at, bootstrap, "token", "list")
    row = told.out.splitlines()[-1].split()
    assert row[1:4] == ["anna", "operator", "live"]
    assert "never" not in row
    assert (await command(at, bootstrap, "token", "revoke", row[0], "--reason", "left"))[0] == 0
    code, told = await command(at, own, "status")
    await ended(process)
    assert (code, "anna is revoked" in told.err) == (3, True)


def test_the_bootstrap_token_can_be_shown_again(folder, capsys):
    """Whoever lost what was printed once finds it in its file, by the settings or by name."""
    token = (folder / "data" / "admin_token").read_text()
    capsys.readouterr()
    assert run(["token", "show-bootstrap", "--config", str(folder / "riskgate.yaml")]) == 0
    assert run(["token", "show-bootstrap", "--token-file", str(folder / "data" / "admin_token")]) == 0
    assert capsys.readouterr().out == token * 2


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.chmod(0o604)])
def test_a_token_file_that_is_not_right_is_told_and_none_is_made(folder, capsys, damage):
    """Showing makes nothing: a proxy that runs knows another token then."""
    file = folder / "data" / "admin_token"
    damage(file)
    existed = file.exists()

    assert run(["token", "show-bootstrap", "--config", str(folder / "riskgate.yaml")]) == 2
    assert file.exists() is existed


def test_a_role_that_is_none_is_refused_before_asking(admin, tmp_path, capsys):
    """A typing mistake is told with what was expected, and nothing is sent."""
    (tmp_path / "token").write_text("t0ken")
    words = ["token", "create", "anna", "--role", "root", "--admin-url", admin.url]

    assert run([*words, "--token-file", str(tmp_path / "token")]) == 2
    assert "expected one of viewer, operator, admin" in capsys.readouterr().err
    assert admin.asked == []

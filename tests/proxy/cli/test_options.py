"""What every command that asks a running proxy is given."""

from pathlib import Path

import pytest

from proxy.cli.options import RunningProxy, asking, group
from proxy.cli.output import CommandFailed


@pytest.fixture
def asked():
    """A group with two commands that write down what they were called with, as (arguments, calls)."""
    calls = []
    app = group("A group to try.")

    @app.command()
    @asking
    def look(running: RunningProxy, name: str, as_json: bool = False) -> None:
        """Look at one thing."""
        calls.append((running, name, as_json))

    @app.command()
    def other() -> None:
        """Keep this a group: a single command would lose its name."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            app(args=["look", *arguments], prog_name="try")
        return ended.value.code

    return call, calls


def test_the_three_options_become_the_first_parameter(asked):
    """What names the proxy arrives as one thing, beside the command's own arguments."""
    call, calls = asked

    assert call("main", "-c", "a.yaml", "--admin-url", "http://x", "--token-file", "t", "--as-json") == 0
    assert calls == [(RunningProxy(Path("a.yaml"), "http://x", Path("t")), "main", True)]


def test_without_options_the_settings_file_is_looked_for(asked, tmp_path, monkeypatch):
    """None of the three is needed; then the client comes from the settings of this folder."""
    call, calls = asked
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RISKGATE_CONFIG", raising=False)

    assert call("main") == 0
    assert calls == [(RunningProxy(None, "", None), "main", False)]
    with pytest.raises(CommandFailed, match=r"riskgate\.yaml"):
        calls[0][0].client()


def test_help_tells_the_commands_own_sentence_and_every_option(asked, capsys):
    """The docstring and the options of both are in the help; the first parameter is not."""
    call, _ = asked

    assert call("--help") == 0
    said = capsys.readouterr().out
    assert "Look at one thing." in said
    assert all(option in said for option in ("--config", "--admin-url", "--token-file", "--as-json"))
    assert "running" not in said.lower()


def test_an_admin_address_needs_no_settings_file():
    """With --admin-url, nothing is read; the folder of the token file is the data folder."""
    client = RunningProxy(None, "http://127.0.0.1:1/", Path("/data/admin.token")).client()

    assert (client.url, client.token_file, client.data_dir) == (
        "http://127.0.0.1:1",
        Path("/data/admin.token"),
        Path("/data"),
    )

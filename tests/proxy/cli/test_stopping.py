"""Stopping is one action that always leaves something behind; starting again is two."""

import json

import pytest

from proxy.cli.main import run


@pytest.fixture
def reach(admin, tmp_path):
    """The options that point a command at the fake admin API."""
    token = tmp_path / "data" / "admin_token"
    token.parent.mkdir()
    token.write_text("t0ken\n")
    return ["--admin-url", admin.url, "--token-file", str(token)]


def test_halt_engages_and_says_what_still_passes(admin, reach, capsys):
    """`halt` posts level, scope, reason and actor with the token, and repeats what was stored."""
    assert run(["halt", "--reason", "too hot", "--actor", "ann", *reach]) == 0

    method, path, body, token = admin.asked[-1]
    assert (method, path, token) == ("POST", "/admin/v1/ess/engage", "Bearer t0ken")
    assert body == {"level": "halt", "scope": "global", "reason": "too hot", "actor": "ann"}
    assert "HALT (global): only cancels pass; by ann" in capsys.readouterr().out


def test_halt_can_leave_reductions_open(admin, reach):
    """`--reduce-only` and `--scope` reach the API as asked."""
    assert run(["halt", "--reduce-only", "--scope", "account:main", *reach]) == 0

    assert admin.asked[-1][2]["level"] == "reduce_only"
    assert admin.asked[-1][2]["scope"] == "account:main"


def test_halt_leaves_a_file_when_nothing_answers(folder, capsys):
    """Without a running proxy `halt` writes HALT into the data folder, says so, and exits 4."""
    config = ["--config", str(folder / "riskgate.yaml")]
    (folder / "riskgate.yaml").write_text(
        (folder / "riskgate.yaml").read_text().replace("127.0.0.1:8099", "127.0.0.1:1")
    )

    assert run(["halt", "--reason", "fire", *config]) == 4
    left = json.loads((folder / "data" / "HALT").read_text())
    assert (left["reason"], left["level"]) == ("fire", "halt")
    assert str(folder / "data" / "HALT") in capsys.readouterr().err


def test_halt_leaves_a_file_when_the_api_refuses(admin, reach, tmp_path, capsys):
    """A wrong token must not be the reason why nothing was halted."""
    admin.refuse_with = 401

    assert run(["halt", *reach]) == 3
    assert (tmp_path / "data" / "HALT").is_file()
    assert "answered 401: not you" in capsys.readouterr().err


def test_halt_says_when_nothing_at_all_could_be_done(capsys):
    """No API and no folder: the command says NOT HALTED rather than something softer."""
    assert run(["halt", "--admin-url", "http://127.0.0.1:1"]) != 0
    assert "NOT HALTED" in capsys.readouterr().err


def test_halt_needs_no_venue_secret(folder, monkeypatch):
    """Whoever halts need not have the exchange's key in the environment."""
    monkeypatch.delenv("BINANCE_KEY")

    assert run(["halt", "--config", str(folder / "riskgate.yaml")]) == 4
    assert (folder / "data" / "HALT").is_file()


def test_resume_without_yes_changes_nothing(admin, reach, capsys):
    """Without --yes `resume` shows the stop and exits 3."""
    run(["halt", *reach])

    assert run(["resume", "--reason", "fine again", *reach]) == 3
    assert admin.stop["level"] == "halt"
    assert "HALT (global)" in capsys.readouterr().out


def test_resume_releases_the_stop_it_showed(admin, reach):
    """`resume --yes` sends the epoch it read, so that a newer stop is not released by accident."""
    run(["halt", *reach])

    assert run(["resume", "--reason", "fine again", "--yes", "--actor", "bob", *reach]) == 0
    assert admin.asked[-1][2] == {
        "scope": "global", "reason": "fine again", "actor": "bob", "expected_epoch": 5,
    }  # fmt: skip
    assert admin.stop["level"] == "clear"


def test_resume_needs_a_reason(reach):
    """A release without a reason is a usage error."""
    assert run(["resume", "--yes", *reach]) == 2
    assert run(["resume", "--yes", "--reason", "  ", *reach]) == 2


def test_status_begins_with_the_stop(admin, reach, capsys):
    """The first line of `status` is the emergency stop, whatever else there is to say."""
    run(["halt", "--actor", "ann", *reach])
    capsys.readouterr()

    assert run(["status", *reach]) == 0
    assert capsys.readouterr().out.startswith("emergency stop: HALT (global)")
    assert run(["status", "--json", *reach]) == 0
    assert json.loads(capsys.readouterr().out)["ess"]["level"] == "halt"


def test_status_of_nothing_exits_4(folder):
    """A proxy that does not answer is told apart from one that answers no."""
    assert run(["status", "--config", str(folder / "riskgate.yaml")]) == 4


@pytest.mark.parametrize(("healthy", "code"), [(True, 0), (False, 1)])
def test_health_is_a_clear_yes_or_a_no(admin, healthy, code):
    """`health` and `health --ready` exit 0 or 1, as a container's health check needs, and send no token."""
    admin.healthy = healthy

    assert run(["health", "--admin-url", admin.url]) == code
    assert run(["health", "--ready", "--admin-url", admin.url]) == code
    assert [(path, token) for _, path, _, token in admin.asked] == [("/healthz", None), ("/readyz", None)]


def test_health_of_nothing_is_a_no():
    """No answer at all is unhealthy, not an error of its own."""
    assert run(["health", "--admin-url", "http://127.0.0.1:1"]) == 1


def test_the_token_goes_to_no_environment_proxy(admin, reach, monkeypatch):
    """HTTP_PROXY does not make a command hand the admin token to somebody else."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert run(["status", *reach]) == 0

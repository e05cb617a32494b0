"""Stopping is one action that always leaves something behind; starting again is two."""

import json
import threading
import time

import pytest

from proxy.cli.main import run
from proxy.cli.stopping import status_lines


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
    (sent,) = [body for _, path, body, _ in admin.asked if path == "/admin/v1/ess/release"]
    assert sent == {
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


# -- honest about what was achieved


def test_a_refused_halt_that_the_file_carried_through_is_confirmed(admin, reach, tmp_path, capsys):
    """The file is in the folder of the proxy that refused: it halts, says so without a token, and that is told."""
    admin.refuse_with = 401
    admin.halts_by_file = tmp_path / "data" / "HALT"

    assert run(["halt", *reach]) == 3
    assert "HALTED: the proxy at" in capsys.readouterr().err.replace("NOT HALTED", "")


def test_a_halt_that_reached_nobody_is_told_loudly(admin, reach, capsys):
    """A proxy answers, refuses the token and stays clear: the file lies in another folder, and orders go on."""
    admin.refuse_with = 401

    assert run(["halt", *reach]) == 3
    told = capsys.readouterr().err
    assert f"NOT HALTED: a proxy answers at {admin.url}, and its emergency stop is CLEAR" in told
    assert "is not its data folder" in told
    assert "kill -USR1" in told


def test_halt_makes_no_data_folder(admin, tmp_path, capsys):
    """A folder that is not there belongs to no proxy; one that is made only looks like a stop."""
    admin.refuse_with = 401
    token = tmp_path / "elsewhere" / "admin_token"

    assert run(["halt", "--admin-url", admin.url, "--token-file", str(token)]) != 0
    assert not token.parent.exists()
    told = capsys.readouterr().err
    assert "no HALT file was left: there is no data folder" in told
    assert "NOT HALTED: a proxy answers" in told


def test_a_misspelt_account_halts_nothing_and_writes_nothing(admin, reach, tmp_path, capsys):
    """The API refuses the scope; a HALT for everything is not what was asked."""
    assert run(["halt", "--scope", "account:nobody", *reach]) == 3
    assert run(["halt", "--scope", "acount:main", *reach]) == 2

    assert not (tmp_path / "data" / "HALT").exists()
    assert "NOT HALTED, and nothing was written" in capsys.readouterr().err


def test_a_misspelt_account_is_refused_without_a_proxy_too(folder, capsys):
    """The settings know the accounts when nothing answers."""
    config = ["--config", str(folder / "riskgate.yaml")]

    assert run(["halt", "--scope", "account:mian", *config]) == 2
    assert not (folder / "data" / "HALT").exists()
    assert "the settings know main" in capsys.readouterr().err
    assert run(["halt", "--scope", "account:main", *config]) == 4
    assert (folder / "data" / "HALT").exists()


def test_a_stop_that_was_in_force_already_is_told_as_such(admin, reach, capsys):
    """Who stopped first stays on record; a weaker request changes nothing."""
    run(["halt", "--actor", "ann", "--reason", "first", *reach])
    capsys.readouterr()

    assert run(["halt", "--actor", "bob", *reach]) == 0
    assert "already HALT, unchanged: HALT (global): only cancels pass; by ann" in capsys.readouterr().out
    assert run(["halt", "--reduce-only", *reach]) == 0
    assert "already HALT, which is stricter than REDUCE_ONLY, unchanged" in capsys.readouterr().out


def test_orders_without_an_answer_and_a_missing_record_are_told(admin, reach, capsys):
    """How many were at the exchange, and that the act itself could not be recorded."""
    admin.audited = False
    assert run(["halt", *reach]) == 0

    told = capsys.readouterr()
    assert "unanswered at that moment: 2 order(s)" in told.out
    assert "NOT on record" in told.err


def test_a_released_account_under_a_global_stop_is_still_blocked(admin, reach, capsys):
    """The release is done, and what still holds is told."""
    admin.stop |= {"scope": "account:main", "level": "halt"}
    admin.held = {"scope": "global", "level": "halt", "actor": "ann", "reason": "fills", "since": "noon", "epoch": 2}

    assert run(["resume", "--scope", "account:main", "--reason", "fine", "--yes", *reach]) == 0
    out = capsys.readouterr().out
    assert "released and stored: CLEAR (account:main)" in out
    assert "orders are still blocked: HALT (global): only cancels pass; by ann, since noon: fills" in out


def test_releasing_what_is_clear_is_told_and_sends_nothing(admin, reach, capsys):
    """Nothing to release is not a release."""
    assert run(["resume", "--reason", "fine", "--yes", *reach]) == 0

    assert "already clear, unchanged" in capsys.readouterr().out
    assert all(path != "/admin/v1/ess/release" for _, path, _, _ in admin.asked)


# -- what status and health say

STATUS = {
    "ready": False,
    "version": "1.0",
    "uptime_s": 93784,
    "in_flight": 1,
    "parts": {
        "draining": False,
        "audit": {"ready": True},
        "policy": {"mode": "NORMAL", "revision": 4, "age_s": 1.0},
        "emergency_stop": {"state": "clear", "durable": True},
        "feeds": {
            "account.main.futures": {"ready": False, "age_s": 31.0, "error": "-2015: no such key"},
            "market.futures": {"ready": True, "age_s": 1.0, "error": None},
        },
        "facts": {"main": ["exposure is not known"]},
    },
    "reservations": {"sent": 0, "unknown": 2},
    "accounts": {
        "main": {"mode": "custody", "state": "clear", "equity": "10000.00000000000000012", "exposure": None},
    },
}


def test_status_is_short_lines_and_names_what_is_wrong():
    """Ready or what is not, an account a line, numbers a person can read; feeds that are well are not listed."""
    assert list(status_lines(STATUS)) == [
        "ready: NO, version 1.0, up 1 d 02:03:04",
        "  not ready: fact main: exposure is not known",
        "  not ready: feed account.main.futures: -2015: no such key, last good 31.0 s ago",
        "account main: clear, equity 10000, exposure not known (custody)",
        "policy: mode NORMAL, revision 4",
        "orders: 1 on their way; reserved: 2 unknown",
    ]
    told = list(status_lines({**STATUS, "ready": True}))
    assert "  not well, and not needed: fact main: exposure is not known" in told


def test_health_names_the_part_that_failed(admin, capsys):
    """Which part and why, so that nobody has to ask again with --json."""
    admin.healthy = False

    assert run(["health", "--ready", "--admin-url", admin.url]) == 1
    told = capsys.readouterr().err
    assert "riskgate: audit: not healthy" in told
    assert "riskgate: feed account.main.futures: -2015 no such key, last good 31.0 s ago" in told


def test_a_folder_that_only_the_environment_names_is_told_as_such(folder, monkeypatch, tmp_path, capsys):
    """A variable left over in the shell is the likeliest reason why a halt looks in the wrong place."""
    monkeypatch.setenv("RISKGATE_DATA_DIR", str(tmp_path / "elsewhere"))

    assert run(["halt", "--config", str(folder / "riskgate.yaml")]) == 4
    assert not (tmp_path / "elsewhere").exists()
    assert "RISKGATE_DATA_DIR in this shell names it" in capsys.readouterr().err


def test_wait_returns_as_soon_as_it_is_ready(admin, capsys):
    """A script that starts bots after `wait` starts them before a proxy that can judge."""
    admin.healthy = False
    threading.Timer(0.5, setattr, (admin, "healthy", True)).start()
    began_at = time.monotonic()

    assert run(["wait", "--timeout", "30", "--admin-url", admin.url]) == 0
    assert 0.4 < time.monotonic() - began_at < 10
    assert capsys.readouterr().out == "ready\n"


def test_wait_says_what_is_missing_when_its_time_is_over(admin, capsys):
    """Exit 1 and the parts that are not ready, so that nobody starts bots blindly."""
    admin.healthy = False

    assert run(["wait", "--timeout", "0.3", "--admin-url", admin.url]) == 1
    assert "account.main.futures" in capsys.readouterr().err

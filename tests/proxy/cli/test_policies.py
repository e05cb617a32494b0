"""`policy show`, `diff` and `apply`: a file takes the place of the policy in force, seen and named."""

import pytest

from proxy.cli.main import run
from proxy.cli.policies import loosened
from proxy.clock import SystemClock
from rules.profile import default_policy

MAIN = {"strategies": "any", "symbols": ["BTCUSDT"], "leverage_max": "2"}


@pytest.fixture
def reach(admin, tmp_path):
    """The options that point a command at the fake admin API."""
    token = tmp_path / "data" / "admin_token"
    token.parent.mkdir()
    token.write_text("t0ken\n")
    admin.policy = {"active_mode": "NORMAL", "accounts": {"main": MAIN}}
    return ["--admin-url", admin.url, "--token-file", str(token)]


@pytest.fixture
def file(tmp_path):
    """A policy file that differs from the one in force in one limit."""
    file = tmp_path / "policy.yaml"
    file.write_text(
        "active_mode: NORMAL\naccounts:\n  main: {strategies: any, symbols: [BTCUSDT], leverage_max: 1}\n"
    )
    return file


def test_what_is_shown_can_be_applied(admin, reach, tmp_path, capsys):
    """The output of `show` is a file that differs from the policy in force in nothing."""
    assert run(["policy", "show", *reach]) == 0
    shown = capsys.readouterr().out
    (tmp_path / "shown.yaml").write_text(shown)

    assert shown.startswith("# revision 3, 2026-01-01T00:00:00Z, by ann: why\n")
    assert run(["policy", "diff", str(tmp_path / "shown.yaml"), *reach]) == 0
    assert "nothing to apply" in capsys.readouterr().out


def test_diff_names_every_place_and_changes_nothing(admin, reach, file, capsys):
    """Old and new value by path; exit 1, as diff has it."""
    assert run(["policy", "diff", str(file), *reach]) == 1

    assert "  accounts.main.leverage_max: 2 -> 1\n" in capsys.readouterr().out
    assert admin.revision == 3


def test_apply_shows_the_difference_and_replaces_the_revision_it_was_made_on(admin, reach, file, capsys):
    """The whole document goes out with If-Match, who and why."""
    assert run(["policy", "apply", str(file), "--reason", "one is enough", "--actor", "ann", *reach]) == 0

    out = capsys.readouterr().out
    assert out.index("leverage_max: 2 -> 1") < out.index("applied and stored: revision 4")
    method, path, body, token = admin.asked[-1]
    assert (method, path, token, admin.asked_match) == ("PUT", "/api/v2/policy", "Bearer t0ken", '"3"')
    assert (body["updated_by"], body["reason"]) == ("ann", "one is enough")
    assert body["policy"]["accounts"]["main"]["leverage_max"] == "1"


def test_apply_leaves_a_policy_alone_that_somebody_changed_meanwhile(admin, reach, file, capsys, monkeypatch):
    """Between the difference and the replacement nobody's change is lost: exit 3 and nothing applied."""
    honest = admin.answer_policy

    def overtaken(method, body):
        if method == "PUT":
            admin.revision = 9
        return honest(method, body)

    monkeypatch.setattr(admin, "answer_policy", overtaken)
    assert run(["policy", "apply", str(file), "--reason", "late", *reach]) == 3
    assert "somebody changed the policy meanwhile" in capsys.readouterr().err
    assert admin.policy["accounts"]["main"]["leverage_max"] == "2"


def test_apply_reads_the_file_strictly_and_needs_a_reason(admin, reach, file, capsys):
    """A mistyped key or a missing reason sends nothing."""
    assert run(["policy", "apply", str(file), "--reason", "  ", *reach]) == 2
    file.write_text(file.read_text().replace("leverage_max", "leverag_max"))
    assert run(["policy", "apply", str(file), "--reason", "x", *reach]) == 2

    assert "policy.yaml:3: accounts.main.leverag_max: found an unknown key" in capsys.readouterr().err
    assert all(method != "PUT" for method, *_ in admin.asked)


def test_a_looser_limit_is_named_as_one():
    """All layers taken together: what another layer still holds is not looser."""
    now = SystemClock().now()
    before = default_policy(accounts={"main": {**MAIN, "capital_profile": "aggressive"}})
    wider = default_policy(accounts={"main": {**MAIN, "capital_profile": "aggressive", "leverage_max": "4"}})
    held = default_policy(accounts={"main": {**MAIN, "capital_profile": "aggressive", "loss_daily_max": "90%"}})

    assert loosened(before, wider, now) == ["account main: leverage_max"]
    assert loosened(wider, before, now) == []
    assert loosened(before, held, now) == []

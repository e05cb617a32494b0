"""`riskgate approvals` and `riskgate override`: what is asked of the proxy, and what people read."""

from __future__ import annotations

import json

import pytest

from proxy.cli.main import run
from proxy.cli.stopping import status_lines
from proxy.permits import State
from tests.proxy.permits.test_file import PERMIT


@pytest.fixture
def ask(admin, tmp_path, capsys):
    """Run a command against the small admin API; its exit code and what it printed."""
    token = tmp_path / "token"
    token.write_text("t")

    def ask(*words):
        code = run([*words, "--admin-url", admin.url, "--token-file", str(token)])
        return code, capsys.readouterr()

    return ask


def shown(**changed):
    """A permit as the API shows it."""
    document = json.loads(json.dumps(PERMIT.document(), default=str))
    return document | {"orders": [document["orders"][0] | {"price": "59000"}]} | changed


def test_approvals_are_listed_with_order_and_worth(admin, ask):
    """One line each: id, state, whose, what, how much, until when, by whom."""
    admin.more["/admin/v1/approvals"] = {"approvals": [shown(id="ap-1", state="asked", granted_by=[])]}
    code, told = ask("approvals", "list")

    assert code == 0
    assert "ap-1  asked  main     one  BUY 1 BTCUSDT at 59000  59000.1" in told.out
    assert told.out.splitlines()[-1].endswith("ann")
    admin.more["/admin/v1/approvals"] = {"approvals": []}
    assert ask("approvals", "list")[1].out == "no approvals\n"


@pytest.mark.parametrize(
    ("words", "path", "state", "said"),
    [
        (("approvals", "approve", "ap-1"), "/admin/v1/approvals/ap-1/approve", "granted", "may pass once until"),
        (("approvals", "approve", "ap-1"), "/admin/v1/approvals/ap-1/approve", "asked", "a second person has to"),
        (("approvals", "refuse", "ap-1"), "/admin/v1/approvals/ap-1/refuse", "refused", "refused: ov-1"),
        (("override", "confirm", "ov-1"), "/admin/v1/overrides/ov-1/confirm", "granted", "send the same order again"),
        (("override", "refuse", "ov-1"), "/admin/v1/overrides/ov-1/refuse", "refused", "refused: ov-1"),
    ],
)
def test_a_word_goes_to_its_place_with_who_and_why(admin, ask, words, path, state, said):
    """The body names the person and the reason; the answer is told in words."""
    admin.more[path] = shown(state=state)
    code, told = ask(*words, "--reason", "the client called", "--actor", "ann")

    assert (code, said in told.out) == (0, True)
    assert admin.asked[-1][:3] == ("POST", path, {"reason": "the client called", "actor": "ann"})


def test_an_override_is_asked_for_by_its_decision(admin, ask):
    """It says what is asked for, and that nothing passes yet."""
    admin.more["/admin/v1/overrides"] = shown(state=State.ASKED.value)
    code, told = ask("override", "ask", "d-1", "--reason", "hedge", "--actor", "ann")

    assert code == 0
    assert admin.asked[-1][2] == {"decision_id": "d-1", "reason": "hedge", "actor": "ann"}
    assert "nothing passes yet" in told.out
    assert "riskgate override confirm ov-1" in told.out


def test_overrides_say_where_they_are_on(admin, ask):
    """The ceilings come first: without one an account knows no override."""
    admin.more["/admin/v1/overrides"] = {"overrides": [], "ceilings": {"main": "20000"}}
    assert ask("override", "list")[1].out == "overrides: main up to 20000\nno overrides\n"
    admin.more["/admin/v1/overrides"] = {"overrides": [], "ceilings": {}}
    assert "off for every account" in ask("override", "list")[1].out


@pytest.mark.parametrize("words", [("approvals", "approve", "ap-1"), ("override", "ask", "d-1")])
def test_nothing_is_asked_without_a_reason(admin, ask, words):
    """An empty reason is none: exit 2, and the proxy hears nothing."""
    assert ask(*words, "--reason", " ")[0] == 2
    assert admin.asked == []


def test_a_refusal_is_told_as_one(admin, ask):
    """Exit 3, with the sentence of the proxy."""
    admin.refuse_with = 409
    code, told = ask("override", "confirm", "ov-1", "--reason", "yes")
    assert (code, "409" in told.err) == (3, True)


def test_status_says_what_is_open_and_nothing_where_nothing_is():
    """One line, where there is something to say."""
    open_ = {"permits": {"asked": {"approval": 2, "override": 0}, "granted": {"approval": 0, "override": 1}}}
    lines = list(status_lines(open_))

    assert lines[-1].startswith("permits: 2 approval waiting for people, 1 override in force;")
    assert not any("permits" in line for line in status_lines({"permits": {"asked": {"approval": 0}, "granted": {}}}))
    assert not any("permits" in line for line in status_lines({"permits": None}))

"""Browser sessions belong to the person whose token began them."""

from datetime import UTC, datetime, timedelta

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.admin.access import Person, Role
from proxy.admin.sessions import LINK_S, Sessions
from proxy.clock import ManualClock

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ANNA = Person("anna", Role.OPERATOR, "1")
FIRST = Person("bootstrap", Role.ADMIN, "bootstrap")


def begun(person, name):
    """A session of this person, who typed this name."""
    request = make_mocked_request("GET", "/ui", headers={"Host": "127.0.0.1:1"})
    return Sessions(ManualClock(NOW)).begin(name, web.Response(), request, person=person)


def test_a_session_acts_as_the_person_of_its_token():
    """A typed name adds to the person; under the shared token it is all there is to tell people apart."""
    assert [begun(ANNA, name).actor for name in ("", "bob")] == ["anna", "anna (bob)"]
    assert [begun(FIRST, name).actor for name in ("", "bob")] == ["bootstrap", "bootstrap (bob)"]
    assert (begun(ANNA, "").own_name, begun(FIRST, "").own_name) == ("anna", "")


def test_a_link_logs_in_whoever_asked_for_it_once():
    """The code stands for a person with a role, counts once, and ends after its time."""
    clock = ManualClock(NOW)
    sessions = Sessions(clock)
    used, late = sessions.new_link(ANNA), sessions.new_link(FIRST)

    assert (sessions.redeem(used), sessions.redeem(used), sessions.redeem("")) == (ANNA, None, None)
    clock.advance(to=NOW + timedelta(seconds=LINK_S))
    assert sessions.redeem(late) is None


def test_a_forgotten_session_is_asked_for_a_token_again():
    """Whose token has ended does not go on by cookie."""
    request = make_mocked_request("GET", "/ui", headers={"Host": "127.0.0.1:1"})
    response = web.Response()
    sessions = Sessions(ManualClock(NOW))
    session = sessions.begin("", response, request, person=ANNA)
    [cookie] = response.cookies.values()
    again = make_mocked_request("GET", "/ui", headers={"Host": "127.0.0.1:1", "Cookie": f"{cookie.key}={cookie.value}"})
    assert sessions.of(again) is session
    sessions.forget(session)
    assert sessions.of(again) is None

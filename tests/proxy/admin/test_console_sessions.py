"""Sessions: many may come, and the oldest gives way."""

from datetime import UTC, datetime

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.admin.access import BOOTSTRAP, Person, Role
from proxy.admin.sessions import SESSIONS_MAX, Sessions
from proxy.clock import ManualClock

ANN = Person("ann", Role.VIEWER, "t1")
BOOT = Person(BOOTSTRAP, Role.ADMIN, BOOTSTRAP)


def test_what_a_session_may_is_what_its_person_may():
    """A viewer's session stops and changes nothing, and its name is the token's, whatever was typed."""
    sessions, request = Sessions(ManualClock(datetime(2026, 1, 1, tzinfo=UTC))), make_mocked_request("GET", "/")

    mine = sessions.begin("bob", web.Response(), request, person=ANN)
    boot = sessions.begin("bob", web.Response(), request, person=BOOT)

    assert (mine.may_stop, mine.may_change, boot.may_stop, boot.may_change) == (False, False, True, True)
    assert (mine.actor, boot.actor) == ("ann (bob)", "bootstrap (bob)")
    assert mine.credential != boot.credential


def test_sessions_are_bounded():
    """Whoever logs in over and over fills nothing."""
    sessions, request = Sessions(ManualClock(datetime(2026, 1, 1, tzinfo=UTC))), make_mocked_request("GET", "/")

    keys = {sessions.begin("", web.Response(), request, person=BOOT).key for _ in range(SESSIONS_MAX + 5)}

    assert len(keys) == SESSIONS_MAX + 5
    assert len(sessions._by_key) == SESSIONS_MAX

"""The list of endpoints: complete in itself, and told apart exactly."""

import pytest

from proxy.exchanges.base import JUDGED, Verb
from proxy.exchanges.binance_endpoints import ENDPOINTS, FAMILIES, family_of


def test_every_listed_endpoint_is_on_a_known_family():
    """Each path begins with its family's segment, and the family of the path is that family."""
    for (method, path), item in ENDPOINTS.items():
        assert item.endpoint == f"{method} {path.decode()}"
        assert family_of(path) == item.family
        assert item.family in FAMILIES


def test_nothing_that_moves_money_is_passed():
    """No path that transfers, withdraws, borrows or repays is a read, a cancel or a listen key."""
    for (_, path), item in ENDPOINTS.items():
        if any(word in path for word in (b"transfer", b"withdraw", b"borrow", b"/loan", b"repay")):
            assert item.verb in (Verb.TRANSFER, Verb.UNSUPPORTED, Verb.OTHER), item.endpoint


def test_a_delete_that_is_listed_cancels_ends_a_listen_key_or_is_refused():
    """No DELETE is judged, and none reads."""
    for (method, _), item in ENDPOINTS.items():
        if method == "DELETE":
            assert item.verb in (Verb.CANCEL, Verb.KEEP_ALIVE, Verb.OTHER), item.endpoint


def test_whatever_is_listed_proves_who_asks():
    """Listen keys need the key; all else that is listed is signed."""
    for item in ENDPOINTS.values():
        assert item.security == ("key" if item.verb is Verb.KEEP_ALIVE else "signed")
        if item.verb in JUDGED:
            assert item.security == "signed"


@pytest.mark.parametrize("path", [b"/apiv3/order", b"/xapi/v3/order", b"/api", b"//api/v3", b"/futures/dataset/x", b""])
def test_a_path_that_only_looks_like_a_family_is_none(path):
    """The first segment is compared whole."""
    assert family_of(path) is None

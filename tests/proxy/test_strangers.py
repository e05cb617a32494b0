"""How many refusals of strangers are put on record."""

from proxy.strangers import Strangers


def test_room_comes_back_with_time_and_never_exceeds_itself():
    """A thousand at once, twenty a second, and no more after a long silence; a clock that stands still gives none."""
    strangers = Strangers(at_once=3, per_second=2.0)
    assert [strangers.may_record(0.0) for _ in range(4)] == [True, True, True, False]
    assert [strangers.may_record(0.5) for _ in range(2)] == [True, False]
    assert [strangers.may_record(3600.0) for _ in range(4)] == [True, True, True, False]
    assert strangers.unrecorded_total == 3

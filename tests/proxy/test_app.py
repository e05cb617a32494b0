"""What a running proxy does to the process around it."""

from __future__ import annotations

import gc

# Taken here, at collection: tests/conftest.py puts something cheaper into its place for the runs.
from proxy.app import calm_collector


def test_the_collector_is_calm_while_a_proxy_runs_and_as_before_afterwards():
    """What was built is out of its sight and it runs more seldom; both end with the proxy."""
    before, cycle = gc.get_threshold(), []
    cycle.append(cycle)
    put_back = calm_collector()
    try:
        assert all(calm > hasty for calm, hasty in zip(gc.get_threshold(), before, strict=True))
        assert gc.get_freeze_count() > 1000
        assert not any(seen is cycle for seen in gc.get_objects())
    finally:
        put_back()
    seen_again = any(seen is cycle for seen in gc.get_objects())
    found = (gc.get_threshold(), gc.get_freeze_count())
    gc.freeze()  # as the test run had it

    assert seen_again
    assert found == (before, 0)

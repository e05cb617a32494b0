"""The drill measures the real thing."""

from __future__ import annotations

from proxy.actions.drill import drill


async def test_a_drill_blocks_cancels_and_flattens_and_says_how_long_it_took():
    """Three positions, three orders, three stops: all gone at the exchange, in the order of the stopwatch."""
    found = await drill()

    assert (found.done, found.problem, found.exchange_is_flat) == (True, "", True)
    assert (found.positions, found.orders, found.orders_after_block) == (3, 6, 0)
    assert None not in (found.blocked_ms, found.no_working_orders_ms, found.flat_ms)
    assert 0 < found.no_working_orders_ms < found.flat_ms

"""How long the gate takes: one order through the full rulebook with every limit set.

    python -m bench.gate [--repeats 15] [--number 2000]

Prints the median and the best of several repeats, in CPU time of this process; the best is what the code costs,
the median what a busy machine makes of it.
"""

from __future__ import annotations

import argparse
import gc
import time
import timeit
from decimal import Decimal
from statistics import median

from rules import Limits, Verdict, evaluate
from tests import given

FULL_LIMITS = {
    "strategies": frozenset({"grid", "trend"}), "symbols": frozenset({given.SYMBOL, "ETHUSDT"}),
    "confidence_min": "0.6", "leverage_max": "5", "trade_notional_fraction_max": "0.015",
    "trade_stop_loss_fraction_max": "0.01", "loss_daily_max": "0.05", "loss_weekly_max": "0.07",
    "drawdown_max": "0.08", "open_positions_max": 30, "position_notional_max": "1000",
    "exposure_symbol_max": "1000", "exposure_strategy_max": "5000", "exposure_account_max": "10000",
    "exposure_exchange_max": "20000", "exposure_total_max": "50000", "price_floor": "1",
    "price_ceiling": "1000000", "collar_up": "0.05", "collar_down": "0.05", "order_quantity_max": "10",
    "order_notional_max": "1000", "order_rate_max": 50, "duplicates_max": 3, "scaling_allowed": True,
}


def full_limits(**changed) -> Limits:
    """Limits of every kind at once."""
    return given.limits(**(FULL_LIMITS | changed))


def cases():
    """The judgements that are measured, by name."""
    facts = given.facts(
        mark="64250.1", bid="64250.0", ask="64250.2", held="0.004", confidence="0.7", leverage="3",
        waiting=given.sides(buy="0.001", sell="0.002"), open_positions=frozenset({("ETHUSDT", "BOTH")}),
        exposure={"account": "3000", "strategy": "1000", "exchange": "3000", "total": "4000"},
    )
    order = given.order(quantity="0.002", price="64240.50", client_order_id="x-1")
    return {
        "allowed, every limit set": (order, facts, full_limits(), Verdict.ALLOW),
        "allowed, nothing limited": (order, facts, given.limits(), Verdict.ALLOW),
        "scaled down": (order, facts, full_limits(position_notional_max="400"), Verdict.SCALE_DOWN),
        "blocked by the last rule": (
            order, facts, full_limits(duplicates_max=0), Verdict.BLOCK,
        ),
    }


def measure(order, facts, limits, *, repeats: int, number: int) -> tuple[Decimal, Decimal]:
    """Median and best of one judgement, in microseconds."""
    gc.collect()
    runs = timeit.repeat(lambda: evaluate(order, facts, limits), number=number, repeat=repeats,
                         timer=time.process_time)
    micros = [Decimal(run) / number * 1_000_000 for run in runs]
    return median(micros), min(micros)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--number", type=int, default=2000)
    arguments = parser.parse_args()
    print(f"{'gate evaluation':34}{'median':>10}{'best':>10}")
    for name, (order, facts, limits, expected) in cases().items():
        assert evaluate(order, facts, limits).verdict is expected, name
        middle, best = measure(order, facts, limits, repeats=arguments.repeats, number=arguments.number)
        print(f"{name:34}{middle:>7.1f} µs{best:>7.1f} µs")


if __name__ == "__main__":
    main()

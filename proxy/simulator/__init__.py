"""SimExchange: a Binance-shaped spot and USDⓈ-M exchange over real HTTP.

It checks key, signature, timestamp, parameters and filters as Binance documents them, keeps
balances, positions and orders, records every request byte for byte, and misbehaves when told.
The demo, the tests and the benchmarks share it. It reads requests with its own parser and
shares none of the proxy's, because it is the observer that judges what the proxy let through.
"""

from __future__ import annotations

from proxy.simulator.account import SimAccount, SimOrder, SimPosition
from proxy.simulator.exchange import SimExchange
from proxy.simulator.faults import Fault
from proxy.simulator.received import Received, is_order_request

__all__ = ["SimExchange", "SimAccount", "SimOrder", "SimPosition", "Fault", "Received", "is_order_request"]

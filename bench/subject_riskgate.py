"""riskgate as it runs in production, with every rule looking and nothing it would block.

    python -m bench.subject_riskgate UPSTREAM_PORT auto|asyncio|uvloop process|power [still]

`still` reads account and market once and never again, and ends what looks at things by the second, for
`bench.count`: under it time runs fifty times as fast as orders do, and what is counted is to be orders.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import aiohttp

from bench.order import KEY, SECRET
from proxy import ess, loops
from proxy.app import App
from proxy.clock import SystemClock
from proxy.config import FAMILIES, from_mapping

# Every family of rules has a limit to compare with, far above what the load reaches.
POLICY = """
active_mode: BENCH
risk_profiles:
  BENCH:
    leverage_max: "5"
    trade_risk_max: 1.5%
    drawdown_daily_max: 5%
    open_positions_max: 30
    position_notional_max: "1000000000000"
    confidence_min: "0.6"
risk_source: {kind: none}
accounts:
  bench:
    capital_profile: aggressive
    strategies: [bench]
    symbols: [BTCUSDT]
    scaling: allowed
    size:
      order_notional_max: "1000000"
      order_quantity_max: "1000"
      exposure_symbol_max: "1000000000000"
      exposure_strategy_max: "1000000000000"
      exposure_account_max: "1000000000000"
"""


# Under a program that counts instructions time runs fifty times as fast as the code does.
STILL = """
ages: {price_s: "86400", account_s: "86400", risk_s: "86400", leverage_s: "86400"}
"""


async def serve(upstream_port: int, sync: str, *, still: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.yaml"
        policy.write_text(POLICY + (STILL if still else ""))
        origin = f"http://127.0.0.1:{upstream_port}"
        settings = from_mapping(
            {
                "listen": {"bind": "127.0.0.1:0"},
                "admin": {"bind": "127.0.0.1:0"},
                "data_dir": str(Path(folder) / "data"),
                "policy_file": str(policy),
                "audit": {"sync": sync},
                "log": {"format": "json"},
                "upstream": dict.fromkeys(FAMILIES, origin),
                "accounts": {
                    "bench": {
                        "mode": "passthrough",
                        "credentials": {"api_key": KEY, "secret": SECRET},
                        "markets": ["futures"],
                        "bots": {"bench": {"key": KEY, "strategy": "bench"}},
                    }
                },
            },
            base=Path(folder),
        )
        settings.data_dir.mkdir(mode=0o700)
        ess.initialise(settings.ess_path, clock=SystemClock())
        # The log goes where a collector would read it; the port line needs the real output.
        port_line = os.dup(1)
        with (Path(folder) / "log").open("wb") as log:
            os.dup2(log.fileno(), 1)
        app = App.from_settings(settings)
        await app.start()
        await ready(app.admin_url)
        if still:
            await app.feeds.close()
            await app.tasks.close()  # what looks every second at losses, stops and the like
        os.write(port_line, app.proxy_url.rpartition(":")[2].encode() + b"\n")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await app.stop()


async def ready(admin_url: str) -> None:
    """Wait until account and market are known."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        while True:
            async with session.get(f"{admin_url}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.1)


def main() -> None:
    loops.run(serve(int(sys.argv[1]), sys.argv[3], still="still" in sys.argv), sys.argv[2])


if __name__ == "__main__":
    main()

"""T13: timestamps and windows that would let an old order live again. For a socket in custody.

The signatures are no bot's; the codec's own reading of time is tested beside this, and a real
replay is made by whoever holds a bot's secret.
"""

from tests.threats.corpus import REFUSED, Case, form, http

TIMESTAMPS_REFUSED = (
    "", "0", "1", "170000000000", "17000000000000", "1700000000000.5", "-1700000000000", "1.7e12", "now",
    " 1700000000000", "１700000000000", "17000000000000000", "0x18bcfe56800",
)
WINDOWS_REFUSED = (
    "", "0", "0.000", "-1", "60001", "60000.001", "100000", "99999", "1e4", "5000.0001", "+5000", " 5000", "NaN", "max",
)

CASES = (
    *(Case(f"timestamp {text!a}", http("POST", body=form(timestamp=text)), REFUSED, "not a time the venue takes")
      for text in TIMESTAMPS_REFUSED),
    *(Case(f"recvWindow {text!a}", http("POST", body=form(recvWindow=text)), REFUSED, "not a window the venue takes")
      for text in WINDOWS_REFUSED),
    Case("years old", http("POST", body=form(timestamp="1500000000000", recvWindow="60000")), REFUSED, "stale"),
    Case("years ahead", http("POST", body=form(timestamp="4100000000000", recvWindow="60000")), REFUSED, "from ahead"),
)

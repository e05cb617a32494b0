"""What makes two requests the same order, so that a permit for one is a permit for the other and for nothing else.

Everything that a bot wrote counts, as it wrote it, also what the gate does not read. Left out are the time and the
signature, which a retry cannot repeat, and the name that an order gives itself, which clients make anew each time.
Who asks is part of it: the account, the bot, and the strategy.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from proxy.errors import OrderNotUnderstood
from proxy.exchanges.base import Parsed
from proxy.wire import loads_as_written
from rules import Caller

OF_THE_REQUEST: Final = frozenset({"timestamp", "recvwindow", "signature"})
# An id under which the venue is to list the new order. One that names an order that is there says "orig" (as in
# cancelOrigClientOrderId), and to cancel or replace another order is another request.
OWN_NAMES: Final = ("clientorderid", "clientalgoid")


def fingerprint_of(caller: Caller, parsed: Parsed) -> str:
    """SHA-256 over who asks, where, and every parameter that is the order's."""
    said = {
        "account": caller.account,
        "exchange": caller.exchange,
        "bot": caller.bot,
        "strategy": caller.strategy,
        "endpoint": parsed.recognised.endpoint,
        "parameters": _of_the_order(parsed.params.values),
    }
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _of_the_order(values: dict[str, str]) -> dict[str, Any]:
    return {name: _written(text) for name, text in values.items() if _counts(name)}


def _counts(name: str) -> bool:
    folded = name.lower()
    return folded not in OF_THE_REQUEST and not (folded.endswith(OWN_NAMES) and "orig" not in folded)


def _written(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """A parameter as it stands; of a list of orders, each without its own name."""
    if not text.startswith("["):
        return text
    try:
        rows = loads_as_written(text)
    except OrderNotUnderstood:
        return text
    if not isinstance(rows, list):
        return text
    # Marked, so that no plain text can be taken for a list that says the same.
    return ["list", *[_leg(row) for row in rows]]


def _leg(row: Any) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(row, dict):
        return repr(row)
    return {name: repr(value) for name, value in row.items() if _counts(name)}

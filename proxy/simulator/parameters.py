"""Parameters as Binance documents them: query and form body, the query winning over the body.

Written on its own on purpose: the simulator judges what the proxy let through, so it may not
read requests with the proxy's eyes.
https://github.com/binance/binance-spot-api-docs/blob/master/rest-api.md#general-information-on-endpoints
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import unquote_to_bytes

from proxy.simulator.rejection import DECIMAL_RANGE, Rejection, duplicated, illegal, missing

Values = Mapping[str, str]

_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,20}", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


def read(query: bytes, body: bytes) -> dict[str, str]:
    """All parameters of a request. Raises Rejection for a name that comes twice in one place."""
    if not body:
        return _read_part(query)
    values = _read_part(body)
    if query:
        values.update(_read_part(query))
    return values


def _read_part(part: bytes) -> dict[str, str]:
    values: dict[str, str] = {}
    is_plain = b"%" not in part and b"+" not in part
    try:
        for pair in part.split(b"&"):
            if not pair:
                continue
            raw_name, _, raw_value = pair.partition(b"=")
            name, value = (raw_name.decode(), raw_value.decode()) if is_plain else (
                _decode(raw_name), _decode(raw_value))
            if name in values:
                raise duplicated()
            values[name] = value
    except UnicodeDecodeError:
        raise Rejection(-1100, "Illegal characters found in a parameter.") from None
    return values


def _decode(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode()


def text(values: Values, name: str) -> str:
    """A mandatory parameter."""
    value = values.get(name)
    if not value:
        raise missing(name)
    return value


def optional_decimal(values: Values, name: str) -> Decimal | None:
    """A decimal number, or None when it was not sent."""
    value = values.get(name)
    if value is None:
        return None
    if value == "":
        raise Rejection(-1105, f"Parameter '{name}' was empty.")
    if _DECIMAL.fullmatch(value) is None:
        raise illegal(name, DECIMAL_RANGE)
    return Decimal(value)


def decimal(values: Values, name: str) -> Decimal:
    """A mandatory decimal number."""
    value = optional_decimal(values, name)
    if value is None:
        raise missing(name)
    return value


def optional_integer(values: Values, name: str) -> int | None:
    """A whole number, or None when it was not sent."""
    value = values.get(name)
    if value is None or value == "":
        return None
    if _INTEGER.fullmatch(value) is None:
        raise illegal(name, "^[0-9]{1,20}$")
    return int(value)


def integer(values: Values, name: str) -> int:
    """A mandatory whole number."""
    value = optional_integer(values, name)
    if value is None:
        raise missing(name)
    return value


def boolean(values: Values, name: str) -> bool:
    """A boolean in any case (clients write `True`); False when it was not sent."""
    value = values.get(name)
    if value is None or value == "":
        return False
    truth = _BOOLEANS.get(value.lower())
    if truth is None:
        raise illegal(name, "true|false")
    return truth


def one_of(values: Values, name: str, allowed: frozenset[str], code: int, message: str) -> str:
    """A mandatory parameter from a closed set."""
    value = text(values, name)
    if value not in allowed:
        raise Rejection(code, message)
    return value


def json_list(values: Values, name: str) -> list[Any]:
    """A JSON array inside a parameter; numbers stay the text they were."""
    try:
        found = _JSON.decode(text(values, name))
    except (ValueError, RecursionError):
        raise Rejection(-1130, f"Data sent for parameter '{name}' is not valid.") from None
    if not isinstance(found, list):
        raise Rejection(-1130, f"Data sent for parameter '{name}' is not valid.")
    return found


def leg_values(leg: object) -> dict[str, str]:
    """One element of `batchOrders` as parameters."""
    if not isinstance(leg, dict):
        raise Rejection(-1130, "Data sent for parameter 'batchOrders' is not valid.")
    return {name: _leg_value(value) for name, value in leg.items() if value is not None}


def _leg_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise Rejection(-1130, "Data sent for parameter 'batchOrders' is not valid.")
    return value


def _no_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise duplicated()
    return found


def _no_constants(name: str) -> object:
    raise ValueError(name)


_JSON = json.JSONDecoder(
    parse_float=str, parse_int=str, parse_constant=_no_constants, object_pairs_hook=_no_repeated_keys
)

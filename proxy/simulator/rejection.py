"""A request the exchange refuses: HTTP status, code and message as Binance documents them."""

from __future__ import annotations

from typing import Any

DECIMAL_RANGE = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"


class Rejection(Exception):
    """The exchange says no; `data` is what a few endpoints add beside code and message."""

    def __init__(self, code: int, message: str, status: int = 400, data: object = None) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status
        self.data = data

    def body(self) -> dict[str, Any]:
        """The JSON object that is answered."""
        answer: dict[str, Any] = {"code": self.code, "msg": self.message}
        if self.data is not None:
            answer["data"] = self.data
        return answer


def missing(name: str) -> Rejection:
    """-1102: a mandatory parameter is absent."""
    return Rejection(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


def not_required(name: str) -> Rejection:
    """-1106: a parameter that this order must not carry."""
    return Rejection(-1106, f"Parameter '{name}' sent when not required.")


def illegal(name: str, legal: str) -> Rejection:
    """-1100: characters outside the documented range."""
    return Rejection(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def duplicated() -> Rejection:
    """-1101: a parameter came twice."""
    return Rejection(-1101, "Duplicate values for a parameter detected.")


def filter_failure(name: str) -> Rejection:
    """-1013: a spot filter is violated."""
    return Rejection(-1013, f"Filter failure: {name}")


def unknown_order() -> Rejection:
    """-2011: nothing to cancel."""
    return Rejection(-2011, "Unknown order sent.")


def no_such_order() -> Rejection:
    """-2013: nothing to show."""
    return Rejection(-2013, "Order does not exist.")

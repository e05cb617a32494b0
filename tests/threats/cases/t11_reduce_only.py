"""T11: orders that claim to reduce. A claim counts only spelled exactly, and never against itself.

Whether a readable claim is true is judged against the real position, by the rulebook.
"""

from tests.threats.corpus import FUTURES_ORDER, JUDGED_BY_GATE, REFUSED, Case, form, http

_SPELLINGS_REFUSED = [
    "TRUE", "FALSE", "tRUE", "1", "0", "yes", "no", "on", "Y", "t", " true", "true ", "true\n", "true\0", "\ttrue",
    "ｔrue", "trυe", "truе", '"true"', "'true'", "[true]", "true,true", "true;false", "1.0", "null", "None", "-1", "2",
    "",
]
_NO_PRICE = ("price", "timeInForce")
_CLOSE = form(drop=(*_NO_PRICE, "quantity"), side="SELL", type="STOP_MARKET", stopPrice="50000", closePosition="true")


def _futures(name: str, body: bytes, expect: str, why: str) -> Case:
    return Case(name, http("POST", FUTURES_ORDER, body), expect, why)


CASES = (
    *(_futures(f"reduceOnly={text!a}", form(reduceOnly=text), REFUSED, "not an exact true or false")
      for text in _SPELLINGS_REFUSED),
    *(_futures(f"closePosition={text!a}", form(drop=(*_NO_PRICE, "quantity"), type="STOP_MARKET", stopPrice="5",
                                               closePosition=text), REFUSED, "not an exact true or false")
      for text in _SPELLINGS_REFUSED),
    *(_futures(f"reduceOnly={text}", form(reduceOnly=text), JUDGED_BY_GATE, "exact; proved against the position")
      for text in ("true", "false", "True", "False")),
    _futures("reduceOnly in hedge mode", form(reduceOnly="true", positionSide="LONG"), REFUSED,
             "the venue takes one of the two"),
    _futures("reduceOnly false in hedge mode", form(reduceOnly="false", positionSide="LONG"), JUDGED_BY_GATE,
             "claims nothing"),
    _futures("ReduceOnly", form() + b"&ReduceOnly=true", REFUSED, "a look-alike claims nothing"),
    _futures("reduceonly", form() + b"&reduceonly=true", REFUSED, "a look-alike claims nothing"),
    _futures("reduceOnly twice", form(reduceOnly="true") + b"&reduceOnly=false", REFUSED, "two claims"),
    Case("reduceOnly on spot", http("POST", body=form(reduceOnly="true")), REFUSED, "spot knows no such claim"),
    Case("reduceOnly in query and body", http("POST", b"/fapi/v1/order?reduceOnly=true", form(reduceOnly="false")),
         REFUSED, "two claims"),
    _futures("close", _CLOSE, JUDGED_BY_GATE, "closes by definition"),
    _futures("close with quantity", _CLOSE + b"&quantity=1000", REFUSED, "two sizes"),
    _futures("close with reduceOnly", _CLOSE + b"&reduceOnly=true", REFUSED, "two claims"),
    _futures("close as limit", form(drop=("quantity",), closePosition="true"), REFUSED, "a limit order cannot close"),
    _futures("close as market", form(drop=(*_NO_PRICE, "quantity"), type="MARKET", closePosition="true"), REFUSED,
             "a market order cannot close"),
    _futures("close that opens long", _CLOSE.replace(b"SELL", b"BUY") + b"&positionSide=LONG", REFUSED, "opens"),
    _futures("close that opens short", _CLOSE + b"&positionSide=SHORT", REFUSED, "opens"),
    _futures("close of a long", _CLOSE + b"&positionSide=LONG", JUDGED_BY_GATE, "closes"),
    _futures("positionSide lower case", form(positionSide="long"), REFUSED, "not exact"),
    _futures("positionSide unknown", form(positionSide="NET"), REFUSED, "not a leg"),
    _futures("positionSide empty", form(positionSide=""), REFUSED, "no value"),
)

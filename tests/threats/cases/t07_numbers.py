"""T7: numbers that readers disagree on, that stall arithmetic, or that compare as never above a limit."""

from tests.threats.corpus import FUTURES_ORDER, JUDGED_BY_GATE, REFUSED, Case, form, http

BAD = [
    "NaN", "nan", "-nan", "sNaN", "Infinity", "-Infinity", "inf", "+inf", "1e3", "1E3", "1e-05", "1e-7", "1e+3",
    "1e4000000", "1e999999999", "1e", "e1", "0e0", "1.5e3", "-1", "+1", "-0", "--1", "- 1", "1-", "1+1", "1_000",
    "1__0", "_1", "1,000", "1,5", "1.000,5", "1 000", " 1", "1 ", "\t1", "1\n", "1\r\n", "1\0", "\u00a01",
    "１", "１.５", "٣", "१", "¹", "½", "Ⅷ", "①", "१.५", "1٫5", "0x10", "0b1", "0o7", "10h", "1f", "1L", "1m",
    "1n", ".5", "5.", ".", "1..5", "1.5.5", "..", "", "0", "0.0", "00000.000", "1/2", "1%", "$1", "'1'", '"1"',
    "[1]", "{1}", "(1)", "1;2", "1#", "1\\", "true", "null", "None", "undefined", "x", "1" * 21, "9" * 400,
    "0." + "1" * 21, "1." + "0" * 400,
]
GOOD = {
    "1": "1", "1.0": "1", "0.001": "0.001", "00.5": "0.5", "007": "7", "1.00000000": "1", "0.00000001": "0.00000001",
    "9" * 20: "9" * 20, "0." + "0" * 19 + "1": "0." + "0" * 19 + "1",
}
_WHY = "only [0-9]{1,20}(.[0-9]{1,20})? above 0 is a size"

CASES = (
    *(Case(f"quantity {text[:24]!a} {index}", http("POST", body=form(quantity=text)), REFUSED, _WHY)
      for index, text in enumerate(BAD)),
    *(Case(f"price {text[:24]!a} {index}", http("POST", FUTURES_ORDER, form(price=text)), REFUSED, _WHY)
      for index, text in enumerate(BAD)),
    *(Case(f"quantity {text[:24]!a} reads", http("POST", body=form(quantity=text)), JUDGED_BY_GATE, "plain decimals")
      for text in GOOD),
)

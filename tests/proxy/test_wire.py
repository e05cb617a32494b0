"""The strict reader: heads, parameters, numbers and JSON."""

import contextlib
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import wire
from proxy.errors import CallerError, OrderNotUnderstood, RequestTooLarge
from proxy.wire import (
    BODY_BYTES_MAX,
    HEAD_KEPT_BYTES_MAX,
    HEADS_KEPT,
    PARAMS_MAX,
    TARGET_BYTES_MAX,
    VALUE_BYTES_MAX,
    NumberText,
    WireRequest,
    check_head,
    header,
    header_values,
    loads,
    loads_as_written,
    read_bool,
    read_decimal,
    read_params,
)

FORM = ((b"Content-Type", b"application/x-www-form-urlencoded"),)


def request(body=b"", *, target=b"/api/v3/order", method="POST", headers=FORM):
    """A request with a form body."""
    return WireRequest(method=method, target=target, headers=headers, body=body)


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "too_large",
    [
        request(b"a=" + b"1" * BODY_BYTES_MAX),
        request(b"a=" + b"1" * (VALUE_BYTES_MAX + 1)),
        request(b"a=" + b"%31" * (VALUE_BYTES_MAX // 3 + 1)),
        request(b"&".join(b"a%d=1" % index for index in range(PARAMS_MAX + 1))),
        request(b"b=1&" * 30 + b"b=1", target=b"/x?" + b"&".join(b"a%d=1" % index for index in range(PARAMS_MAX + 1))),
    ],
)
def test_more_than_an_order_needs_is_too_large(too_large):
    """Bytes and parameters over the stated sizes are refused with 413, not read."""
    with pytest.raises(RequestTooLarge) as caught:
        read_params(too_large)
    assert caught.value.status == 413


def test_parameters_are_counted_over_query_and_body_together():
    """Forty here and forty there are eighty."""
    query = b"&".join(b"a%d=1" % index for index in range(40))
    body = b"&".join(b"b%d=1" % index for index in range(40))
    with pytest.raises(RequestTooLarge):
        read_params(request(body, target=b"/api/v3/order?" + query))


def test_heads_over_their_sizes_are_too_large():
    """A long target, a long body and too many headers are refused before anything is read."""
    for oversized in (
        request(target=b"/" + b"a" * TARGET_BYTES_MAX),
        request(b"a" * (BODY_BYTES_MAX + 1)),
        request(headers=((b"X-A", b"1"),) * 101),
    ):
        with pytest.raises(RequestTooLarge):
            check_head(oversized)


# --- heads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (request(method="PATCH"), 405),
        (request(method="get"), 405),
        (request(headers=((b"Content-Encoding", b"gzip"),)), 415),
        (request(headers=((b"Expect", b"100-continue"),)), 417),
        (request(target=b"/api//v3"), 403),
        (request(headers=((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"1"))), 403),
        (request(headers=((b"X A", b"1"),)), 403),
        (request(headers=((b"X-A", b"1\nX-B: 2"),)), 403),
        (request(headers=((b"Upgrade", b"websocket"),)), 403),
    ],
)
def test_a_head_that_is_not_plain_is_refused(refused, status):
    """Each oddity has the status that says what was wrong."""
    with pytest.raises(OrderNotUnderstood) as caught:
        check_head(refused)
    assert caught.value.status == status


@pytest.mark.parametrize("name", [b"X_Risk_Strategy", b"x-risk_strategy", b"X_RISK_CONFIDENCE"])
def test_what_a_bot_states_is_not_overlooked_for_an_underscore(name):
    """It would count for nothing, and reach the exchange."""
    with pytest.raises(OrderNotUnderstood, match="looks like one with dashes"):
        check_head(request(headers=((name, b"trend"),)))


def test_a_name_refused_once_is_refused_again():
    """Names that were looked at are remembered, refusals are not turned into passes by it."""
    for _ in range(3):
        with pytest.raises(OrderNotUnderstood):
            check_head(request(headers=((b"X_MBX_APIKEY", b"k"),)))
        with pytest.raises(OrderNotUnderstood):
            read_params(request(b"quan%74ity=1"))


# --- parameters --------------------------------------------------------------------------------


def test_spans_point_at_the_raw_values():
    """Each parameter remembers where its raw value stands, so that it can be rewritten in place."""
    wire = request(b"c=%20x&d=4", target=b"/api/v3/order?a=1&bb=2%2E5")
    raw = {"query": wire.query, "body": wire.body}
    read = {item.name: (item.value, raw[item.place][item.start : item.end]) for item in read_params(wire).items}
    assert read == {"a": ("1", b"1"), "bb": ("2.5", b"2%2E5"), "c": (" x", b"%20x"), "d": ("4", b"4")}


def test_an_empty_body_needs_no_label():
    """Connectors label an empty body as JSON; there is nothing to misread."""
    wire = request(target=b"/api/v3/order?a=1", headers=((b"Content-Type", b"application/json;charset=utf-8"),))
    assert read_params(wire).get("a") == "1"


@pytest.mark.parametrize(
    "body",
    [
        b"a=b=c", b"a==", b"a", b"a&b=1", b"=1", b"&a=1", b"a=1&", b"a=1&&b=2", b"a=1;b=2", b"a=1;", b"a=%3", b"a=%zz",
        b"a=%00", b"a=%0A", b"a=%7F", b"a=%C2%85", b"a=%E2%80%8B", b"a=%C2%A0", b"a=%FF", b"a=%C0%AF", b"a=%ED%A0%80",
        b"a=\xc3\xa9", b"a=1 2", b"a=1\n", b"a=1\0", b"%61=1", b"a+b=1", b"a.b=1", b"a[]=1", b"a-b=1", b"a=1&A=2",
        b"_method=PUT", b"_METHOD=PUT", b"a" * 41 + b"=1",
    ],
)
@pytest.mark.parametrize("place", ["query", "body"])
def test_a_pair_with_two_readings_is_refused_in_either_place(body, place):
    """Separators, escapes, names and characters that readers take differently are not taken at all."""
    wire = request(body) if place == "body" else request(target=b"/api/v3/order?" + body)
    with pytest.raises(OrderNotUnderstood):
        read_params(wire)


_NAMES = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True).filter(lambda name: name.lower() != "_method")
_VALUES = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=20)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=12, unique_by=lambda pair: pair[0].lower()), st.integers(0, 12))
def test_what_a_form_encoder_writes_is_read_back(pairs, cut):
    """Query and body together give the pairs that were encoded, in order."""
    query, body = urlencode(pairs[:cut]).encode(), urlencode(pairs[cut:]).encode()
    read = read_params(request(body, target=b"/api/v3/order?" + query))
    assert [(item.name, item.value) for item in read.items] == pairs


@settings(max_examples=400)
@given(st.binary(max_size=200), st.binary(max_size=200), st.lists(st.tuples(st.binary(), st.binary()), max_size=4))
def test_arbitrary_bytes_raise_nothing_but_refusals(target, body, headers):
    """Whatever comes, the reader answers with parameters or with a CallerError."""
    wire = request(body, target=target, headers=(*FORM, *headers))
    for reader in (check_head, read_params):
        try:
            reader(wire)
        except CallerError:
            continue


# --- numbers and flags -------------------------------------------------------------------------


def test_a_float_of_python_is_refused_with_a_sentence_that_says_so():
    """A small float that a client wrote with `str` is named for what it is."""
    with pytest.raises(OrderNotUnderstood, match="float written by Python"):
        read_decimal("1e-05", "quantity")


@given(st.text(max_size=30))
def test_only_plain_decimals_are_numbers(text):
    """Whatever is read is the same number `Decimal` sees, finite and written in ASCII digits and one point."""
    try:
        number = read_decimal(text)
    except OrderNotUnderstood:
        return
    assert number == Decimal(text)
    assert number.is_finite()
    assert set(text) <= set("0123456789.")


@given(st.decimals(min_value=0, max_value=10**19, allow_nan=False, allow_infinity=False, places=12))
def test_every_plain_decimal_is_read_exactly(number):
    """No digit is lost."""
    assert read_decimal(format(number, "f")) == number


@pytest.mark.parametrize("text", ["true", "True"])
def test_true_is_true(text):
    """Two spellings are true."""
    assert read_bool(text) is True


@pytest.mark.parametrize("text", ["TRUE", "1", "yes", " true", "true ", "", "tru\u0435"])
def test_other_spellings_of_truth_are_refused(text):
    """Nothing else is, and nothing else is false either."""
    with pytest.raises(OrderNotUnderstood):
        read_bool(text)


# --- JSON --------------------------------------------------------------------------------------


def test_json_numbers_are_exact():
    """Whole numbers are int, all others the Decimal that was written; none is ever a float."""
    read = loads('{"a": 1, "b": 0.1, "c": 1e-7, "d": [2.50, true, null]}')
    assert read == {"a": 1, "b": Decimal("0.1"), "c": Decimal("1e-7"), "d": [Decimal("2.50"), True, None]}
    assert [type(value) for value in (read["a"], read["b"], read["c"])] == [int, Decimal, Decimal]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}', '{"x":{"a":1,"a":1}}', "NaN", "[Infinity]", "[-Infinity]", "1e999", "1e-999",
        "1" * 41, "0." + "1" * 90, "[" * 9 + "]" * 9, "[" * 60000, '{"a":' * 9 + "1" + "}" * 9, '"' + "a" * 65536 + '"',
        '["\\ud800"]', '{"\\udfff":1}', b"\xff", b"\xef\xbb\xbf{}", '"a\nb"', "{'a':1}", "[1,]", "", "01", "+1", ".5",
        '{"a":1}'.encode("utf-16"), b'"\xed\xa0\x80"',
    ],
)
def test_json_with_two_readings_or_none_is_refused(text):
    """Repeated keys, numbers without a value, depth, size and broken text are refused, not resolved."""
    with pytest.raises(OrderNotUnderstood):
        loads(text)


def test_a_zero_with_a_huge_exponent_is_a_plain_zero():
    """Arithmetic with it must not build a number of a billion digits."""
    assert loads("0e999999999").as_tuple().exponent == 0


def test_eight_levels_are_read_and_nine_are_not():
    """The depth limit counts levels, not brackets."""
    assert loads("[" * 8 + "]" * 8)
    assert loads("[" + "[]," * 50 + "[]]")
    with pytest.raises(OrderNotUnderstood, match="deeper"):
        loads("[" * 9 + "]" * 9)


def test_numbers_are_left_as_written_where_the_text_matters():
    """A reader that checks the venue's own pattern sees the digits that were sent."""
    read = loads_as_written('[1.50, 2, "3"]')
    assert read == ["1.50", "2", "3"]
    assert [isinstance(value, NumberText) for value in read] == [True, True, False]


@settings(max_examples=400)
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_arbitrary_text_raises_nothing_but_refusals(text):
    """Whatever comes, the reader answers with a value or with a CallerError."""
    with contextlib.suppress(CallerError):
        loads(text)


# --- heads that were seen before ---------------------------------------------------------------

NAMES = st.sampled_from([b"Host", b"host", b"X-MBX-APIKEY", b"x-mbx-apikey", b"Accept", b"Upgrade", b"X_MBX_APIKEY"])
SOME_HEADERS = st.lists(st.tuples(NAMES, st.sampled_from([b"a", b"b", b"c\nd"])), max_size=4).map(tuple)


def reading(headers):
    """What the reader says of a header block: a refusal, or the two values asked for."""
    try:
        check_head(request(headers=headers))
        return header(request(headers=headers), b"host"), header_values(headers, b"x-mbx-apikey")
    except CallerError as error:
        return str(error)


@given(st.lists(SOME_HEADERS, min_size=2, max_size=6))
@settings(max_examples=200)
def test_a_head_that_was_seen_before_reads_as_it_did(heads):
    """Whatever was read before, a header block is refused or read in one way only."""
    wire._plain_heads.clear()
    first = [reading(headers) for headers in heads]
    again = [reading(headers) for headers in heads]
    wire._plain_heads.clear()

    assert again == first
    assert [reading(headers) for headers in reversed(heads)] == first[::-1]


def test_only_so_many_heads_of_a_bounded_size_are_kept():
    """A peer that sends ever new heads fills neither memory nor the place of all others."""
    wire._plain_heads.clear()
    for number in range(2 * HEADS_KEPT):
        check_head(request(headers=((b"Accept", b"%d" % number),)))
    check_head(request(headers=((b"Accept", b"x" * (HEAD_KEPT_BYTES_MAX + 1)),)))

    assert len(wire._plain_heads) == HEADS_KEPT
    assert ((b"Accept", b"%d" % (2 * HEADS_KEPT - 1)),) in wire._plain_heads

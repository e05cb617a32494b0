"""Requests and answers as they are on the wire, and the one strict reader of what they carry.

One parser serves gate, audit, rewrite and forward, so what is judged is what is sent. What
two readers could read differently is refused, never resolved.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import unquote_to_bytes

from proxy.errors import OrderNotUnderstood, RequestTooLarge
from proxy.number_text import NumberText as NumberText

TARGET_BYTES_MAX: Final = 8 * 1024
TARGET_KEPT_BYTES_MAX: Final = 64
BODY_BYTES_MAX: Final = 64 * 1024
VALUE_BYTES_MAX: Final = 16 * 1024
PARAMS_MAX: Final = 60
HEADERS_MAX: Final = 100
HEADS_KEPT: Final = 512
HEAD_KEPT_BYTES_MAX: Final = 4096
JSON_CHARACTERS_MAX: Final = 64 * 1024
JSON_DEPTH_MAX: Final = 8
SHOWN_MAX: Final = 24  # characters; keys, secrets and signatures are longer

Headers = tuple[tuple[bytes, bytes], ...]


# Not frozen dataclasses, but final for the type checker, and built by hand: `rules/values.py` says why.


@dataclass(slots=True, init=False, unsafe_hash=True)
class WireRequest:
    """A request as received: nothing decoded, nothing re-encoded."""

    method: Final[str]
    target: Final[bytes]
    headers: Final[Headers]
    body: Final[bytes]
    peer: Final[str]
    host: Final[bytes]

    def __init__(
        self, method: str, target: bytes, headers: Headers, body: bytes = b"", peer: str = "", host: bytes = b""
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.peer = peer
        self.host = host

    @property
    def path(self) -> bytes:
        """The target up to the question mark."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The target after the question mark."""
        return self.target.partition(b"?")[2]


@dataclass(slots=True, init=False, unsafe_hash=True)
class WireResponse:
    """An answer: status, headers in order, and the body bytes after transfer decoding."""

    status: Final[int]
    headers: Final[Headers]
    body: Final[bytes]
    reason: Final[bytes]

    def __init__(self, status: int, headers: Headers, body: bytes, reason: bytes = b"") -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.reason = reason


class Param(NamedTuple):
    """One parameter: its decoded name and value, and where the raw value stands."""

    name: str
    value: str
    place: str  # "query" or "body"
    start: int  # offset of the raw value in the query or body
    end: int


class Params:
    """All parameters of a request in order; a name occurs once over query and body together."""

    __slots__ = ("_items", "_request", "values")

    def __init__(self, values: dict[str, str], request: WireRequest, items: tuple[Param, ...] | None = None) -> None:
        self.values = values
        self._request = request
        self._items = items

    @property
    def items(self) -> tuple[Param, ...]:
        """Every parameter with its place; worked out when first asked for, as most orders pass unchanged."""
        if self._items is None:
            self._items = _read_items(self._request)
        return self._items

    def get(self, name: str) -> str | None:
        """The value of a parameter, or None."""
        return self.values.get(name)

    def find(self, name: str) -> Param | None:
        """The parameter with its span, or None."""
        for item in self.items:
            if item.name == name:
                return item
        return None


# --- the head: method, target and headers, for every request of any verb ---------------------

METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})

_PATH: Final = re.compile(rb"(?:/[A-Za-z0-9_-]+)+")
# Visible ASCII without the fragment mark and the backslash, which readers of targets disagree on.
_QUERY: Final = re.compile(rb"[!\"$-\[\]-~]*")
_HEADER_NAME: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")

# A header that stands twice is read by one side first and by the other last.
_ONCE: Final = frozenset({
    b"host", b"content-length", b"content-type", b"content-encoding", b"transfer-encoding", b"x-mbx-apikey",
    b"connection",
})
# Headers that ask for another path, verb or protocol than the one judged.
_REWRITES: Final = frozenset({
    b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-method",
    b"x-original-url", b"x-original-uri", b"x-original-method", b"x-rewrite-url", b"x-rewrite-uri",
    b"x-override-url", b"x-forwarded-uri", b"x-forwarded-method", b"x-forwarded-path", b"x-forwarded-prefix",
    b"upgrade", b"http2-settings", b"trailer",
})
_CONNECTION_WORDS: Final = frozenset({b"keep-alive", b"close"})
_WATCHED: Final = _ONCE | _REWRITES | frozenset({b"expect"})
# What a bot states of an order: spelled otherwise it would count for nothing, and reach the exchange.
_STATED: Final = frozenset({b"x-risk-strategy", b"x-risk-confidence"})
_DASHED: Final = _WATCHED | _STATED


def check_head(request: WireRequest) -> None:
    """Refuse a method, target or header that two readers could read differently.

    Every request passes here first, cancels and reads too: what is not plain is not recognised.
    """
    if request.method not in METHODS:
        raise OrderNotUnderstood(
            f"the method is {shown(request.method)}, expected one of GET, POST, PUT, DELETE", status=405
        )
    _check_target(request.target)
    if len(request.body) > BODY_BYTES_MAX:
        raise RequestTooLarge(f"the body has {len(request.body)} bytes, at most {BODY_BYTES_MAX} are read")
    if request.body and request.method == "GET":
        raise OrderNotUnderstood("a GET came with a body; parameters of a GET stand in the query")
    _check_headers(request.headers)


def _check_target(target: bytes) -> None:
    if len(target) > TARGET_KEPT_BYTES_MAX or not _is_plain(target):
        _check_target_at_length(target)


@lru_cache(maxsize=512)
def _is_plain(target: bytes) -> bool:
    """Whether a short target is nothing but a path. Orders repeat theirs, so it is kept."""
    return _PATH.fullmatch(target) is not None


def _check_target_at_length(target: bytes) -> None:
    if len(target) > TARGET_BYTES_MAX:
        raise RequestTooLarge(f"the target has {len(target)} bytes, at most {TARGET_BYTES_MAX} are read")
    path, _, query = target.partition(b"?")
    if _PATH.fullmatch(path) is None:
        found = path[:60].decode("latin-1")
        raise OrderNotUnderstood(
            f"the path is {found!a}, expected segments of letters, digits, '-' and '_' after single slashes"
        )
    if _QUERY.fullmatch(query) is None:
        raise OrderNotUnderstood("the query has a character that must be percent-encoded")


# Header blocks that were looked at and found plain, with what they say by lower-case name. A bot sends
# the same few again and again, and what was read in them once is read in equal bytes.
_plain_heads: Final[dict[Headers, dict[bytes, tuple[bytes, ...]]]] = {}


# The same by identity: a connection hands on the very object that was looked at before (`proxy.front`), and to hash
# a head costs more than what it is asked for. Kept with the object, so that no other one can have its identity.
_same_heads: Final[dict[int, tuple[Headers, dict[bytes, tuple[bytes, ...]]]]] = {}


def _known(headers: Headers) -> dict[bytes, tuple[bytes, ...]] | None:
    """What a head that was found plain says, by lower-case name; None for one that has not been looked at."""
    same = _same_heads.get(id(headers))
    if same is not None:
        return same[1]
    known = _plain_heads.get(headers)
    if known is not None:
        if len(_same_heads) >= HEADS_KEPT:
            _same_heads.clear()
        _same_heads[id(headers)] = headers, known
    return known


def _check_headers(headers: Headers) -> None:
    if _known(headers) is not None:
        return
    if len(headers) > HEADERS_MAX:
        raise RequestTooLarge(f"{len(headers)} headers came, at most {HEADERS_MAX} are read")
    seen: set[bytes] = set()
    for raw_name, value in headers:
        name = _watched(raw_name)
        if name is not None:
            _check_header(name, value, seen)
            seen.add(name)
    values = b"".join([value for _, value in headers])
    if b"\n" in values or b"\r" in values or b"\0" in values:
        raise OrderNotUnderstood("a header has a line break or NUL in its value")
    if b"content-length" in seen and b"transfer-encoding" in seen:
        raise OrderNotUnderstood("Content-Length and Transfer-Encoding came together; one of them is wrong")
    if len(values) <= HEAD_KEPT_BYTES_MAX:
        _keep(headers)


def _keep(headers: Headers) -> None:
    by_name: dict[bytes, tuple[bytes, ...]] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        by_name[name] = (*by_name.get(name, ()), value)
    if len(_plain_heads) >= HEADS_KEPT:
        del _plain_heads[next(iter(_plain_heads))]
    _plain_heads[headers] = by_name


@lru_cache(maxsize=1024)
def _watched(raw_name: bytes) -> bytes | None:
    """The lower-case name of a header whose value matters, None for any other. Names repeat, so it is kept."""
    name = raw_name.lower()
    if name in _WATCHED:
        return name
    if _HEADER_NAME.fullmatch(raw_name) is None:
        raise OrderNotUnderstood(f"a header's name is {shown(raw_name)}, which is not a token")
    if b"_" in name and name.replace(b"_", b"-") in _DASHED:
        # Some servers read an underscore and a dash as the same name.
        raise OrderNotUnderstood(f"the header {shown(raw_name)} looks like one with dashes")
    return None


def _check_header(name: bytes, value: bytes, seen: set[bytes]) -> None:
    if name in _REWRITES:
        raise OrderNotUnderstood(f"the header {shown(name)} asks for another request than the one judged")
    if name in seen:
        raise OrderNotUnderstood(f"the header {shown(name)} came more than once")
    if name == b"connection":
        words = {word.strip() for word in value.lower().split(b",")}
        if not words <= _CONNECTION_WORDS:
            raise OrderNotUnderstood(f"the header connection says {shown(value)}, expected keep-alive or close")
    elif name == b"content-encoding" and value.strip().lower() != b"identity":
        raise OrderNotUnderstood(
            f"the body is encoded as {shown(value)}; only plain bodies are read", status=415
        )
    elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
        raise OrderNotUnderstood(f"the transfer encoding is {shown(value)}; only chunked is read")
    elif name == b"expect":
        raise OrderNotUnderstood(f"the request expects {shown(value)}, which is not given", status=417)


def header(request: WireRequest, name: bytes) -> bytes | None:
    """The value of a header (`name` in lower case), or None. Raises OrderNotUnderstood if it came twice."""
    known = _known(request.headers)
    found = header_values(request.headers, name) if known is None else known.get(name, ())
    if len(found) > 1:
        raise OrderNotUnderstood(f"the header {shown(name)} came more than once")
    return found[0] if found else None


def header_values(headers: Headers, name: bytes) -> tuple[bytes, ...]:
    """Every value of a header (`name` in lower case), in the order they came."""
    known = _known(headers)
    if known is not None:
        return known.get(name, ())
    return tuple([value for key, value in headers if len(key) == len(name) and key.lower() == name])


# --- parameters: query and form body -----------------------------------------------------------

_FORM: Final = b"application/x-www-form-urlencoded"
_FORMS: Final = frozenset({_FORM, _FORM + b";charset=utf-8", _FORM + b"; charset=utf-8"})
_RAW: Final = re.compile(rb"[!-:<-~]*")  # visible ASCII; ";" separates pairs for some readers, so it is left out
# What values and names may hold where nothing is encoded: neither "%" and "+", which stand for other characters, nor
# what separates. Of pairs that are plain, nothing is left without these but their separators, in turns.
_PLAIN: Final = bytes(sorted(set(range(0x21, 0x7F)) - set(b"%+;&=")))
_SEPARATORS: Final = b"=&" * PARAMS_MAX
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,40}")
_NEW: Final = tuple.__new__  # a NamedTuple's own constructor costs twice as much, ten times per order
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def read_params(request: WireRequest) -> Params:
    """Read query and form body strictly.

    Names are plain ASCII and occur once, compared without case, over query and body together.
    Values are valid UTF-8 without control characters; `+` and `%20` in a value are a space.
    """
    query, body = request.query, request.body
    if body:
        if len(body) > BODY_BYTES_MAX:
            raise RequestTooLarge(f"the body has {len(body)} bytes, at most {BODY_BYTES_MAX} are read")
        _check_form(request)
    if not query or not body:
        values = _plain_values(query or body)
        if values is not None:
            return Params(values, request)
    items = _read_items(request)
    return Params({item.name: item.value for item in items}, request, items)


def _plain_values(raw: bytes) -> dict[str, str] | None:
    """The parameters of one place in which nothing is encoded; None where they must be read one by one."""
    separators = raw.translate(None, _PLAIN)
    count = len(separators)
    if count % 2 == 0 or len(raw) > VALUE_BYTES_MAX or separators != _SEPARATORS[:count]:
        return None
    parts = raw.decode("ascii").replace("&", "=").split("=")
    names = parts[::2]
    values = dict(zip(names, parts[1::2], strict=True))
    if len(values) != len(names) or not _are_names(tuple(names)):
        return None
    return values


@lru_cache(maxsize=256)
def _are_names(names: tuple[str, ...]) -> bool:
    """Whether all are parameters' names, each once however it is spelt. Bots repeat them, so it is kept."""
    folded: set[str] = set()
    for name in names:
        if _NAME.fullmatch(name) is None or name.lower() == "_method":
            return False
        folded.add(name.lower())
    return len(folded) == len(names)


def _read_items(request: WireRequest) -> tuple[Param, ...]:
    items: list[Param] = []
    names: set[str] = set()
    _read_pairs(request.query, "query", items, names)
    _read_pairs(request.body, "body", items, names)
    if len(items) > PARAMS_MAX:
        raise RequestTooLarge(f"{len(items)} parameters came, at most {PARAMS_MAX} are read")
    return tuple(items)


def _check_form(request: WireRequest) -> None:
    found = header(request, b"content-type")
    if found is None:
        raise OrderNotUnderstood("a body came without Content-Type, expected application/x-www-form-urlencoded")
    if found != _FORM and found.strip().lower() not in _FORMS:
        kind = shown(found.partition(b";")[0])
        raise OrderNotUnderstood(
            f"the body's Content-Type is {kind}, expected application/x-www-form-urlencoded in UTF-8", status=415
        )


def _read_pairs(raw: bytes, place: str, items: list[Param], names: set[str]) -> None:
    """Add the pairs of one place; `names` holds the lower-case names found so far, here and elsewhere."""
    if not raw:
        return
    if _RAW.fullmatch(raw) is None:
        raise OrderNotUnderstood(f"the {place} has a character that must be percent-encoded")
    text = raw.decode("ascii")
    pairs = text.split("&")
    if len(pairs) > PARAMS_MAX:
        raise RequestTooLarge(f"{len(pairs)} parameters came, at most {PARAMS_MAX} are read")
    is_plain = "%" not in text and "+" not in text and len(text) <= VALUE_BYTES_MAX
    end = -1
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise OrderNotUnderstood(f"the {place} has {shown(pair)} where one name=value was expected")
        lowered = _folded(name)
        if lowered in names:
            raise OrderNotUnderstood(f"the parameter {name} came more than once")
        names.add(lowered)
        start = end + len(name) + 2
        end += len(pair) + 1
        items.append(_NEW(Param, (name, value if is_plain else _decoded(name, value), place, start, end)))


@lru_cache(maxsize=1024)
def _folded(name: str) -> str:
    """A parameter's name in lower case, after looking at its characters. Names repeat, so it is kept."""
    if _NAME.fullmatch(name) is None:
        raise OrderNotUnderstood(f"a parameter is named {shown(name)}, expected letters, digits and '_' only")
    if name.lower() == "_method":
        raise OrderNotUnderstood("the parameter _method asks for another request than the one judged")
    return name.lower()


def _decoded(name: str, value: str) -> str:
    if len(value) > VALUE_BYTES_MAX:
        raise RequestTooLarge(f"the parameter {name} has {len(value)} bytes, at most {VALUE_BYTES_MAX}")
    if "%" not in value and "+" not in value:
        return value
    if _BAD_ESCAPE.search(value) is not None:
        raise OrderNotUnderstood(f"the parameter {name} has a percent sign that two hex digits do not follow")
    try:
        text = unquote_to_bytes(value.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise OrderNotUnderstood(f"the parameter {name} is not valid UTF-8") from None
    if not text.isprintable():
        raise OrderNotUnderstood(f"the parameter {name} has a control or invisible character")
    return text


# --- values ------------------------------------------------------------------------------------

DECIMAL_CHARACTERS_MAX: Final = 41
_DECIMAL: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
_EXPONENT: Final = re.compile(r"[0-9.]{1,40}[eE][+-]?[0-9]{1,4}")
_WORDS_OF_TRUTH: Final = {"true": True, "True": True, "false": False, "False": False}


def read_decimal(text: str, name: str = "the number") -> Decimal:
    """A number as venues write it: up to 20 ASCII digits and up to 20 decimals, nothing else.

    The pattern comes before any arithmetic: `int(Decimal("1e4000000"))` takes minutes.
    """
    number = _decimal(text)
    if number is None:
        hint = ""
        if _EXPONENT.fullmatch(text) is not None:
            hint = "; a float written by Python looks like this when small, send a plain decimal"
        raise OrderNotUnderstood(f"{name} is {shown(text)}, expected a plain decimal such as 0.00001{hint}")
    return number


@lru_cache(maxsize=4096)
def _decimal(text: str) -> Decimal | None:
    """The number that a text is, or None. Sizes repeat, and the venue says each again, so they are kept."""
    return None if len(text) > DECIMAL_CHARACTERS_MAX or _DECIMAL.fullmatch(text) is None else Decimal(text)


def read_bool(text: str, name: str = "the flag") -> bool:
    """`true` or `false`, or as Python clients write them `True` and `False`; no other spelling counts."""
    found = _WORDS_OF_TRUTH.get(text)
    if found is None:
        raise OrderNotUnderstood(f"{name} is {shown(text)}, expected true or false")
    return found


# --- JSON --------------------------------------------------------------------------------------


def loads(
    text: str | bytes, *, characters_max: int = JSON_CHARACTERS_MAX, depth_max: int = JSON_DEPTH_MAX
) -> Any:  # noqa: ANN401 - JSON is any of six types; the caller narrows it
    """Read JSON strictly: whole numbers as `int`, all others as exact `Decimal`, never `float`.

    Refused with OrderNotUnderstood: repeated keys, NaN and Infinity, numbers of more than 40
    digits or exponents beyond 30, lone surrogates, invalid UTF-8, nesting and size over the limits.
    """
    return _load(text, characters_max, depth_max, _whole, _fraction)


def loads_as_written(
    text: str | bytes, *, characters_max: int = VALUE_BYTES_MAX, depth_max: int = JSON_DEPTH_MAX
) -> Any:  # noqa: ANN401 - as loads
    """The same, with every number left as the text that was sent (`NumberText`)."""
    return _load(text, characters_max, depth_max, NumberText, NumberText)


def _load(text: str | bytes, characters_max: int, depth_max: int, whole: Any, fraction: Any) -> Any:  # noqa: ANN401 - as loads
    if len(text) > characters_max:
        raise OrderNotUnderstood(f"the JSON has {len(text)} characters, at most {characters_max} are read")
    try:
        # Given bytes, the library would guess UTF-16 and UTF-32 as well.
        source = text.decode("utf-8") if isinstance(text, bytes) else text
        loaded = json.loads(  # noqa: TID251 - this is the place
            source, parse_int=whole, parse_float=fraction, parse_constant=_constant, object_pairs_hook=_pairs
        )
        if "\\u" in source or not source.isascii():
            json.dumps(loaded, default=str, ensure_ascii=False).encode("utf-8")
    except OrderNotUnderstood:
        raise
    except (ValueError, RecursionError) as error:
        raise OrderNotUnderstood(f"the JSON could not be read: {type(error).__name__}") from None
    if source.count("[") + source.count("{") > depth_max and _depth(loaded) > depth_max:
        raise OrderNotUnderstood(f"the JSON nests deeper than {depth_max}")
    return loaded


def _whole(text: str) -> int:
    if len(text) > 40:
        raise OrderNotUnderstood("a JSON number has more than 40 digits")
    return int(text)


def _fraction(text: str) -> Decimal:
    if len(text) > 80:
        raise OrderNotUnderstood("a JSON number has more than 80 characters")
    number = Decimal(text)
    if number and not -30 <= number.adjusted() <= 40:
        raise OrderNotUnderstood("a JSON number has an exponent beyond what money needs")
    # A zero with a huge exponent stalls arithmetic as well as any other.
    return number or Decimal(0)


def _constant(text: str) -> NoReturn:
    raise OrderNotUnderstood(f"the JSON has {text}, which is no number")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise OrderNotUnderstood("a JSON object repeats a key")
    return found


def _depth(loaded: object) -> int:
    level: list[object] = [loaded]
    depth = 0
    while level:
        below: list[object] = []
        containers = 0
        for item in level:
            if isinstance(item, dict):
                containers += 1
                below.extend(item.values())
            elif isinstance(item, list):
                containers += 1
                below.extend(item)
        depth += containers > 0
        level = below
    return depth


def shown(found: str | bytes) -> str:
    """What was found in a field, for a message and the record; what is as long as a key is not repeated."""
    text = found.decode("latin-1") if isinstance(found, bytes) else found
    return ascii(text) if len(text) <= SHOWN_MAX else f"a text of {len(text)} characters"

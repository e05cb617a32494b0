"""Binance: spot (`/api`) and USDⓈ-M futures (`/fapi`) judged, the other families recognised.

The signature covers the raw query and the raw body glued together with nothing between, less
the signature pair itself, wherever that stands. It covers neither path nor method.
See https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_DOWN, Context, Decimal
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from proxy.errors import NotAuthentic, OrderNotUnderstood, SigningError
from proxy.exchanges import binance_answers, binance_futures, binance_spot, signing
from proxy.exchanges.base import Answer, Credentials, Parsed, Recognised, Verb
from proxy.exchanges.binance_endpoints import ENDPOINTS, FAMILIES, family_of
from proxy.exchanges.binance_fields import Sized
from proxy.wire import Param, Params, WireRequest, WireResponse, check_head, header, read_decimal, read_params
from rules import Decision, Order, QuantityCut, Reason

_FORMS: Final = {**binance_spot.FORMS, **binance_futures.FORMS}

_API_KEY: Final = re.compile(rb"[!-~]{1,256}")
_TIMESTAMP: Final = re.compile(r"[0-9]{13}(?:[0-9]{3})?")
_RECEIVE_WINDOW: Final = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,3})?")
_HMAC_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_RECEIVE_WINDOW_DEFAULT_MS: Final = Decimal(5000)
_RECEIVE_WINDOW_MAX_MS: Final = Decimal(60000)
# Twenty digits and twenty decimals, times the same: exact, where the default context would round.
_EXACT: Final = Context(prec=100)


def _elsewhere() -> dict[tuple[str, str | None], Recognised]:
    """What is not on the list, per method and family: a GET reads, anything else is unknown."""
    table: dict[tuple[str, str | None], Recognised] = {}
    for method in ("GET", "POST", "PUT", "DELETE"):
        for family in (*FAMILIES, None):
            reads = method == "GET" and family is not None
            table[method, family] = Recognised(
                family=family or "", verb=Verb.READ if reads else Verb.UNKNOWN,
                endpoint=f"{method} {family or ''}/*", security="none",
            )
    return table


_ELSEWHERE: Final = _elsewhere()
_READS_WITH_KEY: Final = {
    family: replace(_ELSEWHERE["GET", family], security="key") for family in FAMILIES
}
_READS_SIGNED: Final = {
    family: replace(_ELSEWHERE["GET", family], security="signed") for family in FAMILIES
}


class Binance:
    """Binance's REST API."""

    name: str = "binance"
    families: tuple[str, ...] = FAMILIES

    def family_of(self, path: bytes) -> str | None:
        """The family a raw path belongs to, or None."""
        return family_of(path)

    def recognise(self, request: WireRequest) -> Recognised:
        """Say what a request wants; what is not plain or not listed is refused or UNKNOWN."""
        check_head(request)
        path, _, query = request.target.partition(b"?")
        listed = ENDPOINTS.get((request.method, path))
        if listed is not None:
            return listed
        family = family_of(path)
        if request.method != "GET" or family is None:
            return _ELSEWHERE[request.method, family]
        if query.startswith(b"signature=") or b"&signature=" in query:
            return _READS_SIGNED[family]
        if any(name.lower() == b"x-mbx-apikey" for name, _ in request.headers):
            return _READS_WITH_KEY[family]
        return _ELSEWHERE["GET", family]

    def api_key(self, request: WireRequest) -> str | None:
        """The key that came with the request."""
        found = header(request, b"x-mbx-apikey")
        if found is None or not found:
            return None
        if _API_KEY.fullmatch(found) is None:
            raise OrderNotUnderstood("the key header has a character that no key has")
        return found.decode("ascii")

    def parse(self, request: WireRequest, recognised: Recognised) -> Parsed:
        """Read the instructions of a judged request."""
        form = _FORMS.get(recognised.endpoint)
        if form is None:
            raise OrderNotUnderstood(f"{recognised.endpoint} has no form to read it by", Reason.ENDPOINT_UNKNOWN)
        params = read_params(request)
        values = params.values
        if not values.keys() <= form.allowed:
            raise OrderNotUnderstood(_unknown_name(values.keys() - form.allowed, form.allowed, recognised))
        if "" in values.values():
            raise OrderNotUnderstood("a parameter was sent without a value")
        return Parsed(recognised=recognised, instructions=form.read(values), params=params)

    def read_params(self, request: WireRequest) -> Params:
        """Read the parameters strictly, for requests that are not judged."""
        return read_params(request)

    # --- authenticity ------------------------------------------------------------------------

    def verify(self, request: WireRequest, params: Params, secret: bytes) -> None:
        """Check a bot's HMAC-SHA256 signature over the raw bytes."""
        signature = params.find("signature")
        if signature is None:
            raise NotAuthentic(Reason.SIGNATURE_INVALID, "the request carries no signature")
        if _HMAC_HEX.fullmatch(signature.value) is None:
            raise NotAuthentic(Reason.SIGNATURE_INVALID, "the signature is not 64 hex digits")
        if not signing.hmac_matches(secret, _payload(request, signature), signature.value):
            raise NotAuthentic(Reason.SIGNATURE_INVALID, "the signature does not fit the request")

    def verify_own(self, request: WireRequest, params: Params, credentials: Credentials) -> None:
        """Check a signature that the bot made with the venue key itself, of whatever kind that key is."""
        if credentials.kind == "hmac":
            self.verify(request, params, credentials.secret)
            return
        signature = params.find("signature")
        if signature is None:
            raise NotAuthentic(Reason.SIGNATURE_INVALID, "the request carries no signature")
        if not signing.key_matches(credentials.secret, _payload(request, signature), signature.value):
            raise NotAuthentic(Reason.SIGNATURE_INVALID, "the signature does not fit the request")

    def timestamp_window(self, params: Params) -> tuple[int, Decimal]:
        """The timestamp and recvWindow in milliseconds; a timestamp in microseconds is cut."""
        stamp, window = params.values.get("timestamp"), params.values.get("recvWindow")
        if stamp is None or _TIMESTAMP.fullmatch(stamp) is None:
            raise NotAuthentic(
                Reason.TIMESTAMP_OUTSIDE_WINDOW, "timestamp is missing or not milliseconds or microseconds"
            )
        window_ms = _RECEIVE_WINDOW_DEFAULT_MS if window is None else _receive_window_ms(window)
        return (int(stamp) if len(stamp) == 13 else int(stamp) // 1000), window_ms

    # --- rewriting ---------------------------------------------------------------------------

    def rescale(
        self, request: WireRequest, parsed: Parsed, quantities: Sequence[Decimal | None]
    ) -> WireRequest:
        """Write smaller quantities in place; the signature is then wrong until `sign`."""
        if len(quantities) != len(parsed.instructions):
            raise SigningError(f"{len(quantities)} quantities for {len(parsed.instructions)} instructions")
        form = _FORMS[parsed.recognised.endpoint]
        edits: list[tuple[Param, bytes]] = []
        covered: set[int] = set()
        for sized in form.sized:
            param = parsed.params.find(sized.name)
            if param is None:
                continue
            covered.update(sized.instructions)
            wanted = {quantities[index] for index in sized.instructions} - {None}
            if wanted:
                edits.extend(_resized(parsed, sized, param, wanted))
        for index, quantity in enumerate(quantities):
            if quantity is not None and index not in covered and quantity != _asked(parsed, index):
                raise SigningError(f"{parsed.recognised.endpoint} states a size that cannot be rewritten in place")
        return _edited(request, edits)

    def sign(self, request: WireRequest, credentials: Credentials) -> WireRequest:
        """Replace key header and signature where they stand; never sign what the bot did not sign."""
        params = read_params(request)
        signature = params.find("signature")
        if signature is None:
            raise SigningError("the request carries no signature; an unsigned request is never signed for the bot")
        payload = _payload(request, signature)
        if credentials.kind == "hmac":
            made = signing.hmac_sha256_hex(credentials.secret, payload)
        elif credentials.kind == "ed25519":
            made = _percent_encoded(signing.ed25519_base64(credentials.secret, payload))
        elif credentials.kind == "rsa":
            made = _percent_encoded(signing.rsa_sha256_base64(credentials.secret, payload))
        else:
            raise SigningError(f"the key's kind is {credentials.kind!r}, expected hmac, ed25519 or rsa")
        return self.rekey(_edited(request, [(signature, made)]), credentials)

    def rekey(self, request: WireRequest, credentials: Credentials) -> WireRequest:
        """Replace the value of the key header; for requests that carry the key and no signature."""
        if header(request, b"x-mbx-apikey") is None:
            raise SigningError("the request carries no key header; none is added for the bot")
        return _with_header(request, b"x-mbx-apikey", credentials.api_key.encode("ascii"))

    # --- answers -----------------------------------------------------------------------------

    def read_answer(self, parsed: Parsed, response: WireResponse) -> Answer:
        """Say what the venue did."""
        return binance_answers.read_answer(parsed, response)

    def signature_refused(self, response: WireResponse) -> bool:
        """Whether the venue refused a request because its signature is not its key's."""
        return binance_answers.signature_refused(response)

    def refuse(
        self, recognised: Recognised | None, decision: Decision, decision_id: str, *, approval_id: str = ""
    ) -> WireResponse:
        """A block in the venue's own error shape; with the id of the approval that it waits for, if it does."""
        return binance_answers.refuse(recognised, decision, decision_id, approval_id)

    def refuse_plain(
        self,
        recognised: Recognised | None,
        reason: Reason,
        sentence: str,
        decision_id: str,
        *,
        status: int = 403,
        retry_after_s: int | None = None,
    ) -> WireResponse:
        """A refusal without a decision of the rulebook."""
        return binance_answers.refuse_plain(
            recognised, reason, sentence, decision_id, status=status, retry_after_s=retry_after_s
        )

    def outcome_unknown(self, decision_id: str) -> WireResponse:
        """The answer when bytes left and nothing came back."""
        return binance_answers.outcome_unknown(decision_id)

    def not_sent(self, sentence: str, decision_id: str) -> WireResponse:
        """The answer when the venue could not be reached and nothing was sent."""
        return binance_answers.not_sent(sentence, decision_id)


@lru_cache(maxsize=64)
def _receive_window_ms(window: str) -> Decimal:
    """A recvWindow in milliseconds. Bots send the same one with every request, so it is kept."""
    if _RECEIVE_WINDOW.fullmatch(window) is None or not 0 < Decimal(window) <= _RECEIVE_WINDOW_MAX_MS:
        raise NotAuthentic(
            Reason.TIMESTAMP_OUTSIDE_WINDOW, "recvWindow is not above 0 and at most 60000 milliseconds"
        )
    return Decimal(window)


def _unknown_name(unknown: frozenset[str] | set[str], allowed: frozenset[str], recognised: Recognised) -> str:
    name = min(unknown)
    near = [known for known in allowed if known.lower() == name.lower()]
    hint = f"; it is written {near[0]}" if near else ""
    return f"{recognised.endpoint} takes no parameter {name}{hint}"


def _payload(request: WireRequest, signature: Param) -> bytes:
    """What the signature covers: query and body without the signature pair and one adjoining `&`."""
    query, body = request.query, request.body
    if signature.place == "query":
        return _without_pair(query, signature) + body
    return query + _without_pair(body, signature)


def _without_pair(raw: bytes, pair: Param) -> bytes:
    start = pair.start - len(pair.name) - 1
    if start > 0:
        return raw[: start - 1] + raw[pair.end :]
    return raw[pair.end + 1 :]


def _percent_encoded(signature: bytes) -> bytes:
    return quote(signature, safe="").encode("ascii")


def _asked(parsed: Parsed, index: int) -> Decimal | None:
    """What an instruction asked for, in the unit it was written in."""
    instruction = parsed.instructions[index]
    if isinstance(instruction, Order):
        return instruction.quantity if instruction.quantity is not None else instruction.quote_quantity
    return instruction.quantity if isinstance(instruction, QuantityCut) else None


def _resized(
    parsed: Parsed, sized: Sized, param: Param, wanted: set[Decimal | None]
) -> list[tuple[Param, bytes]]:
    """The edits that bring one quantity parameter, and its iceberg parts, to the wanted size."""
    if len(wanted) != 1:
        raise SigningError(f"{sized.name} speaks for several orders, and they were given different sizes")
    new, old = wanted.pop(), read_decimal(param.value, sized.name)
    if new is None or new == old:
        return []
    if not 0 < new < old:
        raise SigningError(f"{sized.name} may only become smaller than {old}, found {new}")
    edits = [(param, _written(new))]
    for name in sized.icebergs:
        iceberg = parsed.params.find(name)
        if iceberg is not None and (shown := read_decimal(iceberg.value, name)):
            edits.append((iceberg, _written(_in_proportion(shown, old, new))))
    return edits


def _in_proportion(shown: Decimal, old: Decimal, new: Decimal) -> Decimal:
    """An iceberg's visible part scaled like its whole, floored on the finer of both numbers' decimals.

    Both stand on the lot step, so their decimals are at most the step's: the floored part has no
    digit the venue would refuse.
    """
    decimals = max(_decimals(shown), _decimals(new))
    exact = _EXACT.divide(_EXACT.multiply(shown, new), old)
    part = exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_DOWN, context=_EXACT)
    if not part:
        raise SigningError("the visible part of the iceberg would become 0, which shows the whole order")
    return part


def _decimals(number: Decimal) -> int:
    exponent = number.normalize(_EXACT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _written(number: Decimal) -> bytes:
    text = format(number, "f")
    read_decimal(text, "a rewritten quantity")
    return text.encode("ascii")


def _edited(request: WireRequest, edits: Sequence[tuple[Param, bytes]]) -> WireRequest:
    """The request with raw values replaced at their spans; every other byte stays."""
    if not edits:
        return request
    raw = {"query": request.query, "body": request.body}
    for param, value in sorted(edits, key=lambda edit: edit[0].start, reverse=True):
        whole = raw[param.place]
        raw[param.place] = whole[: param.start] + value + whole[param.end :]
    path, mark, _ = request.target.partition(b"?")
    changed = replace(request, target=path + mark + raw["query"], body=raw["body"])
    if len(changed.body) != len(request.body):
        changed = _with_header(changed, b"content-length", b"%d" % len(changed.body))
    return changed


def _with_header(request: WireRequest, name: bytes, value: bytes) -> WireRequest:
    """The request with one header's value replaced where it stands; added nowhere."""
    return replace(
        request,
        headers=tuple((key, value if key.lower() == name else old) for key, old in request.headers),
    )

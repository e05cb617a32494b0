"""Every case of the corpora as raw bytes over a socket: what the proxy answers, and what arrives behind it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson
import pytest

from proxy import audit
from proxy.simulator import Fault, Received
from tests.drawn import cut, now_ms
from tests.runs import Run, key_of, open_run
from tests.threats.cases import CASES_BY_THREAT, t04_framing, t06_parameters, t09_content, t14_headers
from tests.threats.corpus import JUDGED_BY_GATE, KEY, PASSED_ON, REFUSED, SIGNATURE, Case, form, http
from tests.threats.sockets import Outcome, talk

PASSTHROUGH, CUSTODY = key_of("direct-0").key.encode(), key_of("desk-0").key.encode()
# Without the bot's secret, or with a time out of its window: whose check that is decides the account.
IN_CUSTODY = {"T12", "T13"}
# A request that never ends is refused when its deadline comes; nobody needs to wait for that here.
ENDLESS_S = 7.0
ABREAST = 24

# How many different requests each family of attack was found to need.
COUNTS = {
    "T1": 46,
    "T2": 28,
    "T3": 16,
    "T4": 56 + 23 + 42,
    "T5": 11,
    "T6": 36 + 23,
    "T7": 73,
    "T8": 32,
    "T9": 25 + 14 + 53,
    "T10": 32,
    "T11": 35,
    "T12": 23,
    "T13": 20,
    "T14": 27 + 21,
    "T15": 26,
}
PARTS = {
    "T4 framing": (t04_framing.FRAMING, 56),
    "T4 chunks": (t04_framing.CHUNKED, 23),
    "T4 lines": (t04_framing.LINES, 42),
    "T6 duplicates": (t06_parameters.DUPLICATES, 36),
    "T6 encoding": (t06_parameters.ENCODING, 23),
    "T14 headers": (t14_headers.HEADERS, 27),
    "T14 methods": (t14_headers.METHODS, 21),
    "T9 types": (t09_content.TYPES, 25),
}


def test_every_threat_has_as_many_cases_as_it_needs():
    """Different requests per threat, and per family of it, are not fewer than the attack was found to need."""
    found = {threat: len({case.raw for case in cases}) for threat, cases in CASES_BY_THREAT.items()}
    assert found.keys() == COUNTS.keys()
    assert {threat: (found[threat], needed) for threat, needed in COUNTS.items() if found[threat] < needed} == {}
    for name, (cases, needed) in PARTS.items():
        assert len({case.raw for case in cases}) >= needed, name


@dataclass(frozen=True, slots=True)
class Sent:
    """A case as it goes out: with a bot's key, and marks by which its requests are known behind the proxy."""

    case: Case
    raw: bytes
    requests: int


def prepared(threat: str, case: Case) -> Sent:
    """The case with a configured key where the corpus has its own."""
    key = CUSTODY if threat in IN_CUSTODY else PASSTHROUGH
    raw = case.raw.replace(b"X-MBX-APIKEY: " + KEY, b"X-MBX-APIKEY: " + key)
    raw = raw.replace(b"X-MBX-APIKEY: k\r\n", b"X-MBX-APIKEY: " + key + b"\r\n")
    # The same signature twice is a replay, which is judged before what a case is about.
    raw = re.sub(SIGNATURE.encode(), lambda _: next(_SIGNATURES), raw)
    if threat not in IN_CUSTODY:
        raw = fresh(raw)
    count = raw.count(b" HTTP/1.1\r\n") if threat == "T5" else 1
    return Sent(case, raw, count)


_SIGNATURES = (b"%040x" % number + b"a" * 24 for number in itertools.count(1))


def fresh(raw: bytes) -> bytes:
    """The bytes with the corpus's old time replaced by now: what is too old to be remembered is refused for that."""
    return raw.replace(b"timestamp=1700000000000", b"timestamp=%d" % now_ms())


def of_bots(received: Received) -> bool:
    """Whether a bot's request arrived: the proxy's own feeds name themselves."""
    return not (received.header(b"user-agent") or b"").startswith(b"riskgate")


class House:
    """A run, and what its exchange and its audit saw of one case at a time."""

    def __init__(self, run: Run) -> None:
        self.run = run

    async def meet(self, sent: Sent, segments: tuple[bytes, ...] | None = None) -> Outcome:
        """Send the case on a connection of its own."""
        return await talk(
            self.run.proxy_url, segments or (sent.raw,), answers=sent.requests, timeout_s=ENDLESS_S, pause_s=0.002
        )

    def arrivals(self) -> list[Received]:
        """What came from bots so far."""
        return [received for received in self.run.sim.received if of_bots(received)]


def faults_of(sent: Sent, outcome: Outcome) -> str | None:
    """What is wrong with how a case was answered, whatever became of it behind the proxy."""
    statuses = [seen.status for seen in outcome.answers]
    if any(status >= 500 for status in statuses):
        return f"answered {statuses}"
    if sent.case.expect == REFUSED:
        if any(status < 400 for status in statuses):
            return f"answered {statuses}"
        if not statuses and not outcome.closed:
            return "neither answered nor closed"
    elif not statuses:
        return "no answer"
    return None


async def replay(threat: str, house: House, *, seed: int | None = None) -> list[str]:
    """All cases of a threat, several at once; what went wrong."""
    cases = [prepared(threat, case) for case in CASES_BY_THREAT[threat]]
    slots = asyncio.Semaphore(ABREAST)

    async def one(number: int, sent: Sent) -> tuple[Sent, Outcome]:
        async with slots:
            segments = cut(Random(f"{seed}-{number}"), sent.raw) if seed is not None else None
            return sent, await house.meet(sent, segments)

    found = await asyncio.gather(*(one(number, sent) for number, sent in enumerate(cases)))
    wrong = []
    for sent, outcome in found:
        fault = faults_of(sent, outcome)
        if fault is not None:
            wrong.append(f"{sent.case.name}: {fault}, expected {sent.case.expect} ({sent.case.why})")
    return wrong + behind(threat, house, found)


def behind(threat: str, house: House, found: list[tuple[Sent, Outcome]]) -> list[str]:
    """What is wrong with what arrived: nothing of the refused, everything passed, decisions for the judged."""
    arrived = Counter((received.method, received.target, received.body) for received in house.arrivals())
    decided = Counter(
        record["sent_sha256"] for record in audit.read(house.run.app.settings.audit_dir) if record["kind"] == "decision"
    )
    wrong = []
    through = 0
    for sent, outcome in found:
        if sent.case.expect == REFUSED:
            continue
        for asked in requests_of(sent.raw):  # of a case that is read there is one way to read it
            digest = hashlib.sha256(asked[1] + b"\n" + asked[2]).hexdigest()
            if arrived[asked] > 0:
                arrived[asked] -= 1
                through += 1
                if sent.case.expect == JUDGED_BY_GATE and decided[digest] < 1:
                    wrong.append(f"{sent.case.name}: arrived without a decision")
                decided[digest] -= 1
            elif sent.case.expect == PASSED_ON:
                wrong.append(f"{sent.case.name}: did not arrive, answered {[seen.status for seen in outcome.answers]}")
            elif not any(b"X-Risk-Decision: block" in seen.head for seen in outcome.answers):
                wrong.append(f"{sent.case.name}: neither arrived nor blocked: {outcome}")
    expected = sum(sent.case.expect != REFUSED for sent, _ in found)
    if through < expected / 2:
        wrong.append(f"{threat}: of {expected} cases that may pass only {through} arrived, which proves little")
    left = [key for key, count in arrived.items() for _ in range(count)]
    return wrong + [f"{threat}: arrived although refused: {key!r}" for key in left]


def requests_of(raw: bytes) -> list[tuple[str, bytes, bytes]]:
    """The well-formed requests in a case, as they must arrive: method, target, body without its chunks."""
    found = []
    rest = raw.lstrip(b"\r\n")
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        names = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        method, target = first.split()[:2]
        if b"transfer-encoding" in names:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            body, rest = rest[:length], rest[length + len(b"\r\n0\r\n\r\n") :]
        else:
            length = int(names.get(b"content-length", b"0"))
            body, rest = rest[:length], rest[length:]
        found.append((method.decode(), target, body))
        rest = rest.lstrip(b"\r\n")
    return found


@pytest.mark.parametrize("threat", list(CASES_BY_THREAT))
async def test_the_corpus_over_a_socket(threat, tmp_path):
    """Each case is answered as expected; of the refused nothing arrives, and no input is answered 5xx."""
    async with open_run(tmp_path / "run", markets=("spot", "futures")) as run:
        wrong = await replay(threat, House(run))
    assert wrong == []


@pytest.mark.parametrize("threat", ["T4", "T5", "T6"])
async def test_the_corpus_in_pieces(threat, tmp_path):
    """Where TCP cuts the bytes changes nothing."""
    async with open_run(tmp_path / "run", markets=("spot", "futures")) as run:
        wrong = await replay(threat, House(run), seed=7)
    assert wrong == []


async def test_a_connection_with_ambiguous_framing_is_closed(tmp_path):
    """After bytes that two readers could frame differently nothing more is read from that connection."""
    follow = fresh(http("POST", body=form(quantity="0.001"), key=PASSTHROUGH))
    async with open_run(tmp_path / "run", markets=("spot", "futures")) as run:
        slots = asyncio.Semaphore(ABREAST)

        async def one(case: Case) -> tuple[Case, Outcome]:
            async with slots:
                raw = prepared("T4", case).raw + follow
                return case, await talk(run.proxy_url, (raw,), timeout_s=ENDLESS_S)

        cases = [case for case in t04_framing.CASES if case.expect == REFUSED and is_ambiguous(case)]
        found = await asyncio.gather(*(one(case) for case in cases))
        arrivals = House(run).arrivals()
    assert len(cases) > 100
    assert [case.name for case, outcome in found if not outcome.closed] == []
    assert [case.name for case, outcome in found if any(seen.status < 400 for seen in outcome.answers)] == []
    assert [received for received in arrivals if received.is_order] == []


def is_ambiguous(case: Case) -> bool:
    """Whether where the request ends is in doubt; an odd word in a well framed one leaves the connection usable."""
    return case.name not in WELL_FRAMED


WELL_FRAMED = {
    "CL in underscore",
    "TE in underscore",
    "last chunk missing",
    "size too large by one",
}


async def test_pipelined_requests_are_judged_one_by_one(tmp_path):
    """Ten orders in one write against a limit on size: each has its own verdict, in order."""
    sizes = ["0.002", "5", "0.003", "9", "0.002", "0.004", "7", "0.002", "0.005", "8"]
    async with open_run(tmp_path / "run", size={"order_notional_max": "1000"}) as run:
        bot = run.bots(1)[0]
        raw = b"".join(bot.order_bytes(quantity=size, timeInForce="IOC") for size in sizes)
        outcome = await talk(run.proxy_url, (raw,), answers=len(sizes))
        placed = [dict(orjson.loads(seen.body)).get("code", 0) for seen in outcome.answers]
        arrived = [received for received in House(run).arrivals() if received.is_order]
    assert [seen.status for seen in outcome.answers] == [200 if size.startswith("0") else 403 for size in sizes], placed
    assert len(arrived) == 6


async def test_ten_at_once_do_not_race_past_a_position_limit(tmp_path):
    """Forty connections send at the same moment against room for ten: ten arrive."""
    async with open_run(tmp_path / "run", size={"position_notional_max": "3000"}) as run:
        bots = run.bots(8)
        orders = [bot.order_bytes(quantity="0.005") for bot in bots for _ in range(5)]  # 295 USDT each
        outcomes = await asyncio.gather(*(talk(run.proxy_url, (raw,), answers=1) for raw in orders))
        arrived = [received for received in House(run).arrivals() if received.is_order]
    assert sorted(outcome.answers[0].status for outcome in outcomes) == [200] * 10 + [403] * 30
    assert len(arrived) == 10


async def test_a_host_of_the_clients_choice_never_picks_the_upstream(tmp_path):
    """Whatever Host, forwarded host or absolute target a client sets, only the configured origin is spoken to."""
    async with open_run(tmp_path / "run") as run:
        listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        elsewhere: list[int] = []
        evil = b"127.0.0.1:%d" % listener.sockets[0].getsockname()[1]
        listener.close()

        def visited(_reader: Any, writer: asyncio.StreamWriter) -> None:
            elsewhere.append(1)
            writer.close()

        listener = await asyncio.start_server(visited, "127.0.0.1", int(evil.rpartition(b":")[2]))
        async with listener:
            for number, headers in enumerate(((), ((b"X-Forwarded-Host", evil),), ((b"Forwarded", b"host=" + evil),))):
                body = form(signature=f"{number:040x}".ljust(64, "0"))
                raw = http("POST", "/fapi/v1/order", fresh(body), key=PASSTHROUGH, host=evil, headers=headers)
                await talk(run.proxy_url, (raw,), answers=1)
            for target in (b"http://" + evil + b"/fapi/v1/order", b"//" + evil + b"/fapi/v1/order"):
                refused = await talk(run.proxy_url, (http("POST", target, form(), key=PASSTHROUGH),), answers=1)
                assert 400 <= refused.answers[0].status < 500
        own = run.sim.url.partition("//")[2].encode()
        arrived = House(run).arrivals()
    assert elsewhere == []
    assert len([received for received in arrived if received.is_order]) == 3
    assert {received.header(b"host") for received in arrived} == {own}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_redirect_is_not_followed(method, tmp_path):
    """The venue (or whoever answers for it) sends an order elsewhere: nobody goes there, least of all the key."""
    visits: list[int] = []

    def visited(_reader: Any, writer: asyncio.StreamWriter) -> None:
        visits.append(1)
        writer.close()

    async with open_run(tmp_path / "run") as run, await asyncio.start_server(visited, "127.0.0.1", 0) as elsewhere:
        there = f"http://127.0.0.1:{elsewhere.sockets[0].getsockname()[1]}/fapi/v1/order"
        run.sim.inject(Fault("redirect", match=f"{method} /fapi/v1/order", headers={"Location": there}))
        bot = run.bots(1)[0]
        other = {"type": None, "timeInForce": None, "newClientOrderId": None, "orderId": "1"}
        reply = await bot.raw(bot.order_bytes(method=method, **({} if method == "POST" else other)))
        arrived = [received for received in House(run).arrivals() if received.method == method]
        outcomes = [one["outcome"] for one in audit.read(run.app.settings.audit_dir) if one["kind"] == "outcome"]
    assert visits == []
    assert len(arrived) == 1
    assert reply.status >= 300
    if method != "DELETE":
        assert outcomes == ["unknown"]

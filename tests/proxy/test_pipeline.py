"""The path of a request: what leaves, what is recorded, and what every way out gives back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy import audit
from proxy.errors import AuditError, OrderNotUnderstood, UpstreamSilent, UpstreamUnreachable
from proxy.exchanges import EXCHANGES
from proxy.exchanges.base import Credentials
from proxy.wire import WireResponse
from rules import EssLevel, Market
from tests.house import BOT_KEY, BOT_SECRET, PLAIN_KEY, POLICY, VENUE_KEY, VENUE_SECRET, open_house


@pytest.fixture
async def house(tmp_path):
    """A pipeline with a custody and a passthrough bot."""
    async with open_house(tmp_path) as house:
        yield house


def plain(house, **changes):
    """An order of the passthrough bot, signed with the venue's own secret."""
    return house.order(key=PLAIN_KEY, secret=VENUE_SECRET, **changes)


def header(answer, name):
    """One header of an answer."""
    return {key.lower(): value for key, value in answer.headers}.get(name)


async def test_an_allowed_order_leaves_byte_for_byte(house):
    """Passthrough: target and body arrive as the bot sent them, and the answer comes back unchanged."""
    request = plain(house)
    answer, body = await house.ask(request)

    assert answer.status == 200
    assert body["orderId"] == 7
    assert [(one.target, one.body) for one in house.venue.sent] == [(request.target, request.body)]
    assert header(answer, b"x-mbx-used-weight-1m") == b"1"
    assert header(answer, b"x-risk-decision") == b"allow"


async def test_custody_swaps_key_and_signature_only(house):
    """Custody: the venue's key and a signature that verifies with the venue's secret; all else as sent."""
    request = house.order()
    answer, _ = await house.ask(request)

    sent = house.venue.sent[0]
    assert answer.status == 200
    assert dict(sent.headers)[b"X-MBX-APIKEY"] == VENUE_KEY.encode()
    EXCHANGES[0].verify(sent, EXCHANGES[0].read_params(sent), VENUE_SECRET)
    assert sent.body.partition(b"&signature=")[0] == request.body.partition(b"&signature=")[0]


async def test_a_scaled_order_is_smaller_signed_and_told(house):
    """0.05 BTC under a limit of 600 becomes 0.010, signed again, and the bot is told both quantities."""
    answer, _ = await house.ask(house.order(quantity="0.05"))

    sent = house.venue.sent[0]
    assert b"quantity=0.010&" in sent.body
    EXCHANGES[0].verify(sent, EXCHANGES[0].read_params(sent), VENUE_SECRET)
    assert header(answer, b"x-risk-original-quantity") == b"0.05"
    assert Decimal(header(answer, b"x-risk-quantity").decode()) == Decimal("0.01")
    assert header(answer, b"x-risk-reason") == b"order_notional_exceeds_limit"


async def test_passthrough_scales_only_what_was_validly_signed(house):
    """An oversized order with a wrong signature is never signed with our key."""
    answer, body = await house.ask(house.order(key=PLAIN_KEY, secret=b"guessed", quantity="0.05"))

    assert answer.status == 403
    assert header(answer, b"x-risk-reason") == b"signature_invalid"
    assert "risk gate" in body["msg"]
    assert house.venue.sent == []
    assert house.reservations.get(body["risk"]["decision_id"]) is None


async def test_passthrough_does_not_freshen_a_stale_timestamp(house):
    """A scaled order whose timestamp is outside its window is blocked, not given a new one."""
    house.forward(8)
    house.refresh()
    stale = str(int(house.clock.now().timestamp() * 1000) - 6000)
    answer, _ = await house.ask(plain(house, quantity="0.05", timestamp=stale))

    assert header(answer, b"x-risk-reason") == b"timestamp_outside_window"
    assert house.venue.sent == []


async def test_passthrough_without_a_secret_blocks_instead_of_scaling(tmp_path):
    """No secret, no scaling: the reason says so, and the headroom is free again."""
    async with open_house(tmp_path, plain_secret=False) as house:
        answer, _ = await house.ask(plain(house, quantity="0.05"))
        assert header(answer, b"x-risk-reason") == b"resign_unavailable"
        assert house.venue.sent == []
        assert not house.book.symbol("plain", Market.LINEAR, "BTCUSDT", house.clock.now()).reserved


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
async def test_passthrough_scales_with_asymmetric_keys(tmp_path, kind):
    """A bot that signs with the account's Ed25519 or RSA key is checked with it and signed again with it."""
    key = (
        ed25519.Ed25519PrivateKey.generate()
        if kind == "ed25519"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    credentials = Credentials(api_key=PLAIN_KEY, secret=pem, kind=kind)
    async with open_house(tmp_path, plain_credentials=credentials) as house:
        unsigned = house.order(key=PLAIN_KEY, secret=b"any", quantity="0.05", newClientOrderId="a")
        signed = EXCHANGES[0].sign(unsigned, credentials)
        tampered = replace(signed, body=signed.body.replace(b"quantity=0.05", b"quantity=0.06"))
        bad, _ = await house.ask(tampered)
        good, _ = await house.ask(signed)

        assert (good.status, bad.status) == (200, 403)
        assert header(bad, b"x-risk-reason") == b"signature_invalid"
        assert len(house.venue.sent) == 1
        sent = house.venue.sent[0]
        EXCHANGES[0].verify_own(sent, EXCHANGES[0].read_params(sent), credentials)
        assert b"quantity=0.010" in sent.body


async def test_the_decision_is_on_record_before_the_order_leaves(house):
    """At the last look the audit already holds the allow, with the digest of the bytes that follow."""
    seen = []
    house.venue.before_last_look = lambda: seen.append(house.records("decision"))
    await house.ask(house.order())

    assert [record["decision"] for record in seen[0]] == ["allow"]
    assert [record["kind"] for record in house.records()][-2:] == ["decision", "outcome"]


async def test_what_cannot_be_recorded_is_not_sent(house, monkeypatch):
    """A failing audit blocks the order in the venue's shape and frees its headroom."""

    def failing(record):
        raise AuditError("disk full")

    monkeypatch.setattr(house.audit, "append", failing)
    answer, body = await house.ask(house.order())

    assert answer.status == 403
    assert body["code"] == -2010
    assert header(answer, b"x-risk-reason") == b"audit_unavailable"
    assert house.venue.sent == []
    assert house.reservations.counts()["in_flight"] == 0


async def test_a_crowd_is_recorded_with_one_write_before_any_of_it_leaves(house, monkeypatch):
    """Twelve orders decided in one round of the loop: each finds its own record in the file at its last look."""
    house.venue.in_flight, writes = 8, []
    monkeypatch.setattr(house.audit, "_write", _counted(house.audit._write, writes))
    found = []
    house.venue.before_last_look = lambda: found.append((len(writes), len(list(audit.read(house.audit_dir)))))
    orders = [house.order(quantity="0.001", newClientOrderId=f"o-{number}") for number in range(12)]
    answers = await asyncio.gather(*(house.ask(order) for order in orders))

    assert [answer.status for answer, _ in answers] == [200] * 12
    assert len(house.venue.sent) == 12
    assert found == [(1, 12)] * 12


def _counted(write, writes):
    def counted(lines):
        writes.append(len(lines))
        write(lines)

    return counted


async def test_of_a_crowd_that_cannot_be_recorded_nothing_is_sent_and_the_record_says_so_later(house, monkeypatch):
    """The disk takes nothing in that round: all are refused and give back, and what stands there later is complete."""
    house.venue.in_flight = 8

    def full(_lines):
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(house.audit, "_write", full)
        orders = [house.order(quantity="0.001", newClientOrderId=f"o-{number}") for number in range(12)]
        answers = await asyncio.gather(*(house.ask(order) for order in orders))

    assert {header(answer, b"x-risk-reason") for answer, _ in answers} == {b"audit_unavailable"}
    assert house.venue.sent == []
    assert house.reservations.counts()["in_flight"] == 0
    # There is room again: what had its place is written, and of each order that it never left.
    again, _ = await house.ask(house.order(newClientOrderId="later"))
    assert again.status == 200
    records = house.records()
    allowed = [record["decision_id"] for record in records if record.get("decision") == "allow"]
    not_sent = {record["decision_id"] for record in records if record.get("outcome") == "not_sent"}
    assert len(allowed) == 13
    assert set(allowed[:12]) == not_sent
    assert audit.verify(house.audit_dir).problem is None


async def test_what_is_not_durable_is_not_sent(house, monkeypatch):
    """A sync that fails blocks as well: written is not yet on disk."""

    async def failing(sequence):
        raise AuditError("sync failed")

    monkeypatch.setattr(house.audit, "durable", failing)
    answer, _ = await house.ask(house.order())

    assert header(answer, b"x-risk-reason") == b"audit_unavailable"
    assert house.venue.sent == []


async def test_a_halt_between_decision_and_last_look_stops_the_order(house):
    """The stop engaged after the allow was recorded: nothing is sent, and the record says so."""

    def halt():
        house.latch.trip(level=EssLevel.HALT, scope="global", actor="me", reason="test", source="api")

    house.venue.before_last_look = halt
    answer, _ = await house.ask(house.order())

    assert answer.status == 403
    assert header(answer, b"x-risk-reason") == b"ess_trading_halt_active"
    assert house.venue.sent == []
    assert [record["decision"] for record in house.records("decision")] == ["allow", "block"]
    assert house.reservations.counts()["in_flight"] == 0


async def test_cancels_and_reads_pass_while_halted(house):
    """HALT blocks the order; the cancel and the read go through, with the venue's key in custody."""
    house.latch.trip(level=EssLevel.HALT, scope="global", actor="me", reason="test", source="api")
    blocked, _ = await house.ask(house.order())
    cancel, _ = await house.ask(house.request("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId="7"))
    read, _ = await house.ask(house.request("GET", "/fapi/v1/openOrders"))

    assert [blocked.status, cancel.status, read.status] == [403, 200, 200]
    assert [request.method for request in house.venue.sent] == ["DELETE", "GET"]
    assert all(dict(one.headers)[b"X-MBX-APIKEY"] == VENUE_KEY.encode() for one in house.venue.sent)


async def test_a_public_read_needs_no_key(house):
    """Market data without a key passes untouched."""
    answer, _ = await house.ask(house.request("GET", "/fapi/v1/depth", key=None, secret=None, symbol="BTCUSDT"))

    assert answer.status == 200
    assert house.venue.sent[0].headers == ()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_key_is_refused_on_everything_private(house, method):
    """A key that no bot has reads nothing, places nothing and cancels nothing."""
    request = house.order(key="someone-else", method=method)
    answer, body = await house.ask(request)

    assert answer.status == 403
    assert house.venue.sent == []
    assert house.records("refusal")[0]["reason"] == "key_unknown"
    assert set(body) >= {"code", "msg"}


async def test_custody_refuses_a_wrong_signature_also_on_a_cancel(house):
    """What the bot did not sign is never signed for it, whatever it asks."""
    answer, _ = await house.ask(
        house.request("DELETE", "/fapi/v1/order", secret=b"guessed", symbol="BTCUSDT", orderId="7")
    )

    assert answer.status == 403
    assert house.venue.sent == []


async def test_the_same_signed_order_is_sent_once(house):
    """A replay within the window is refused; the first one stands."""
    request = house.order()
    first, _ = await house.ask(request)
    second, _ = await house.ask(request)

    assert (first.status, second.status) == (200, 403)
    assert header(second, b"x-risk-reason") == b"request_replayed"
    assert len(house.venue.sent) == 1


async def test_a_blocked_order_may_be_sent_again_once_it_is_allowed(house):
    """A block uses nothing up: after the release the very same bytes pass."""
    house.latch.trip(level=EssLevel.HALT, scope="global", actor="me", reason="test", source="api")
    request = house.order()
    first, _ = await house.ask(request)
    await house.latch.release(scope="global", actor="me", reason="over", expected_epoch=house.latch.epoch)
    second, _ = await house.ask(request)

    assert (first.status, second.status) == (403, 200)


async def test_silence_keeps_the_reservation_and_tells_unknown(house):
    """Bytes left and no answer came: 504 with the venue's own words, still reserved, never sent again."""
    house.venue.fails_after_send = UpstreamSilent("dropped")
    answer, body = await house.ask(house.order(newClientOrderId="mine"))

    assert (answer.status, body["code"]) == (504, -1007)
    assert house.reservations.counts()["unknown"] == 1
    assert house.reservations.client_id_in_use("desk", "mine")
    assert house.records("outcome")[-1]["outcome"] == "unknown"
    assert len(house.venue.sent) == 1


async def test_a_cancelled_request_leaves_its_order_unknown(house):
    """A shutdown that cuts a send short records the order as unknown and keeps its headroom."""
    house.venue.fails_after_send = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await house.pipeline.handle(house.order())

    assert house.reservations.counts()["unknown"] == 1
    assert house.records("outcome")[-1]["outcome"] == "unknown"


async def test_unreachable_gives_everything_back(house):
    """No connection: certainly not sent, so the bytes may come again and the headroom is free."""
    house.venue.fails = UpstreamUnreachable("refused")
    request = house.order()
    first, _ = await house.ask(request)
    house.venue.fails = None
    second, _ = await house.ask(request)

    assert (first.status, second.status) == (503, 200)
    assert house.records("outcome")[0]["outcome"] == "not_sent"


async def test_two_orders_do_not_fit_into_the_same_headroom(tmp_path):
    """Room for one position of 600: of two at once, exactly one passes unscaled."""
    policy = {
        "risk_source": {"kind": "none"},
        "accounts": {
            name: {
                "capital_profile": "aggressive",
                "strategies": ["grid"],
                "symbols": ["BTCUSDT"],
                "size": {"exposure_symbol_max": "600"},
            }
            for name in ("desk", "plain")
        },
    }
    async with open_house(tmp_path, policy=policy) as house:
        answers = await asyncio.gather(*(house.ask(house.order(newClientOrderId=f"n{n}")) for n in range(4)))
        assert sorted(answer.status for answer, _ in answers) == [200, 200, 403, 403]
        assert len(house.venue.sent) == 2  # 0.005 BTC at 59,000 is 295 each: two fit, a third does not


async def test_a_pause_the_venue_asked_for_is_kept(house):
    """After a 429 new exposure waits as long as told; a reduction still goes."""
    house.venue.answer = lambda request: WireResponse(429, ((b"Retry-After", b"30"),), b'{"code":-1003,"msg":"x"}')
    first, _ = await house.ask(house.order())
    house.venue.answer = None
    second, _ = await house.ask(house.order(newClientOrderId="again"))
    house.hold("desk", "0.005")
    closing, _ = await house.ask(house.order(side="SELL", newClientOrderId="close", price="60500"))
    house.forward(31)
    house.refresh()
    later, _ = await house.ask(house.order(newClientOrderId="later"))

    assert [first.status, second.status, closing.status, later.status] == [429, 429, 200, 200]
    assert header(second, b"retry-after") is not None


async def test_a_transfer_that_is_listed_passes_once_and_not_while_halted(tmp_path):
    """The same signed transfer is sent once; after a halt none is; each that left is on record before it left."""
    async with open_house(tmp_path, transfers_allowed=True) as house:
        path = "/sapi/v1/capital/withdraw/apply"
        request = house.request("POST", path, coin="USDT", address="0xabc", amount="1000")
        first, _ = await house.ask(request)
        again, _ = await house.ask(request)
        house.latch.trip(level=EssLevel.HALT, scope="global", actor="me", reason="test", source="api")
        halted, _ = await house.ask(house.request("POST", path, coin="USDT", address="0xabc", amount="1001"))

        assert (first.status, again.status, halted.status) == (200, 403, 403)
        assert header(again, b"x-risk-reason") == b"request_replayed"
        assert header(halted, b"x-risk-reason") == b"ess_trading_halt_active"
        assert len(house.venue.sent) == 1
        assert len(house.records("transfer")) == 1


async def test_a_shorter_pause_does_not_end_a_longer_one(house):
    """A ban of an hour stays an hour when a later answer asks for two seconds; a cancel's answer counts too."""
    house.venue.answer = lambda request: WireResponse(418, ((b"Retry-After", b"3600"),), b'{"code":-1003,"msg":"x"}')
    await house.ask(house.request("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId="7"))
    house.venue.answer = lambda request: WireResponse(429, ((b"Retry-After", b"2"),), b'{"code":-1003,"msg":"x"}')
    await house.ask(house.request("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId="8"))
    house.venue.answer = None
    house.forward(3)
    house.refresh()
    waiting, _ = await house.ask(house.order())

    assert waiting.status == 429


async def test_an_answer_goes_on_when_its_reservation_cannot_be_settled(house, monkeypatch):
    """A defect after the send is told and keeps the headroom; the bot still learns what the exchange said."""

    def broken(*args, **kwargs):
        raise ValueError("defect")

    monkeypatch.setattr(house.reservations, "settle", broken)
    answer, body = await house.ask(house.order())

    assert (answer.status, body["orderId"]) == (200, 7)
    assert house.records("outcome")[0]["outcome"] == "accepted"


async def test_transfers_are_refused_by_name(house):
    """A withdrawal is not on any account's list."""
    answer, body = await house.ask(house.request("POST", "/sapi/v1/capital/withdraw/apply", coin="BTC", amount="1"))

    assert answer.status == 403
    assert house.venue.sent == []
    assert house.records("refusal")[0]["reason"] in ("transfer_not_allowed", "endpoint_unknown")
    assert "risk gate" in body["msg"]


async def test_other_families_are_refused_by_name(house):
    """An order on a family that is not judged yet says which."""
    answer, body = await house.ask(house.request("POST", "/dapi/v1/order", symbol="BTCUSD_PERP", side="BUY"))

    assert answer.status == 403
    assert "/dapi" in body["msg"]
    assert house.venue.sent == []


async def test_a_lost_policy_blocks_new_exposure_and_lets_reductions_pass(house):
    """Past its maximum age the last policy judges exits only."""
    house.hold("desk", "0.005")
    house.forward(61)
    house.refresh()
    house.hold("desk", "0.005")
    opening, _ = await house.ask(house.order())
    closing, _ = await house.ask(house.order(side="SELL", price="60500"))

    assert header(opening, b"x-risk-reason") == b"policy_unavailable"
    assert closing.status == 200


# --- one bot, several strategies ---


@pytest.fixture
async def both(tmp_path):
    """The custody bot trades for grid, and for trend, whose orders are limited to 200."""
    policy = POLICY | {
        "accounts": POLICY["accounts"] | {"desk": POLICY["accounts"]["desk"] | {"strategies": ["grid", "trend"]}},
        "strategies": {"trend": {"size": {"exposure_strategy_max": "200"}}},
    }
    async with open_house(tmp_path, policy=policy) as house:
        bots = [replace(bot, prefixes={"trend": "tr-"}) for bot in house.parts.identities.bots]
        house.parts.identities.replace(bots)
        yield house


@pytest.mark.parametrize(
    "named", [{"newClientOrderId": "tr-1"}, {"headers": ((b"X-Risk-Strategy", b"trend"),), "newClientOrderId": "2"}],
)
async def test_the_limits_of_the_strategy_named_apply(both, named):
    """300 of BTC are within what grid may, and more than trend may; the record says whose order it was."""
    mine, _ = await both.ask(both.order())
    others, _ = await both.ask(both.order(**named))

    assert (mine.status, header(others, b"x-risk-reason")) == (200, b"strategy_exposure_exceeds_limit")
    assert [record["caller"]["strategy"] for record in both.records("decision")] == ["grid", "trend"]
    scaled, quantity = both.venue.sent[-1], header(others, b"x-risk-quantity")
    assert quantity == b"0.003"
    assert b"quantity=0.003" in scaled.body


async def test_a_stop_of_one_strategy_holds_its_orders_and_no_others(both):
    """Also where the same bot sends them."""
    await both.latch.engage(level=EssLevel.HALT, scope="strategy:trend", actor="ann", reason="r", source="api")
    mine, _ = await both.ask(both.order())
    others, _ = await both.ask(both.order(newClientOrderId="tr-1"))

    assert (mine.status, others.status) == (200, 403)
    assert len(both.venue.sent) == 1


@pytest.mark.parametrize(
    ("headers", "name"),
    [(((b"X-Risk-Strategy", b"other"),), "a-1"), (((b"X-Risk-Strategy", b"grid"),), "tr-1")],
)
async def test_in_doubt_whose_it_is_an_order_opens_nothing_and_reduces(both, headers, name):
    """Another bot's strategy, or a header against the id: on record, with a sentence; an exit passes."""
    both.hold("desk", "0.005")
    opening, body = await both.ask(both.order(headers=headers, newClientOrderId=name))
    closing, _ = await both.ask(both.order(headers=headers, newClientOrderId=name, side="SELL", price="60500"))

    assert header(opening, b"x-risk-reason") == b"strategy_not_allowed"
    assert "X-Risk-Strategy is" in body["msg"]
    assert closing.status == 200
    assert [record["reason"] for record in both.records("decision")] == [
        "strategy_not_allowed", "all_risk_checks_passed",
    ]


async def test_orders_of_two_strategies_do_not_share_a_request(both):
    """A batch is judged and recorded as one, for one strategy."""
    leg = '{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC","quantity":"0.001","price":"59000"%s}'
    for names, expected in ((("tr-1", "tr-2"), 200), (("tr-1", "mine"), 403)):
        batch = "[" + ",".join(leg % f',"newClientOrderId":"{name}"' for name in names) + "]"
        answer, _ = await both.ask(both.request("POST", "/fapi/v1/batchOrders", batchOrders=batch))
        assert answer.status == expected


@pytest.mark.parametrize("headers", [(), ((b"X-Risk-Strategy", b"trend"),) * 2])
async def test_in_doubt_whose_it_is_a_reduction_heeds_the_stop_of_every_strategy(both, headers):
    """It may be of the one that is halted; also where that one is halted while the order is on its way."""
    leg = '{"symbol":"BTCUSDT","side":"SELL","type":"MARKET","quantity":"%s","reduceOnly":"true"%s}'

    def closing(*quantities):
        named = zip(quantities, ("tr-1", "mine"), strict=True)
        batch = "[" + ",".join(leg % (one, f',"newClientOrderId":"{name}"') for one, name in named) + "]"
        return both.request("POST", "/fapi/v1/batchOrders", batchOrders=batch, headers=headers)

    def halt():
        both.latch.trip(level=EssLevel.HALT, scope="strategy:trend", actor="ann", reason="r", source="api")

    both.hold("desk", "0.005")
    both.venue.before_last_look = halt
    on_its_way, _ = await both.ask(closing("0.001", "0.002"))
    both.venue.before_last_look = None
    later, _ = await both.ask(closing("0.0011", "0.0021"))

    assert [header(one, b"x-risk-reason") for one in (on_its_way, later)] == [b"ess_trading_halt_active"] * 2
    assert both.venue.sent == []
    assert both.reservations.counts()["in_flight"] == 0
    assert [record["decision"] for record in both.records("decision")] == ["allow", "block", "block"]


async def test_a_transfer_heeds_the_stop_of_every_strategy_of_its_bot(tmp_path):
    """Money that leaves is that of all of them."""
    async with open_house(tmp_path, transfers_allowed=True) as house:
        bots = [replace(bot, prefixes={"trend": "tr-"}) for bot in house.parts.identities.bots]
        house.parts.identities.replace(bots)
        await house.latch.engage(level=EssLevel.HALT, scope="strategy:trend", actor="ann", reason="r", source="api")
        transfer = house.request("POST", "/sapi/v1/asset/transfer", type="MAIN_UMFUTURE", asset="USDT", amount="1")
        answer, _ = await house.ask(transfer)

        assert header(answer, b"x-risk-reason") == b"ess_trading_halt_active"
        assert house.venue.sent == []


async def test_a_bug_refuses_and_sends_nothing(house, monkeypatch):
    """Whatever fails before the send ends as a block in the venue's shape, not as a 5xx."""

    def broken(*args, **kwargs):
        raise RuntimeError("bug")

    monkeypatch.setattr(house.parts.gather, "facts", broken)
    answer, body = await house.ask(house.order())

    assert answer.status == 403
    assert house.venue.sent == []
    assert set(body) >= {"code", "msg"}


async def test_no_secret_is_in_the_record(house):
    """Keys, secrets and signatures appear nowhere in the audit."""
    request = house.order()
    await house.ask(request)
    await house.ask(house.order(secret=b"guessed"))
    signature = request.body.rpartition(b"=")[2]
    content = b"".join(file.read_bytes() for file in house.audit_dir.iterdir() if file.suffix == ".jsonl")

    for secret in (BOT_KEY.encode(), BOT_SECRET, VENUE_SECRET, VENUE_KEY.encode(), signature):
        assert secret not in content


async def test_what_cannot_be_framed_gives_everything_back(house):
    """The lane refused before it wrote anything: headroom and signature are free, and the record says so."""
    house.venue.fails = OrderNotUnderstood("a header value holds CR, LF or NUL", status=400)
    request = plain(house)
    answer, body = await house.ask(request)

    assert (answer.status, body["risk"]["reason"]) == (400, "order_not_understood")
    assert house.reservations.counts() == {"in_flight": 0, "accepted": 0, "unknown": 0}
    assert [record["outcome"] for record in house.records("outcome")] == ["not_sent"]
    house.venue.fails = None
    assert (await house.ask(request))[0].status == 200


async def test_a_send_that_fails_in_an_unknown_way_may_have_sent(house):
    """Bytes may have left: the reservation stays, and the bot is told that nobody knows."""
    house.venue.fails_after_send = RuntimeError("the transport broke")
    answer, body = await house.ask(plain(house))

    assert (answer.status, body["code"]) == (504, -1007)
    assert house.reservations.counts()["unknown"] == 1
    assert [record["outcome"] for record in house.records("outcome")] == ["unknown"]


@pytest.mark.parametrize(
    ("changes", "notional"),
    [
        ({}, "295"),
        ({"type": "MARKET", "price": None, "timeInForce": None}, "301.505025"),
        ({"type": "STOP_MARKET", "price": None, "timeInForce": None, "quantity": None, "stopPrice": "70000",
          "closePosition": "true"}, "0"),
    ],
)
async def test_the_record_says_what_an_order_is_worth(house, changes, notional):
    """As the rules valued it: at its own price, or at the ask and slippage; a close of nothing is worth nothing."""
    await house.ask(plain(house, **changes))
    (record,) = house.records("decision")
    found = record["orders"][0]["notional"]
    assert (found and Decimal(found)) == (notional and Decimal(notional))


def changed_leverage(request):
    """The venue's answer to a change of leverage."""
    return WireResponse(200, ((b"Content-Type", b"application/json"),), b'{"leverage":2,"symbol":"BTCUSDT"}')


async def set_leverage(house, leverage):
    """Ask for a leverage; whether it was let through."""
    answer, _ = await house.ask(house.request("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=leverage))
    return answer.status == 200


async def test_a_lowered_leverage_is_known_at_once(house):
    """While only reductions pass, leverage that was lowered cannot be raised again before it is read."""
    house.venue.answer = changed_leverage
    await house.latch.engage(level=EssLevel.REDUCE_ONLY, scope="global", actor="x", reason="y", source="api")

    assert await set_leverage(house, "2")
    assert not await set_leverage(house, "3")
    assert house.book.symbol("desk", Market.LINEAR, "BTCUSDT", house.clock.now()).leverage.value == 2


async def test_a_leverage_of_unknown_outcome_is_not_known(house):
    """Nobody knows what the venue did: no reduction is proven by what was read before; a later reading tells."""
    house.venue.fails_after_send = UpstreamSilent("nothing came back")
    await set_leverage(house, "2")
    assert house.book.symbol("desk", Market.LINEAR, "BTCUSDT", house.clock.now()).leverage is None
    house.venue.fails_after_send = None
    house.forward(1)
    house.refresh()
    assert house.book.symbol("desk", Market.LINEAR, "BTCUSDT", house.clock.now()).leverage.value == 3


async def test_a_refused_leverage_changes_nothing(house):
    """What the venue rejected is still what was read."""
    rejected = WireResponse(400, ((b"Content-Type", b"application/json"),), b'{"code":-4028,"msg":"Leverage"}')
    house.venue.answer = lambda request: rejected
    await set_leverage(house, "2")
    assert house.book.symbol("desk", Market.LINEAR, "BTCUSDT", house.clock.now()).leverage.value == 3

"""What the simulated exchange pushes, and how it can be made to push it wrongly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from proxy.clock import SystemClock
from proxy.exchanges.signing import hmac_sha256_hex
from proxy.simulator import SimExchange
from tests.canary import KEY, SECRET

D = Decimal


class Listener:
    """An account, and a client that asks and listens."""

    def __init__(self, sim: SimExchange, session: aiohttp.ClientSession) -> None:
        self.sim = sim
        self.session = session

    async def send(self, method: str, path: str, **params: str) -> Any:
        """A signed request."""
        stamp = str(int(SystemClock().now().timestamp() * 1000))
        query = urlencode({**params, "timestamp": stamp})
        url = f"{self.sim.url}{path}?{query}&signature={hmac_sha256_hex(SECRET, query.encode()).decode()}"
        async with self.session.request(method, url, headers={"X-MBX-APIKEY": KEY}) as response:
            return await response.json(content_type=None)

    async def futures(self) -> aiohttp.ClientWebSocketResponse:
        """Listen to the contracts of the account."""
        key = (await self.send("POST", "/fapi/v1/listenKey"))["listenKey"]
        return await self.session.ws_connect(f"{self.sim.streams.url}/private/ws/{key}")

    async def spot(self, **changed: Any) -> tuple[aiohttp.ClientWebSocketResponse, Any]:
        """Subscribe on the WebSocket API; the socket and what was answered."""
        socket = await self.session.ws_connect(f"{self.sim.streams.url}/ws-api/v3")
        params: dict[str, Any] = {"apiKey": KEY, "timestamp": int(SystemClock().now().timestamp() * 1000)}
        payload = urlencode(sorted(params.items()))
        params["signature"] = hmac_sha256_hex(SECRET, payload.encode()).decode()
        params.update(changed)
        await socket.send_json({"id": "1", "method": "userDataStream.subscribe.signature", "params": params})
        return socket, await socket.receive_json()


async def heard(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[Any]:
    """The next messages."""
    async with asyncio.timeout(5):
        return [await socket.receive_json() for _ in range(count)]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """An exchange that pushes, with one account."""
    sim = SimExchange()
    await sim.start()
    await sim.start_streams()
    sim.add_account("main", spot={"USDT": D(10_000), "BTC": D(1)}, futures_wallet=D(10_000))
    sim.add_key(KEY, SECRET.decode(), "main")
    async with aiohttp.ClientSession() as session:
        yield Listener(sim, session)
    await sim.stop()


async def test_a_market_order_on_contracts_is_told_in_the_order_it_happened(listener):
    """Accepted, then the position, then the fill."""
    socket = await listener.futures()
    await listener.send("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    new, account, trade = await heard(socket, 3)
    assert (new["e"], new["o"]["x"], new["o"]["X"], new["o"]["z"]) == ("ORDER_TRADE_UPDATE", "NEW", "NEW", "0.000")
    assert (account["e"], account["a"]["m"], account["a"]["P"][0]["pa"]) == ("ACCOUNT_UPDATE", "ORDER", "0.01")
    assert (trade["o"]["x"], trade["o"]["X"], trade["o"]["z"]) == ("TRADE", "FILLED", "0.010")
    assert account["T"] == trade["T"] == trade["o"]["T"]


async def test_cancel_amendment_and_leverage_are_told(listener):
    """Each by its own event."""
    socket = await listener.futures()
    made = await listener.send(
        "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.010", price="50000",
        timeInForce="GTC",
    )  # fmt: skip
    order_id = str(made["orderId"])
    await listener.send(
        "PUT", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", orderId=order_id, quantity="0.020", price="50000"
    )
    await listener.send("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=order_id)
    await listener.send("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage="7")
    events = await heard(socket, 4)
    assert [event["o"]["x"] for event in events[:3]] == ["NEW", "AMENDMENT", "CANCELED"]
    assert events[1]["o"]["q"] == "0.020"
    assert events[3]["ac"] == {"s": "BTCUSDT", "l": 7}


async def test_a_conditional_order_is_told_before_and_after_it_triggers(listener):
    """New, triggering, the order it became, triggered."""
    socket = await listener.futures()
    await listener.send(
        "POST", "/fapi/v1/algoOrder", algoType="CONDITIONAL", symbol="BTCUSDT", side="BUY", type="STOP_MARKET",
        quantity="0.010", triggerPrice="61000",
    )  # fmt: skip
    listener.sim.mark("BTCUSDT", D(61000))
    events = await heard(socket, 7)
    names = [(event["e"], event.get("o", {}).get("X")) for event in events]
    assert names == [
        ("ALGO_UPDATE", "NEW"), ("ALGO_UPDATE", "TRIGGERING"), ("ORDER_TRADE_UPDATE", "NEW"), ("ACCOUNT_UPDATE", None),
        ("ORDER_TRADE_UPDATE", "FILLED"), ("ALGO_UPDATE", "TRIGGERED"), ("ALGO_UPDATE", "FINISHED"),
    ]  # fmt: skip
    assert events[5]["o"]["ai"] == str(events[2]["o"]["i"])


async def test_spot_orders_and_balances_are_told_on_the_subscription(listener):
    """A report for each step, then the balances."""
    socket, answer = await listener.spot()
    assert (answer["status"], answer["result"]) == (200, {"subscriptionId": 0})
    await listener.send("POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01000")
    new, trade, balances = [found["event"] for found in await heard(socket, 3)]
    assert (new["x"], trade["x"], trade["X"], trade["z"]) == ("NEW", "TRADE", "FILLED", "0.01000000")
    assert {row["a"]: row["f"] for row in balances["B"]}["BTC"] == "1.01000000"


async def test_an_amended_spot_order_is_replaced(listener):
    """Less of it, told as REPLACED."""
    socket, _ = await listener.spot()
    made = await listener.send(
        "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.02000", price="50000",
        timeInForce="GTC",
    )  # fmt: skip
    await listener.send(
        "PUT", "/api/v3/order/amend/keepPriority", symbol="BTCUSDT", orderId=str(made["orderId"]), newQty="0.01000"
    )
    events = [found["event"] for found in await heard(socket, 4)]
    assert (events[2]["e"], events[2]["x"], events[2]["q"]) == ("executionReport", "REPLACED", "0.01000000")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"signature": "0" * 64}, -1022), ({"apiKey": "nobody"}, -2015), ({"timestamp": 1}, -1022),
        ({"timestamp": ""}, -1102), ({"more": 1}, -1104),
    ],
)  # fmt: skip
async def test_a_subscription_is_checked_as_a_request_is(listener, changed, code):
    """Key, signature, parameters: what is wrong is answered with the venue's code, and nothing is told."""
    _, answer = await listener.spot(**changed)
    assert answer["error"]["code"] == code
    assert not listener.sim.streams.listeners("main")


async def test_an_unknown_listen_key_connects_and_stays_silent(listener):
    """An open socket proves nothing."""
    socket = await listener.session.ws_connect(f"{listener.sim.streams.url}/private/ws/nothing")
    await listener.send("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    with pytest.raises(TimeoutError):
        await socket.receive_json(timeout=0.1)


async def test_an_expired_key_says_so_and_is_unknown_from_then_on(listener):
    """The event names the key; keeping it alive is answered with -1125; the next POST makes another."""
    socket = await listener.futures()
    before = listener.sim.accounts["main"].listen_key
    listener.sim.streams.expire("main")
    (event,) = await heard(socket, 1)
    assert (event["e"], event["listenKey"]) == ("listenKeyExpired", before)
    assert (await listener.send("PUT", "/fapi/v1/listenKey"))["code"] == -1125
    assert (await listener.send("POST", "/fapi/v1/listenKey"))["listenKey"] != before


async def test_faults_strike_as_often_as_told(listener):
    """Swallowed, doubled, held back, stale, garbage."""
    streams = listener.sim.streams
    socket = await listener.futures()
    events = []
    for kind in ("swallow", "duplicate", "stale"):
        streams.disturb(kind)
        await listener.send("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=str(len(kind)))
    streams.disturb("garbage")
    await listener.send("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage="30")
    for _ in range(4):
        events.append((await socket.receive(timeout=5)).data)
    assert [json.loads(text)["ac"]["l"] for text in events[:3]] == [9, 9, 5]
    assert json.loads(events[2])["E"] < json.loads(events[1])["E"] - 30_000
    assert "ac" not in events[3]
    with pytest.raises(ValueError, match="stream fault"):
        streams.disturb("confuse")


async def test_prices_are_told_to_whom_asks(listener):
    """Marks, books and spot tickers, each on its own stream."""
    base = listener.sim.streams.url
    listener.sim.streams.price_every_s = 0.02
    async with (
        listener.session.ws_connect(f"{base}/market/ws/!markPrice@arr@1s") as marks,
        listener.session.ws_connect(f"{base}/ws/!miniTicker@arr") as tickers,
        listener.session.ws_connect(f"{base}/public/ws/!bookTicker") as books,
    ):
        listener.sim.streams.push_prices()
        rows = (await heard(marks, 1))[0]
        assert {row["s"]: D(row["p"]) for row in rows}["BTCUSDT"] == 60000
        assert {row["s"]: D(row["c"]) for row in (await heard(tickers, 1))[0]}["ETHBTC"] == D("0.05")
        assert (await heard(books, 1))[0]["e"] == "bookTicker"


async def test_a_dropped_socket_ends_for_the_client(listener):
    """Cut off, not closed politely."""
    socket = await listener.futures()
    listener.sim.streams.drop()
    assert (await socket.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)

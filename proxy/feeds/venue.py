"""Asks a venue: signed or public requests, each bounded in time and size, never redirected.

Every answer carries the instant its request was *sent*: what a venue says is true at some
moment after that, so an age counted from there is never too young.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import aiohttp
from yarl import URL

from proxy.clock import Clock
from proxy.errors import SigningError
from proxy.exchanges.base import Credentials
from proxy.exchanges.signing import ed25519_base64, hmac_sha256_hex, rsa_sha256_base64
from proxy.feeds.reading import DOCUMENT_BYTES_MAX, Malformed, document
from proxy.feeds.server_time import ServerTime

# Longer documents are read in a thread, so that no order waits for exchangeInfo to be parsed.
READ_IN_THREAD_BYTES = 128 * 1024
RETRY_AFTER_MAX_S = 3 * 24 * 3600
PAUSE_S = 10.0  # where the venue says to slow down and not for how long
BANNED = 418
TOO_MANY = 429
TIMESTAMP_WRONG = -1021
ERROR_BYTES_MAX = 16 * 1024


class FeedFailed(Exception):
    """The venue could not be asked, or refused to answer; `code` is its own error code."""

    def __init__(self, message: str, *, status: int | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def bare(error: BaseException) -> str:
    """What failed, by its class and the host or status: its own text may show the signed URL, or one with a key."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{type(error).__name__} at {error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__}, status {error.status}"
    return type(error).__name__


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer read, and when it was asked for."""

    found: Any
    as_of: datetime
    sent_s: float


def open_session(
    *, connections_max: int = 16, ssl_context: ssl.SSLContext | None = None, token: str | None = None
) -> aiohttp.ClientSession:
    """The session that feeds share: no environment proxies, no cookies, no netrc; certificates are verified.

    With a token, every request bears it: such a session is for one service only.
    """
    headers = {"User-Agent": "riskgate"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections_max, ssl=True if ssl_context is None else ssl_context),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers=headers,
    )


class Allowance:
    """What a venue lets one address ask: shared by all who ask the same host from here.

    `used_weight` is what the venue last said of the minute's request weight; feeds stretch their
    cadence by `stretch`, because bots behind this proxy share the address and its limit.
    """

    def __init__(self, clock: Clock, *, weight_max: int = 2400) -> None:
        self._clock = clock
        self._weight_max = weight_max
        self._paused_until_s = 0.0
        self.used_weight = 0

    @property
    def pause_s(self) -> float:
        """How long the venue wants not to be asked."""
        return max(0.0, self._paused_until_s - self._clock.monotonic())

    @property
    def stretch(self) -> int:
        """By how much to slow down: three quarters of the weight double intervals, nine tenths make them fourfold."""
        share = self.used_weight / self._weight_max
        return 1 if share < 0.75 else 2 if share < 0.9 else 4

    def note(self, response: aiohttp.ClientResponse) -> None:
        """Take what an answer says of limits."""
        used = response.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isascii() and used.isdigit() and len(used) < 10:
            self.used_weight = int(used)
        if response.status in (TOO_MANY, BANNED):
            after = response.headers.get("Retry-After", "")
            stated = after.isascii() and after.isdigit() and len(after) < 10
            pause_s = min(float(after), RETRY_AFTER_MAX_S) if stated else PAUSE_S
            self._paused_until_s = max(self._paused_until_s, self._clock.monotonic() + pause_s)


class Venue:
    """One API family of a venue, asked with one key or none."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        origin: str,
        clock: Clock,
        *,
        credentials: Credentials | None = None,
        timeout_s: float = 5.0,
        recv_window_ms: int = 5000,
        allowance: Allowance | None = None,
        server_time: ServerTime | None = None,
    ) -> None:
        self.allowance = Allowance(clock) if allowance is None else allowance
        self._session = session
        self._origin = origin.rstrip("/")
        self._clock = clock
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._recv_window_ms = recv_window_ms
        self.server_time = ServerTime(clock) if server_time is None else server_time

    async def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        signed: bool = False,
        bytes_max: int = DOCUMENT_BYTES_MAX,
    ) -> Reply:
        """Read once: `ask` with GET."""
        return await self.ask("GET", path, params, signed=signed, bytes_max=bytes_max)

    async def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        signed: bool = False,
        keyed: bool = False,
        bytes_max: int = DOCUMENT_BYTES_MAX,
    ) -> Reply:
        """Ask once; `keyed` sends the key without a signature.

        Raises FeedFailed or Malformed; a pause the venue asked for is kept without asking.
        """
        if (pause_s := self.allowance.pause_s) > 0:
            raise FeedFailed(f"the venue asked for a pause, {pause_s:.0f} s of it are left")
        as_of, sent_s = self._clock.now(), self._clock.monotonic()
        query = urlencode(params or {})
        headers: dict[str, str] = {}
        if signed:
            query, headers = self._sign(query, as_of)
        elif keyed:
            headers = {"X-MBX-APIKEY": self._known_credentials().api_key}
        url = URL(f"{self._origin}{path}" + (f"?{query}" if query else ""), encoded=True)
        status, body = await self._fetch(method, url, headers, bytes_max, path)
        if status != 200:
            failed = self._failed(path, status, body)
            if failed.code == TIMESTAMP_WRONG:
                self.server_time.doubted()
            raise failed
        if len(body) > READ_IN_THREAD_BYTES:
            found = await asyncio.to_thread(document, body, bytes_max=bytes_max)
        else:
            found = document(body, bytes_max=bytes_max)
        return Reply(found, as_of, sent_s)

    async def _fetch(
        self, method: str, url: URL, headers: Mapping[str, str], bytes_max: int, path: str
    ) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.request(method, url, headers=headers, allow_redirects=False) as response,
            ):
                self.allowance.note(response)
                limit = bytes_max if response.status == 200 else ERROR_BYTES_MAX
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise Malformed(f"{path}: the answer is longer than {limit} bytes")
                return response.status, bytes(body)
        except TimeoutError:
            raise FeedFailed(f"{path}: no answer within {self._timeout_s} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise FeedFailed(f"{path}: {bare(error)}") from None

    @staticmethod
    def _failed(path: str, status: int, body: bytes) -> FeedFailed:
        code: int | None = None
        try:
            found = document(body)
        except Malformed:
            found = None
        if isinstance(found, dict) and type(found.get("code")) is int:
            code = found["code"]
        said = "" if code is None else f", code {code}"
        return FeedFailed(f"{path}: status {status}{said}", status=status, code=code)

    def signed_parameters(self) -> dict[str, str | int]:
        """What a signed request of the WebSocket API carries: over its parameters in the order of their names."""
        credentials = self._known_credentials()
        params: dict[str, str | int] = {
            "apiKey": credentials.api_key,
            "recvWindow": self._recv_window_ms,
            "timestamp": self.server_time.stamp_ms(self._clock.now()),
        }
        payload = "&".join(f"{name}={value}" for name, value in sorted(params.items()))
        return {**params, "signature": self._signature(credentials, payload).decode("ascii")}

    def _known_credentials(self) -> Credentials:
        if self._credentials is None:
            raise FeedFailed("no credentials are configured to sign with")
        return self._credentials

    def _sign(self, query: str, now: datetime) -> tuple[str, dict[str, str]]:
        credentials = self._known_credentials()
        stamp = f"recvWindow={self._recv_window_ms}&timestamp={self.server_time.stamp_ms(now)}"
        payload = f"{query}&{stamp}" if query else stamp
        signature = self._signature(credentials, payload)
        return f"{payload}&signature={quote_from_bytes(signature, safe='')}", {"X-MBX-APIKEY": credentials.api_key}

    @staticmethod
    def _signature(credentials: Credentials, payload: str) -> bytes:
        try:
            return SIGNERS[credentials.kind](credentials.secret, payload.encode("ascii"))
        except (KeyError, SigningError) as error:
            raise FeedFailed(f"could not sign: {type(error).__name__} for kind {credentials.kind!r}") from None


SIGNERS: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "hmac": hmac_sha256_hex,
    "ed25519": ed25519_base64,
    "rsa": rsa_sha256_base64,
}

"""One question, one request: what every client here does, and what it raises."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from proxy.client.errors import NotFound, Overtaken, Refused, Unavailable

NOT_FOUND, CONFLICTS, TOO_MANY, FAILURE = 404, frozenset({409, 412}), 429, 500


class Asking:
    """Talks to the admin listener of one proxy; entered before it is used."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, timeout_s: float, session: aiohttp.ClientSession | None
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = dict(headers)
        self._timeout_s = timeout_s
        self._given = session
        self._session = session

    async def __aenter__(self) -> Self:
        """Open the session, unless one was given."""
        if self._session is None:
            # No proxy of the environment: what authenticates goes to this address only.
            self._session = aiohttp.ClientSession(trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the session, unless it was given."""
        if self._given is None and self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError(f"enter the client first: async with {type(self).__name__}(...) as client")
        return self._session

    def _at(self, path: str) -> URL:
        return URL(self._url + path, encoded=True)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, if_match: int | None = None,
        overtaken: Collection[int] = CONFLICTS,
    ) -> Any:  # noqa: ANN401 - any JSON value
        headers = self._headers if if_match is None else self._headers | {"If-Match": f'"{if_match}"'}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with self._open.request(
                method, self._at(path), json=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                raw = await response.read()
                if response.status >= 300:
                    raise_for(response.status, raw, overtaken)
                return orjson.loads(raw)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"no usable answer from {self._url}: {type(error).__name__}: {error}") from error


def bearer(token: str) -> dict[str, str]:
    """The header that a token is sent in."""
    return {"Authorization": f"Bearer {token}"}


def asked(path: str, **stated: str) -> str:
    """A path with what was stated of its parameters."""
    return f"{path}?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in stated.items() if value)


def raise_for(status: int, raw: bytes, overtaken: Collection[int] = CONFLICTS) -> None:
    """Raise what a status and its problem document mean."""
    try:
        problem = orjson.loads(raw)
        sentence = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem, sentence = {}, raw[:200].decode("utf-8", "replace")
    if status == NOT_FOUND:
        raise NotFound(sentence, status)
    if status in overtaken:
        raise Overtaken(sentence, status)
    if status == TOO_MANY or status >= FAILURE:
        raise Unavailable(sentence, status)
    raise Refused(sentence, status, tuple(problem.get("problems", ())))

"""Talks to the admin API of a running proxy, for commands."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from proxy.cli.checking import read_sections
from proxy.cli.output import CommandFailed, Exit
from proxy.config import Settings

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024


class AdminUnreachable(CommandFailed):
    """Nothing usable answered at the admin address."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, Exit.UNREACHABLE)


class AdminRefused(CommandFailed):
    """The admin API answered, and not with yes."""

    def __init__(self, status: int, answer: Any) -> None:  # noqa: ANN401 - any JSON value
        super().__init__(f"the admin API answered {status}: {_sentence(answer)}", Exit.REFUSED)
        self.status = status
        self.answer = answer


@dataclass(frozen=True, slots=True)
class AdminClient:
    """One running proxy's admin API."""

    url: str
    token_file: Path | None
    data_dir: Path | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None  # certificate and key, where the listener asks for one

    @classmethod
    def named(cls, config: Path | None, admin_url: str, token_file: Path | None) -> AdminClient:
        """The client for the proxy that options name, else for that of the settings file."""
        if admin_url:
            return cls(admin_url.rstrip("/"), token_file, token_file.parent if token_file else None)
        found = cls.of(read_sections(config, "admin", "data_dir"))
        return found if token_file is None else replace(found, token_file=token_file)

    @classmethod
    def of(cls, settings: Settings) -> AdminClient:
        """The client for the proxy that runs with these settings."""
        bind = settings.admin.bind
        # A wildcard address is where it listens, not where it can be reached.
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bind.host)  # noqa: S104 - compared, not bound
        address = f"{host}:{bind.port}" if host else str(bind)
        tls = settings.admin.tls
        scheme = "https" if tls else "http"
        return cls(
            f"{scheme}://{address}",
            settings.admin_token_path,
            settings.data_dir,
            tls.cert if tls else None,
            tls.client_cert if tls else None,
        )

    def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON value
        """What the API answers to a question."""
        return self._call("GET", path, None)[1]

    def post(self, path: str, body: dict[str, Any], *, if_match: int | None = None) -> Any:  # noqa: ANN401 - any JSON value
        """What the API answers to an act, on the revision `if_match` where one is needed."""
        headers = None if if_match is None else {"If-Match": f'"{if_match}"'}
        return self._call("POST", path, body, headers=headers)[1]

    def patch(self, path: str, body: dict[str, Any], *, if_match: int) -> Any:  # noqa: ANN401 - any JSON value
        """What the API answers to changes of the revision `if_match`."""
        return self._call("PATCH", path, body, headers={"If-Match": f'"{if_match}"'})[1]

    def put(self, path: str, body: dict[str, Any], *, if_match: int) -> Any:  # noqa: ANN401 - any JSON value
        """What the API answers to a replacement of the revision `if_match`."""
        return self._call("PUT", path, body, headers={"If-Match": f'"{if_match}"'})[1]

    def delete(self, path: str) -> Any:  # noqa: ANN401 - any JSON value
        """What the API answers to taking something away."""
        return self._call("DELETE", path, None)[1]

    def probe(self, path: str) -> tuple[int, Any]:
        """Status and answer of a health question, which needs no token and may say no."""
        try:
            return self._call("GET", path, None, with_token=False)
        except AdminRefused as refused:
            return refused.status, refused.answer

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        with_token: bool = True,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", **(headers or {})}
        if with_token:
            headers["Authorization"] = f"Bearer {self._token()}"
        request = urllib.request.Request(  # noqa: S310 - the scheme comes from our own settings
            f"{self.url}{path}",
            data=None if body is None else orjson.dumps(body),
            headers=headers,
            method=method,
        )
        try:
            with self._opener().open(request, timeout=TIMEOUT_S) as answer:
                return answer.status, _read(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                raise AdminRefused(error.code, _read(error.read(ANSWER_BYTES_MAX))) from None
        except (urllib.error.URLError, OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise AdminUnreachable(f"no answer from the admin API at {self.url}: {why}") from None

    def _opener(self) -> urllib.request.OpenerDirector:
        # An empty ProxyHandler keeps HTTP_PROXY out of it: the token goes to this address only.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.url.startswith("https:"):
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
            if self.client_cert is not None:
                context.load_cert_chain(self.client_cert)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        return urllib.request.build_opener(*handlers)

    def _token(self) -> str:
        if self.token_file is None:
            raise CommandFailed("no token file: use --token-file or --config", Exit.USAGE)
        try:
            return self.token_file.read_text("utf-8").strip()
        except OSError as error:
            sentence = f"{self.token_file}: {error.strerror}; expected the admin token, which `run` creates"
            raise AdminUnreachable(sentence) from None


def _read(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError:
        return {"message": raw[:200].decode("utf-8", "replace")}


def _sentence(answer: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(answer, dict):
        for key in ("detail", "message", "sentence", "title", "error", "reason"):
            if isinstance(answer.get(key), str):
                return str(answer[key])
    return "no explanation" if answer is None else str(answer)[:200]

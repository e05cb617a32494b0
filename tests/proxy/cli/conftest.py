"""What the command tests share: a folder made by `init`, and a small admin API on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proxy.cli.main import run
from tests.canary import marked


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder as `riskgate init` leaves it, with the venue's key in the environment."""
    monkeypatch.setenv("BINANCE_KEY", marked("venue-key"))
    monkeypatch.setenv("BINANCE_SECRET", marked("venue-secret"))
    assert run(["init", str(tmp_path / "gate")]) == 0
    for name in ("admin_token", "bot_grid1_key", "bot_grid1_secret"):
        file = tmp_path / "gate" / "data" / name
        file.write_text(marked(file.read_text().strip()) + "\n")
    return tmp_path / "gate"


class FakeAdmin:
    """An admin API that keeps one stop and remembers what it was asked."""

    def __init__(self) -> None:
        self.stop = {"level": "clear", "scope": "global", "epoch": 4, "actor": "", "reason": "", "since": None}
        self.asked: list[tuple[str, str, dict[str, object] | None, str | None]] = []
        self.refuse_with: int | None = None
        self.healthy = True
        self.halts_by_file: Path | None = None  # the file this one obeys, as a real proxy does
        self.held: dict[str, object] | None = None  # a global stop beside the one that is kept
        self.policy: dict[str, object] = {"active_mode": "NORMAL", "accounts": {}}
        self.revision = 3
        self.asked_match: str | None = None
        self.audited = True
        self.url = ""
        self.more: dict[str, object] = {}  # what it answers under further paths

    def answer(self, method: str, path: str, body: dict[str, object] | None) -> tuple[int, object]:
        """Act as the real one does, as far as the commands can tell."""
        if path in ("/healthz", "/readyz"):
            if self.halts_by_file is not None and self.halts_by_file.exists():
                self.stop["level"] = "halt"
            parts = {
                "emergency_stop": {"state": self.stop["level"]},
                "audit": {"ready": self.healthy},
                "feeds": {"account.main.futures": {"ready": self.healthy, "age_s": 31.0, "error": "-2015 no such key"}},
            }
            return (200 if self.healthy else 503), {"ready": self.healthy, "parts": parts}
        if self.refuse_with:
            return self.refuse_with, {"detail": "not you"}
        if path in self.more:
            return 200, self.more[path]
        if path == "/admin/v1/status":
            return 200, {"version": "0", "accounts": ["main"]}
        if path == "/admin/v1/ess/engage":
            assert body is not None
            if body["scope"] == "account:nobody":
                return 422, {"detail": "there is no account 'nobody'"}
            before = self.stop["level"]
            if before != "halt":
                self.stop |= {name: body[name] for name in ("level", "scope", "reason", "actor")} | {"epoch": 5}
            return 200, {**self.stop, "level_before": before, "audited": self.audited, "in_flight_unanswered": 2}
        if path == "/api/v2/policy":
            return self.answer_policy(method, body)
        if path == "/admin/v1/ess/release":
            assert body is not None
            if body["expected_epoch"] != self.stop["epoch"]:
                return 409, {"detail": "look at it again"}
            self.stop |= {"level": "clear", "epoch": 6}
        if path == "/admin/v1/ess" and self.held is not None:
            return 200, {"stops": [self.held, dict(self.stop)]}
        return 200, dict(self.stop)

    def answer_policy(self, method: str, body: dict[str, object] | None) -> tuple[int, object]:
        """The document, replaced only against the revision in If-Match."""
        if method == "PUT":
            if self.asked_match != f'"{self.revision}"':
                return 412, {"detail": "found another revision"}
            assert body is not None
            self.policy, self.revision = body["policy"], self.revision + 1  # type: ignore[assignment]
        told = {"revision": self.revision, "updated_at": "2026-01-01T00:00:00Z", "updated_by": "ann", "reason": "why"}
        return 200, {**told, "policy": self.policy, "warnings": []}


@pytest.fixture
def admin():
    """A running FakeAdmin."""
    fake = FakeAdmin()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            fake.asked_match = self.headers.get("If-Match")
            fake.asked.append((self.command, self.path, body, self.headers.get("Authorization")))
            status, answer = fake.answer(self.command, self.path, body)
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, *ignored: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield fake
        server.shutdown()
        thread.join()

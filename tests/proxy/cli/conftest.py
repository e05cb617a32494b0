"""What the command tests share: a folder made by `init`, and a small admin API on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proxy.cli.main import run


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder as `riskgate init` leaves it, with the venue's key in the environment."""
    monkeypatch.setenv("BINANCE_KEY", "venue-key")
    monkeypatch.setenv("BINANCE_SECRET", "venue-secret")
    assert run(["init", str(tmp_path / "gate")]) == 0
    return tmp_path / "gate"


class FakeAdmin:
    """An admin API that keeps one stop and remembers what it was asked."""

    def __init__(self) -> None:
        self.stop = {"level": "clear", "scope": "global", "epoch": 4, "actor": "", "reason": "", "since": None}
        self.asked: list[tuple[str, str, dict[str, object] | None, str | None]] = []
        self.refuse_with: int | None = None
        self.healthy = True
        self.url = ""

    def answer(self, method: str, path: str, body: dict[str, object] | None) -> tuple[int, object]:
        """Act as the real one does, as far as the commands can tell."""
        if path in ("/healthz", "/readyz"):
            return (200, {}) if self.healthy else (503, {})
        if self.refuse_with:
            return self.refuse_with, {"detail": "not you"}
        if path == "/admin/v1/status":
            return 200, {"version": "0", "accounts": ["main"]}
        if path == "/admin/v1/ess/engage":
            assert body is not None
            self.stop |= {name: body[name] for name in ("level", "scope", "reason", "actor")} | {"epoch": 5}
        if path == "/admin/v1/ess/release":
            assert body is not None
            if body["expected_epoch"] != self.stop["epoch"]:
                return 409, {"detail": "look at it again"}
            self.stop |= {"level": "clear", "epoch": 6}
        return 200, dict(self.stop)


@pytest.fixture
def admin():
    """A running FakeAdmin."""
    fake = FakeAdmin()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            fake.asked.append((self.command, self.path, body, self.headers.get("Authorization")))
            status, answer = fake.answer(self.command, self.path, body)
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _serve

        def log_message(self, *ignored: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield fake
        server.shutdown()
        thread.join()

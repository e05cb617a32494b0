"""The file of permits: what is written is read again, and anything else is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from proxy.permits import Kind, Permit, State, file

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
PERMIT = Permit(
    id="ov-1", kind=Kind.OVERRIDE, fingerprint="f" * 64, account="main", exchange="binance", bot="one",
    strategy="grid", decision_id="d-1", reason="order_notional_exceeds_limit", sentence="Too large.",
    orders=({"instruction": "order", "side": "BUY", "quantity": "1", "symbol": "BTCUSDT"},), symbols=("BTCUSDT",),
    notional=Decimal("59000.10"), prices={"BTCUSDT": Decimal("59000.1")}, reducing=False, asked_at=NOW,
    until=NOW + timedelta(seconds=300), asked_by="ann", why="hedge", granted_by=("ann", "bob"), granted_at=NOW,
    state=State.GRANTED,
)  # fmt: skip


def test_what_is_written_is_read_again(tmp_path):
    """Every field that counts, with the file readable by its owner alone."""
    path = tmp_path / "permits.json"
    used = replace(PERMIT, id="ov-2", state=State.USED, used_by="d-2", ended_at=NOW, notional=None)
    file.write(path, file.content([PERMIT, used]))

    assert file.read(path) == [PERMIT, used]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["permits.json"]


def test_no_file_is_no_permit(tmp_path):
    """Before the first grant."""
    assert file.read(tmp_path / "permits.json") == []


@pytest.mark.parametrize(
    "changes",
    [{"kind": "wish"}, {"state": "granted again"}, {"until": None}, {"until": "2026-03-04T12:00:00"},
     {"granted_at": "soon"}, {"account": 7}, {"reducing": "yes"}, {"prices": {"BTCUSDT": "much"}},
     {"fingerprint": None}, {"orders": None}],
)  # fmt: skip
def test_a_row_that_is_not_right_makes_the_whole_file_unreadable(tmp_path, changes):
    """Nothing is guessed: what was granted before is void then."""
    path = tmp_path / "permits.json"
    document = orjson.loads(file.content([PERMIT]))
    document["permits"][0] |= changes
    path.write_bytes(orjson.dumps(document))

    with pytest.raises(file.Unreadable):
        file.read(path)

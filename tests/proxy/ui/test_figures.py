"""Figures as people read them: exact, in their unit, and never made up."""

from decimal import Decimal

import pytest

from proxy.ui import figures


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("1234567.50000000", "1,234,567.5"), (Decimal("0E-8"), "0"), (None, "–"), ("HALT", "HALT"), (0, "0"),
        ("0.00000001", "0.00000001"), ("1E-12", "1E-12"), (Decimal("Infinity"), "Infinity"),
    ],
)  # fmt: skip
def test_an_amount_keeps_its_digits(value, shown):
    """Without needless zeros, its thousands set apart; what is no number is shown as it is."""
    assert figures.amount(value) == shown


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [
        ("0.035", "loss_daily_max", "3.5 %"), ("5", "leverage_max", "5×"), ("0.0108", "leverage_max", "0.011×"),
        ("8", "open_positions_max", "8"), (None, "drawdown_max", "–"), ("600", "order_notional_max", "600"),
    ],
)  # fmt: skip
def test_a_limit_has_its_unit(value, limit, shown):
    """Shares in per cent, leverage as a multiple, the rest as amounts."""
    assert figures.limit_value(value, limit) == shown


@pytest.mark.parametrize(
    ("use", "shown"),
    [
        ({"limit": "leverage_max", "used": "2", "hard": "5"}, "3× left"),
        ({"limit": "leverage_max", "used": "5", "hard": "5"}, "reached"),
        ({"limit": "leverage_max", "used": "6", "hard": "5"}, "1× over"),
        ({"limit": "margin_free_min", "used": "0.5", "hard": "0.2"}, "30 % left"),
        ({"limit": "margin_free_min", "used": "0.1", "hard": "0.2"}, "10 % over"),
        ({"limit": "loss_daily_max", "used": "0.01", "hard": "0.035", "left": "2500"}, "2,500.00 left"),
        ({"limit": "loss_daily_max", "used": None, "hard": "0.035", "missing": "losses"}, "losses"),
    ],
)
def test_the_distance_to_a_limit_is_said(use, shown):
    """How much is left, also of a minimum; what is not known is not called zero."""
    assert figures.distance(use) == shown


@pytest.mark.parametrize(
    ("observed", "limit", "shown"),
    [("118", "600", "80.33 % left"), ("1080", "1000", "8 % over"), ("demo", "demo", "–"), ("1", "0", "–")],
)
def test_a_margin_is_a_share_of_the_limit(observed, limit, shown):
    """Left or over; nothing where the two are no numbers."""
    assert figures.margin(["rule", 0, "within", observed, limit]) == shown


def test_a_bar_ends_at_its_frame():
    """Beyond the limit it is full, below nothing empty, unknown empty."""
    assert [figures.width(share) for share in ("0.5", "7", "-1", None)] == ["50.00", "100.00", "0.00", "0"]

"""The kinds of order that clients know, and what each needs beforehand."""

from __future__ import annotations

from tests.clients.parts import Client

# form -> (quantity, price), sized so that the exchange accepts it
FORMS = {
    "limit": ("0.005", "59000"),
    "market": ("0.002", "59000"),
    "market_by_cost": ("200", "59000"),
    "test": ("0.005", "59000"),
    "stop_loss": ("0.002", "57000"),
    "reduce_only": ("0.002", "59000"),
    "edit": ("0.003", "58000"),
    "oco": ("0.002", "57000"),
    "batch": ("0.002", "59000"),
    "leverage": ("3", "0"),
    "margin_mode": ("0", "0"),
}
# What a driver raises when its client, or this market of it, has no such form.
NOT_A_FORM = ("ValueError", "NotSupported")


def prepared(client: Client, form: str) -> dict[str, str]:
    """What to place; an edit gets an order to edit, and what reduces a position to reduce."""
    given = {"quantity": FORMS[form][0], "price": FORMS[form][1]}
    if form == "edit":
        placed = client.place("0.005")
        assert placed["outcome"] == "ok", placed
        given["client_id"] = placed["sent_id"]
    if form in ("reduce_only", "stop_loss") and client.subject.market == "futures":
        held = client.place("0.003", form="market")
        assert held["outcome"] == "ok", held
    return given

"""Write down what each client sends for each kind of order: `python -m tests.clients.record`.

Every client places every form it knows against the house; the request is kept as the client
wrote it, byte for byte, in tests/data/client_requests/CLIENT/FORM.http. The keys in them are the
tests' own. Run it after a client's version changes; the codec's tests read the files.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.clients.forms import FORMS, NOT_A_FORM, prepared
from tests.clients.parts import SUBJECTS, Client, Driver, Request, Running, Subject

FOLDER = Path(__file__).parents[1] / "data" / "client_requests"
ORDER_METHODS = ("POST", "PUT")


def record(client: Client, house: Running, form: str) -> tuple[bytes | None, str]:
    """The one request a form is made of, and how the client saw it end; None if the client has no such form."""
    house.reset()
    given = prepared(client, form)
    before = len(house.sent())
    answer = client.place(form=form, **given)
    if answer["outcome"] == "raised" and answer["exception"] in NOT_A_FORM:
        return None, answer["message"]
    writing = [raw for raw in house.sent()[before:] if Request.read(raw).method in ORDER_METHODS]
    if not writing:
        return None, f"nothing was sent: {answer.get('message')}"
    return writing[-1], f"{answer['outcome']} {answer.get('exception', '')} {answer.get('message', '')}".strip()


def main() -> int:
    """Record everything anew; what each form came to is printed."""
    for file in FOLDER.rglob("*.http"):
        file.unlink()
    with tempfile.TemporaryDirectory() as folder:
        house = Running(Path(folder))
        drivers: dict[str, Driver] = {}
        try:
            for subject in SUBJECTS:
                if subject.environment not in drivers:
                    drivers[subject.environment] = Driver(subject, house)
                _record_all(drivers[subject.environment].client(subject, "passthrough"), house, subject)
        finally:
            for driver in drivers.values():
                driver.close()
            house.close()
    return 0


def _record_all(client: Client, house: Running, subject: Subject) -> None:
    client.reads()
    for form in FORMS:
        raw, ended = record(client, house, form)
        print(f"{subject} {form}: {ended[:150] if raw else '- ' + ended[:100]}")  # noqa: T201 - its user reads it
        if raw:
            (FOLDER / str(subject)).mkdir(parents=True, exist_ok=True)
            (FOLDER / str(subject) / f"{form}.http").write_bytes(raw)


if __name__ == "__main__":
    sys.exit(main())

"""A thousand records of every kind, one of them flipped, deleted, moved, doubled or cut off: found every time."""

import random
import re
from pathlib import Path

import pytest

from proxy.audit import Anchor, admin_record, read, verify
from proxy.audit.chain import RETIRED, lines_of, segments_of
from tests.proxy.audit.test_audit import decided

ROOT = Path(__file__).parents[3]
RECORDS = 1000
STEP = 37  # of the short form; it has no divisor in common with the number of kinds, so it meets them all

KINDS = {
    "decision": lambda number: decided(decision_id=f"d-{number}"),
    "outcome": lambda number: {"decision_id": f"d-{number}", "outcome": "accepted", "status": 200, "order_ids": [7]},
    "refusal": lambda number: {"decision_id": f"d-{number}", "reason": "key_unknown", "sentence": "no such key"},
    "transfer": lambda number: {"decision_id": f"d-{number}", "endpoint": "POST /sapi/v1/asset/transfer"},
    "admin": lambda number: admin_record(actor="ann", act="ess.engage halt", result="done", reason=f"no. {number}"),
    "action": lambda number: {"job": f"j-{number}", "act": "flatten", "scope": "global", "state": "begun"},
    "action.cancel": lambda number: {"job": f"j-{number}", "order_id": str(number), "account": "desk"},
    "action.countdown": lambda number: {"account": "desk", "symbol": "BTCUSDT", "countdown_ms": number},
    "drill": lambda number: {"actor": "ann", "result": "flat", "flat_ms": number},
    "start": lambda number: {"version": "1.2.3", "ess_epoch": number, "recalled": []},
    "stop": lambda number: {"ess_epoch": number},
    "audit.probe": lambda number: {"room": " " * 64, "failures": number},
    "audit.recovered": lambda number: {"torn_bytes": number, "torn_sha256": "ab" * 32, "moved_to": "x.torn-1"},
    RETIRED: lambda number: {"upto": number, "upto_hash": "f" * 64, "segments": []},
}


def test_the_list_of_kinds_is_whole():
    """A new kind of record is added here, so that it is tampered with too."""
    written = {RETIRED}
    for file in (ROOT / "proxy").rglob("*.py"):
        if "simulator" in file.parts or file.name == "drill.py":
            continue
        written |= set(re.findall(r'"kind": "([a-z.]+)"', file.read_text()))
        written |= {word for line in file.read_text().splitlines() if '"kind": ' in line and " if reason" in line
                    for word in re.findall(r'"([a-z]+)"', line.partition(":")[2])}

    assert written - {"reason"} == set(KINDS)


@pytest.fixture
def chain(opened):
    """The folder of a closed audit, its lines, its segments' lines, and an anchor of its end."""
    audit = opened(segment_bytes=40_000)
    names = list(KINDS)
    for number in range(RECORDS):
        kind = names[number % len(names)]
        audit.append({"kind": kind} | KINDS[kind](number))
    anchor = Anchor(audit.head.sequence, audit.head.hash, "elsewhere")
    audit.close()
    lines = list(lines_of(audit.directory))
    assert len(lines) == RECORDS
    assert {one["kind"] for one in read(audit.directory)} == set(KINDS)
    assert verify(audit.directory, anchors=[anchor]) == (True, RECORDS, anchor.hash, None, None, 1, 1)
    return Chain(audit.directory, lines, anchor)


class Chain:
    """A record to tamper with: one segment is rewritten, looked at, and put back."""

    def __init__(self, directory, lines, anchor):
        self.directory = directory
        self.anchor = anchor
        self.chance = random.Random(1000)
        self.at = {}
        first = 0
        for _, path in segments_of(directory):
            count = path.read_bytes().count(b"\n")
            self.at |= dict.fromkeys(range(first, first + count), (path, first))
            first += count
        self.lines = lines

    def found(self, number, change, *, anchors=()):
        """What verification says after `change` (of a segment's lines, and a place in them) near one record."""
        path, first = self.at[number]
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        changed = b"".join(change(lines, number - first))
        assert changed != whole
        path.write_bytes(changed)
        try:
            return verify(self.directory, anchors=anchors)
        finally:
            path.write_bytes(whole)

    def flipped(self, lines, place):
        """One bit of one byte anywhere in the record."""
        line = bytearray(lines[place])
        line[self.chance.randrange(len(line))] ^= 1 << self.chance.randrange(8)
        return [*lines[:place], bytes(line), *lines[place + 1 :]]

    def altered(self, lines, place):
        """One digit of it changed into another, still valid JSON."""
        line = bytearray(lines[place])
        digits = [index for index, byte in enumerate(line) if chr(byte).isdigit()]
        index = self.chance.choice(digits)
        line[index] = ord("0") + (line[index] - ord("0") + 1) % 10
        return [*lines[:place], bytes(line), *lines[place + 1 :]]

    @staticmethod
    def deleted(lines, place):
        """Taken out."""
        return [*lines[:place], *lines[place + 1 :]]

    @staticmethod
    def doubled(lines, place):
        """There twice."""
        return [*lines[: place + 1], *lines[place:]]

    def moved(self, lines, place):
        """In another place of its segment."""
        others = [index for index in range(len(lines)) if index != place]
        rest = [*lines[:place], *lines[place + 1 :]]
        rest.insert(self.chance.choice(others), lines[place])
        return rest

    def cut(self, number):
        """The chain cut off before a record, later segments and the chain's own anchor gone."""
        kept = {}
        path, first = self.at[number]
        for _, segment in segments_of(self.directory):
            if segment >= path:
                kept[segment] = segment.read_bytes()
                segment.unlink()
        own = self.directory / "anchor.json"
        kept[own] = own.read_bytes()
        own.unlink()
        if number > first:
            path.write_bytes(b"".join(kept[path].splitlines(keepends=True)[: number - first]))
        try:
            return verify(self.directory), verify(self.directory, anchors=[self.anchor])
        finally:
            for file, content in kept.items():
                file.write_bytes(content)


def every(chain, numbers):
    """Tamper with each of these records in every way; how often, and what was not found."""
    tried, missed = 0, []
    for number in numbers:
        for change in (chain.flipped, chain.altered, chain.deleted, chain.doubled, chain.moved):
            found = chain.found(number, change)
            tried += 1
            if found.ok or not number - 200 <= found.at_sequence <= number + 2:
                missed.append((change.__name__, number, found))
        by_itself, by_anchor = chain.cut(number)
        tried += 1
        # What is left is a whole chain: only what was told elsewhere knows that there was more.
        if not by_itself.ok or by_anchor.ok or by_anchor.at_sequence != number + 1:
            missed.append(("cut", number, by_anchor))
    return tried, missed


@pytest.mark.timeout(300)
def test_every_tampering_with_one_record_of_a_thousand_is_found(chain):
    """The short form: every thirty-seventh record, every kind of record, six ways."""
    numbers = [*range(0, RECORDS, STEP), RECORDS - 1]
    tried, missed = every(chain, numbers)

    assert missed == []
    assert tried == 6 * len(numbers)
    assert {number % len(KINDS) for number in numbers} == set(range(len(KINDS)))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_tampering_with_any_of_a_thousand_records_is_found(chain):
    """All of them: 6,000 tamperings, none missed."""
    assert every(chain, range(RECORDS)) == (6 * RECORDS, [])

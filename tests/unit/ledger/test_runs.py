"""Many entries judged at once: never more than what `form.read` takes, and all that is everyday."""

from __future__ import annotations

import os
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from authz.ledger import form, merkle, runs
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
PREVIOUS = merkle.leaf_hash(b"before").hex()


def members(seq: int) -> dict[str, Any]:
    """Entries of the everyday kinds, in turn."""
    decision = ledgers.decision(seq) | {
        "timestamp": "2026-01-01T23:59:59.123456Z",
        "evidence": ["agents/a", "tools/b"],
        "obligations": {"capture": "hash", "retention_days": 2555},
        "context": {"claimed": {"model": "m"}, "claimed_ids": ["step_id"]},
        "evaluation_us": 1200,
        "_sd": ["digest"],
    }
    outcome = {"kind": "outcome", "forwarded": True, "status": 200, "flags": ["UF"], "decision_seq": 5}
    return [decision, outcome, {"kind": "heartbeat", "size": seq}, decision | {"rationale": "sha256:00"}][
        seq % 4
    ]


def lines(count: int, *, first: int = 1, previous: str = PREVIOUS, log: str = LOG) -> list[bytes]:
    """Entries in a row, without newlines."""
    made: list[bytes] = []
    for seq in range(first, first + count):
        made.append(ledgers.line(members(seq), log, seq, previous, signer=None))
        previous = merkle.leaf_hash(made[-1]).hex()
    return made


def read(entries: list[bytes], *, first: int = 1, previous: str | None = PREVIOUS, log: str = LOG) -> Any:
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    return runs.read(b"".join(entry + b"\n" for entry in entries), log, first, previous, leaves)


@pytest.mark.parametrize(
    "lengths", [[0], [5], [0, 0, 1], [2000] * 70, [form.MAX_ENTRY, 3], [0, form.MAX_ENTRY]]
)
def test_leaf_hashes_of_many_lines_are_those_of_each(lengths: list[int]) -> None:
    entries = [os.urandom(length).replace(b"\n", b"\0") for length in lengths]
    made = runs.leaves_of(b"".join(entry + b"\n" for entry in entries))
    assert made == [merkle.leaf_hash(entry) for entry in entries]


def test_a_line_that_is_longer_than_an_entry_is_left_to_the_judge() -> None:
    assert runs.leaves_of(b"one\n" + b"x" * (form.MAX_ENTRY + 1) + b"\ntwo\n") is None


def of_form(entries: list[bytes]) -> bool:
    """What the judge says of them."""
    previous = PREVIOUS
    for seq, entry in enumerate(entries, 1):
        try:
            form.read(entry, LOG, seq, previous)
        except ValueError:
            return False
        previous = merkle.leaf_hash(entry).hex()
    return True


def test_everyday_entries_are_taken_at_once_with_what_they_say() -> None:
    entries = lines(64)
    assert of_form(entries)
    found = read(entries)
    assert found is not None
    for entry, line in zip(found, entries, strict=True):
        said = {
            name: value for name in entry.__struct_fields__ if (value := getattr(entry, name)) is not UNSET
        }
        assert said == orjson.loads(line)


def test_the_hash_before_a_segment_need_not_be_known() -> None:
    assert read(lines(3), previous=None) is not None
    assert read(lines(3, previous="X" * 64), previous=None) is None


def test_it_knows_every_member_that_the_schema_demands() -> None:
    for name in form.DECISION:
        entry = ledgers.decision(1)
        del entry[name]
        line = ledgers.line(entry, LOG, 1, PREVIOUS, signer=None)
        assert not of_form([line])
        assert read([line]) is None


@pytest.mark.parametrize("kind", sorted(form.kinds(LOG) - runs.KINDS))
def test_kinds_with_rules_of_their_own_are_left_to_the_judge(kind: str) -> None:
    assert read([ledgers.line({"kind": kind}, LOG, 1, PREVIOUS, signer=None)]) is None


def test_a_decision_in_the_control_log_is_left_to_the_judge() -> None:
    log = "aegis.test/control/20260101T000000Z-0000000000000000"
    assert read(lines(2, log=log), log=log) is None


def test_the_first_entry_of_a_log_is_left_to_the_judge() -> None:
    assert read(lines(1, first=0), first=0) is None


UNUSUAL = {
    "a newline too many": lambda line: line + b"\n",
    "an escape": lambda line: line.replace(b"billing-agent", b"billing\\u002dagent"),
    "not ASCII": lambda line: line.replace(b"billing-agent", "billing–agent".encode()),
    "white space": lambda line: line.replace(b'"kind":', b'"kind": '),
    "white space at the end": lambda line: line + b" ",
    "another order": lambda line: line.replace(b'"kind":"decision",', b"").replace(
        b"}", b',"kind":"decision"}'
    ),
    "a member twice": lambda line: line.replace(b'"mode"', b'"mode"').replace(b'{"', b'{"_sd":["x"],"', 1),
    "a member nobody knows": lambda line: line[:-1] + b',"zzz":"x"}',
    "an order within": lambda line: line.replace(
        b'"capture":"hash","retention_days":2555', b'"retention_days":2555,"capture":"hash"'
    ),
    "a float": lambda line: line.replace(b"2555", b"2555.0"),
    "an exponent": lambda line: line.replace(b"2555", b"2e3"),
    "a null": lambda line: line.replace(b"2555", b"null"),
    "a leading zero": lambda line: line.replace(b"2555", b"02555"),
    "a minus zero": lambda line: line.replace(b"2555", b"-0"),
    "beyond 2^53": lambda line: line.replace(b"2555", b"9007199254740992"),
    "a bool for a number": lambda line: line.replace(b'"evaluation_us":1200', b'"evaluation_us":true'),
    "another log": lambda line: line.replace(b"worker-0", b"worker-1"),
    "another place": lambda line: line.replace(b'"seq":4', b'"seq":5'),
    "a place in words": lambda line: line.replace(b'"seq":4', b'"seq":"4"'),
    "another link": lambda line: line.replace(PREVIOUS.encode(), merkle.EMPTY_HASH_HEX.encode()),
    "a link in capitals": lambda line: line.replace(PREVIOUS.encode(), PREVIOUS.upper().encode()),
    "no such day": lambda line: line.replace(b"2026-01-01", b"2026-02-29"),
    "no such hour": lambda line: line.replace(b"T23:", b"T24:"),
    "a leap second": lambda line: line.replace(b":59.1", b":60.1"),
    "five decimals": lambda line: line.replace(b".123456Z", b".12345Z"),
    "another zone": lambda line: line.replace(b".123456Z", b".123456+00:00"),
    "no kind": lambda line: line.replace(b'"kind":"decision",', b""),
    "no signer": lambda line: line.replace(b'"signer_id":"aegis.test/worker-0",', b""),
    "no attestation": lambda line: line.replace(b'"attestation_signature":"unsigned",', b""),
}


@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_what_is_not_everyday_is_left_to_the_judge(change: Any) -> None:
    line = ledgers.line(members(4), LOG, 4, PREVIOUS, signer=None)
    assert read([line], first=4) is not None
    changed = change(line)
    assert changed != line
    assert read([changed], first=4) is None


def test_entries_of_which_one_is_not_linked_are_left_to_the_judge() -> None:
    entries = lines(8)
    entries[3], entries[4] = entries[4], entries[3]
    assert read(entries) is None
    assert read(lines(8)[:5] + lines(8)[6:]) is None


def test_links_of_another_length_that_are_right_together_are_left_to_the_judge() -> None:
    """Compared in one go, they must not borrow digits of each other."""
    entries = lines(3)
    links = [merkle.leaf_hash(entry).hex() for entry in entries[:2]]
    entries[1] = entries[1].replace(PREVIOUS.encode(), b"")
    second = entries[1].replace(links[0].encode(), links[0].encode() + links[1][:1].encode())
    third = entries[2].replace(links[1].encode(), links[1][1:].encode())
    assert read([entries[0], second, third]) is None


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_it_never_takes_what_the_judge_does_not(seed: int, changes: int) -> None:
    """Bytes exchanged, dropped, doubled or put in anywhere; with links made right again, or not."""
    chance = random.Random(seed)
    entries, previous = lines(4), PREVIOUS
    for place, entry in enumerate(entries):
        entries[place] = entry.replace(orjson.loads(entry)["previous_entry_hash"].encode(), previous.encode())
        for _ in range(changes if chance.random() < 0.5 else 0):
            entries[place] = _bent(entries[place], chance)
        previous = merkle.leaf_hash(entries[place]).hex()
    if any(b"\n" in entry for entry in entries):
        return
    if read(entries) is not None:
        assert of_form(entries)


def _bent(entry: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(entry))
    other = chance.choice(
        [b'"', b",", b":", b"{", b"}", b"[", b"]", b"0", b"1", b"-", b".", b"e", b" ", b"a", b"\\"]
    )
    return chance.choice(
        [
            entry[:at] + other + entry[at:],
            entry[:at] + other + entry[at + 1 :],
            entry[:at] + entry[at + 1 :],
            entry[:at] + entry[at : at + 20] + entry[at:],
            entry.replace(b'"kind":"decision"', b'"kind":"outcome"'),
        ]
    )

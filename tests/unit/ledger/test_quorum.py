"""Policies of witnesses: who must agree, read as c2sp.org/tlog-policy says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.ledger import keys, notes, quorum
from authz.ledger.cosignatures import Witness
from tests.cosigning import cosigned

SEEDS = {name: bytes([number]) * 32 for number, name in enumerate(("x1", "x2", "x3", "y1", "y2"), 1)}
VKEYS = {name: Witness(f"w.test/{name}", keys.public_key(seed)).vkey for name, seed in SEEDS.items()}
WITNESSES = "".join(f"witness {name} {vkey}\n" for name, vkey in VKEYS.items())
# The example of the specification, with two Ys.
EXAMPLE = f"""# a comment

log {keys.vkey("a/b/c", b"1" * 32)} https://log.test/
  {WITNESSES}
group X-witnesses 2\tx1 x2 x3
group Y-witnesses any y1 y2
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


@pytest.mark.parametrize(
    ("times", "met"),
    [
        ({}, None),
        ({"x1": 1, "x2": 2, "x3": 3}, None),
        ({"y1": 1, "y2": 2, "x3": 3}, None),
        ({"x1": 1, "x2": 5, "y2": 3}, 5),
        ({"x1": 9, "x2": 5, "x3": 2, "y2": 7}, 7),
        ({"x1": 4, "x2": 4, "y1": 4}, 4),
        ({"x1": 4, "x2": 4, "stranger": 4}, None),
    ],
)
def test_the_quorum_is_met_when_the_last_needed_one_agreed(times: dict[str, int], met: int | None) -> None:
    assert quorum.parse(EXAMPLE.encode()).met_at(times) == met


def test_who_cosigned_is_known_by_key() -> None:
    note = notes.sign("a/b/c", 5, b"\x07" * 32, b"\x11" * 32)
    note = cosigned(note, 7, SEEDS["x2"], "w.test/x2")
    note = cosigned(note, 8, SEEDS["y1"], "w.test/y2")  # the name of one with the key of another
    policy = quorum.parse(EXAMPLE.encode())
    assert policy.times(notes.parse(note)) == {"x2": 7}


def test_what_a_verifier_needs_of_it_reads_back() -> None:
    with_urls = EXAMPLE.replace(VKEYS["y1"], f"{VKEYS['y1']} https://y1.test/")
    policy = quorum.parse(with_urls.encode())
    assert policy.urls == {"y1": "https://y1.test/"}
    again = quorum.parse("\n".join(policy.lines()).encode())
    assert (again.witnesses, again.groups, again.quorum) == (policy.witnesses, policy.groups, policy.quorum)
    assert again.urls == {}


ONE = f"witness a {VKEYS['x1']}\n"
TWO = f"{ONE}witness b {VKEYS['x2']}\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no quorum line"),
        (ONE, "no quorum line"),
        (ONE + "quorum none", "line 2: quorum none"),
        (ONE + "quorum b", "line 2: b is not defined above"),
        (ONE + "quorum a\nquorum a", "line 3: a second quorum line"),
        (ONE + ONE, "line 2: a has a meaning already"),
        (f"witness none {VKEYS['x1']}", "line 1: none has a meaning already"),
        (ONE + f"witness b {VKEYS['x1']}", "line 2: the key of another witness again"),
        ("witness a", "line 1: not log, witness, group or quorum"),
        ("witness a nonsense", "line 1: not a vkey"),
        (f"witness a {keys.vkey('a', b'1' * 32)}", "line 1: not a key for cosignature"),
        (TWO + "group g 0 a b", "line 3: 0: not all, any or a number up to 2"),
        (TWO + "group g 3 a b", "line 3: 3: not all, any or a number up to 2"),
        (TWO + "group g 01 a b", "line 3: 01: not all"),
        (TWO + "group g some a b", "line 3: some: not all"),
        (TWO + "group g any", "line 3: not log, witness"),
        (TWO + "group g any g", "line 3: g is not defined above"),
        (TWO + "group a any b", "line 3: a has a meaning already"),
        (TWO + "group g any a\ngroup h any a", "line 4: a is in a group already"),
        ("watcher a b", "line 1: not log"),
        (ONE + "quorum a\r\n", "a control character"),
        ("# \x00", "a control character"),
        ("#" * (quorum.MAX_POLICY + 1), "longer than"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}"):
        quorum.parse(text.encode())


def test_it_has_a_bound() -> None:
    made = (
        f"witness w{number} {Witness(f'w{number}', keys.public_key(number.to_bytes(32, 'big'))).vkey}"
        for number in range(quorum.MAX_MEMBERS + 1)
    )
    with pytest.raises(ValueError, match="line 65: more than 64"):
        quorum.parse("\n".join(made).encode())


@given(st.binary(max_size=300))
def test_bytes_are_a_policy_or_refused(data: bytes) -> None:
    try:
        quorum.parse(data)
    except ValueError:
        return


@given(st.dictionaries(st.sampled_from([*SEEDS]), st.integers(1, 9)), st.sampled_from([*SEEDS]))
def test_one_more_cosigner_never_makes_it_later(times: dict[str, int], more: str) -> None:
    policy = quorum.parse(EXAMPLE.encode())
    before, after = policy.met_at(times), policy.met_at({more: 1} | times)
    assert before is None or (after is not None and after <= before)

"""The next entry's place and link, also after something went wrong."""

from __future__ import annotations

import json

import pytest

from authz.ledger import form, merkle
from authz.ledger.chain import Chain
from authz.ledger.signer import Signer
from tests.workers import decision

LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"


@pytest.fixture
def chain() -> Chain:
    return Chain(
        LOG,
        0,
        merkle.EMPTY_HASH_HEX,
        signer=Signer(bytes(32)),
        signer_id="aegis.test/worker-0",
        clock_ns=lambda: 1_767_225_600_000_000_000,
    )


def test_every_entry_names_its_place_and_the_one_before(chain: Chain) -> None:
    previous = merkle.EMPTY_HASH_HEX
    for seq, kind in enumerate(("open", "decision", "heartbeat", "close")):
        entry, written = chain.seal(kind, decision(seq) if kind == "decision" else {})
        assert form.read(entry, LOG, seq, previous)["kind"] == kind
        previous = merkle.leaf_hash(entry).hex()
        assert (written.log, written.seq, written.entry_hash) == (LOG, seq, previous)
        assert written.timestamp == json.loads(entry)["timestamp"] == "2026-01-01T00:00:00.000000Z"


def test_what_fits_no_entry_leaves_the_chain_where_it_was(chain: Chain) -> None:
    chain.seal("open", {})
    before = chain.seq, chain.previous
    with pytest.raises(ValueError):
        chain.seal("decision", decision(1, tool=2**60))
    assert (chain.seq, chain.previous) == before


def test_members_cannot_choose_their_place(chain: Chain) -> None:
    entry, _ = chain.seal("open", {"seq": 9, "log": "x", "kind": "close", "previous_entry_hash": "0" * 64})
    assert form.read(entry, LOG, 0, merkle.EMPTY_HASH_HEX)["kind"] == "open"


def test_after_a_rewind_the_place_is_used_again(chain: Chain) -> None:
    _, kept = chain.seal("open", {})
    chain.seal("decision", decision(1))
    chain.rewind(1, kept.entry_hash)
    entry, written = chain.seal("decision", decision(2))
    assert written.seq == 1
    assert form.read(entry, LOG, 1, kept.entry_hash)["decision_id"] == decision(2)["decision_id"]

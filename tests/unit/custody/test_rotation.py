"""Making and rotating a key: what is in the files, in which order, and what is told before."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from authz.custody import rotation
from authz.custody.rotation import Change
from authz.errors import EvidenceUnavailable, KeyUnusable, LedgerLocked
from authz.ledger import control, keys
from authz.ledger.keyring import Keyring, Revoked
from authz.ledger.outbox import Outbox

AT = "2026-01-01T00:00:00.000000Z"


class Told:
    """Keeps events, each of which has to have its form."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, kind: str, members: Mapping[str, Any]) -> None:
        control.check(kind, members)
        self.events.append({"kind": kind, **members})


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys" / "record.key")


def change(tell: rotation.Tell, why: str = "") -> Change:
    return Change("ana", AT, why, tell)


def test_a_key_is_made_once_and_listed(ring: Keyring) -> None:
    told = Told()
    assert rotation.generate(ring, "record", change(told))
    assert not rotation.generate(ring, "record", change(told))
    (key,) = ring.listed()
    assert (key.public, key.since) == (keys.public_key(ring.seed()), AT)
    (event,) = told.events
    assert (event["action"], event["key_id"], event["jwk"]) == ("generate", key.kid, key.jwk)


def test_a_key_from_before_there_was_a_list_is_taken_into_it(ring: Keyring) -> None:
    seed = keys.ensure(ring.path)
    assert not rotation.generate(ring, "record", change(Told()))
    assert [(key.public, key.since) for key in ring.listed()] == [(keys.public_key(seed), "")]


def test_rotating_puts_a_new_key_into_use_and_keeps_the_old_one(ring: Keyring) -> None:
    told = Told()
    rotation.generate(ring, "record", change(told))
    old = ring.seed()
    new = rotation.rotate(ring, "record", change(told, "as every month"))
    assert ring.seed_before() == old
    assert keys.public_key(ring.seed()) == new.public != keys.public_key(old)
    assert [key.public for key in ring.listed()] == [keys.public_key(old), new.public]
    assert not ring.next.exists()
    assert told.events[-1] == {
        "kind": "key",
        "action": "rotate",
        "purpose": "record",
        "key_id": new.kid,
        "jwk": new.jwk,
        "previous_key_id": keys.thumbprint(keys.public_key(old)),
        "who": "ana",
        "why": "as every month",
    }
    for file in (ring.path, ring.previous):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_cannot_be_told_is_not_done(ring: Keyring) -> None:
    rotation.generate(ring, "record", change(Told()))
    old = ring.seed()

    def full(kind: str, members: Mapping[str, Any]) -> None:
        raise EvidenceUnavailable("the outbox is full")

    with pytest.raises(EvidenceUnavailable):
        rotation.rotate(ring, "record", change(full))
    assert ring.seed() == old
    begun = keys.load(ring.next)
    assert rotation.rotate(ring, "record", change(Told())).public == keys.public_key(begun)


def test_a_revoked_key_can_be_rotated_away(ring: Keyring) -> None:
    rotation.generate(ring, "record", change(Told()))
    ring.revoke(keys.public_key(ring.seed()), Revoked(AT, "stolen"))
    rotation.rotate(ring, "record", change(Told()))
    ring.seed()
    assert ring.seed_before() is None


def test_two_do_not_change_a_key_at_once(ring: Keyring) -> None:
    rotation.generate(ring, "record", change(Told()))
    with rotation.alone(ring), pytest.raises(LedgerLocked, match="another process changes this key"):
        rotation.rotate(ring, "record", change(Told()))


@pytest.mark.parametrize("name", ["path", "next"])
def test_a_seed_that_others_may_read_is_not_gone_on_with(ring: Keyring, name: str) -> None:
    rotation.generate(ring, "record", change(Told()))
    keys.ensure(ring.next)
    getattr(ring, name).chmod(0o644)
    with pytest.raises(KeyUnusable, match=f"{getattr(ring, name)}: others may read it"):
        rotation.rotate(ring, "record", change(Told()))


def test_a_directory_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")
    with pytest.raises(KeyUnusable, match=f"{tmp_path}/keys"):
        rotation.generate(Keyring(tmp_path / "keys" / "record.key"), "record", change(Told()))


CALLS = ("open", "os.rename", "os.remove", "os.link", "os.chmod", "os.mkdir", "sqlite3.connect")


def dies(ring: Keyring, outbox: Path, call: int) -> bool:
    """Whether a process that rotates is killed before its call number `call` that changes or opens a file."""
    child = os.fork()
    if child == 0:
        made = count(1)

        def kill(event: str, arguments: tuple[Any, ...]) -> None:
            if event in CALLS and next(made) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        with Outbox(outbox) as events:
            rotation.rotate(ring, "record", change(events.put))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_at_every_call_there_is_always_a_key_in_use_and_the_next_run_goes_on(tmp_path: Path) -> None:
    for call in count(1):
        ring = Keyring(tmp_path / str(call) / "record.key")
        rotation.generate(ring, "record", change(Told()))
        old = ring.seed()
        if not dies(ring, tmp_path / str(call) / "control.sqlite", call):
            break
        killed = keys.public_key(ring.seed())
        assert killed in [key.public for key in ring.listed()]
        rotated = killed != keys.public_key(old)
        begun = ring.next.exists() and keys.public_key(keys.load(ring.next))
        with Outbox(tmp_path / str(call) / "control.sqlite") as events:
            told = [event.members["key_id"] for event in events.waiting(9)]
            assert not rotated or keys.thumbprint(killed) in told, "nothing is in use that nobody was told of"
            new = rotation.rotate(ring, "record", change(events.put))
            assert events.waiting(9)[-1].members["key_id"] == new.kid
        assert not begun or new.public == begun, "a rotation that began is gone on with"
        assert ring.seed_before() == (old if not rotated else keys_of(ring, killed))
        assert keys.public_key(ring.seed()) == new.public
    assert call > 10, "the calls were counted"


def keys_of(ring: Keyring, public: bytes) -> bytes:
    seed = keys.load(ring.previous)
    assert keys.public_key(seed) == public
    return seed

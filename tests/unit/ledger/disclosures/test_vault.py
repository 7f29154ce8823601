"""A segment's keys: wrapped, private, and gone for good once destroyed."""

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from authz.errors import KeyUnusable
from authz.ledger.disclosures.vault import Vault, sync


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "keys", b"w" * 32)


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "worker-0" / "e"


def test_a_key_reads_back_by_its_id_and_is_nowhere_in_the_open(vault: Vault, epoch: Path) -> None:
    key_id, cipher, file = vault.make(epoch, 3)
    sync(file)
    (stored,) = vault.stored(epoch)
    assert (stored.number, stored.id, stored.file) == (3, key_id, file)
    assert vault.cipher(stored).decrypt(bytes(12), cipher.encrypt(bytes(12), b"x", b""), b"") == b"x"
    assert file.stat().st_mode & 0o077 == 0
    assert len(bytes.fromhex(file.read_text())) == 40


def test_every_key_is_another_one(vault: Vault, epoch: Path) -> None:
    one, two = (vault.make(epoch, 0)[1] for _ in range(2))
    with pytest.raises(InvalidTag):
        two.decrypt(bytes(12), one.encrypt(bytes(12), b"x", b""), b"")


def test_a_destroyed_key_is_overwritten_and_gone(vault: Vault, epoch: Path, tmp_path: Path) -> None:
    vault.make(epoch, 0)
    (stored,) = vault.stored(epoch)
    held = tmp_path / "link"
    held.hardlink_to(stored.file)  # what is read through it is what lies in the blocks
    for _ in range(2):  # the second time changes nothing
        vault.destroy(stored)
    assert list(vault.stored(epoch)) == []
    assert set(held.read_text()) == {"0"}


def test_a_key_under_another_wrapping_key_is_unusable(vault: Vault, epoch: Path, tmp_path: Path) -> None:
    vault.make(epoch, 0)
    other = Vault(tmp_path / "keys", b"o" * 32)
    with pytest.raises(KeyUnusable, match="wrapped by another key"):
        other.cipher(next(other.stored(epoch)))


def test_a_key_that_others_may_read_or_that_is_none_is_refused(vault: Vault, epoch: Path) -> None:
    vault.make(epoch, 0)
    (stored,) = vault.stored(epoch)
    stored.file.chmod(0o640)
    with pytest.raises(KeyUnusable, match="others may read it"):
        vault.cipher(stored)
    stored.file.chmod(0o600)
    stored.file.write_text("00\n")
    with pytest.raises(KeyUnusable, match="not a wrapped key"):
        vault.cipher(stored)

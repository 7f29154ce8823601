"""A root key in a real token (SoftHSM2): made once, never leaving it, vouching for record keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.custody import root, token
from authz.errors import KeyUnusable
from authz.ledger import certificates, keys
from tests.hsm import PIN, Token

NOW = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
PUBLIC = keys.public_key(b"\x01" * 32)


@pytest.fixture
def hsm(tmp_path: Path) -> Token:
    return Token(tmp_path / "hsm")


def test_the_root_is_made_once_and_certifies(hsm: Token, tmp_path: Path) -> None:
    settings = hsm.settings(tmp_path)
    made, new = token.make_root(settings, NOW)
    assert new
    assert token.make_root(settings, NOW) == (made, False)
    assert root.read(settings) == made
    text, said = token.certify(settings, PUBLIC, NOW)
    assert said == certificates.check(text, [made], "aegis.test/worker-0/e")
    assert said.public == PUBLIC
    assert (said.since, said.until) == ("2026-01-01T11:00:00.000000Z", "2026-01-02T12:00:00.000000Z")


def test_the_private_key_cannot_be_had(hsm: Token, tmp_path: Path) -> None:
    settings = hsm.settings(tmp_path)
    token.make_root(settings, NOW)
    with token.opened(settings) as key:
        assert key.key_size == 256
        for asked in (key.private_numbers, lambda: key.private_bytes(None, None, None)):
            with pytest.raises(NotImplementedError):
                asked()
        with pytest.raises(NotImplementedError):
            key.exchange(None, key.public_key())  # type: ignore[arg-type]


def test_what_is_not_set_up_is_named(hsm: Token, tmp_path: Path) -> None:
    settings = hsm.settings(tmp_path)
    with pytest.raises(KeyUnusable, match=r"root\.pem: No such file or directory; run `aegis keys root`"):
        token.certify(settings, PUBLIC, NOW)
    with (
        pytest.raises(KeyUnusable, match="no key 'aegis-root'; run `aegis keys root`"),
        token.opened(settings),
    ):
        pass
    with pytest.raises(KeyUnusable, match="token 'other' of "):
        token.make_root(hsm.settings(tmp_path, token="other"), NOW)
    with pytest.raises(KeyUnusable, match=r"/no/such\.so"):
        token.make_root(hsm.settings(tmp_path, module="/no/such.so"), NOW)


def test_a_wrong_pin_is_said_and_not_shown(hsm: Token, tmp_path: Path) -> None:
    hsm.pin.write_text("wrong-secret\n")
    with pytest.raises(KeyUnusable, match="root: token 'aegis'") as refused:
        token.make_root(hsm.settings(tmp_path), NOW)
    assert "wrong-secret" not in str(refused.value)
    assert PIN not in str(refused.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_pin_that_others_may_read_is_refused(hsm: Token, tmp_path: Path, mode: int) -> None:
    hsm.pin.chmod(mode)
    with pytest.raises(KeyUnusable, match=f"{hsm.pin}: others may read it"):
        token.make_root(hsm.settings(tmp_path), NOW)


def test_a_certificate_of_another_root_is_not_taken(hsm: Token, tmp_path: Path) -> None:
    settings = hsm.settings(tmp_path)
    token.make_root(settings, NOW)
    other = hsm.settings(tmp_path, key="another-root")
    with pytest.raises(KeyUnusable, match="the certificate of another key than 'another-root'"):
        token.make_root(other, NOW)
    with pytest.raises(KeyUnusable, match="what the token signed does not hold"):
        token.certify(other, PUBLIC, NOW)


def test_what_would_outlive_the_root_is_refused(hsm: Token, tmp_path: Path) -> None:
    settings = hsm.settings(tmp_path)
    token.make_root(settings, NOW)
    with pytest.raises(KeyUnusable, match="ends after that of its root"):
        token.certify(settings, PUBLIC, NOW + timedelta(days=365 * token.ROOT_YEARS))

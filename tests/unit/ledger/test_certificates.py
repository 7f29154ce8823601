"""Certificates for record keys: one form, by a pinned root, for the logs it names and in its time."""

from __future__ import annotations

import base64
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from authz.ledger import certificates, keys
from tests.certifying import SINCE, UNTIL, USAGE, Root, good

PUBLIC = keys.public_key(b"\x01" * 32)
LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"
ROOT, OTHER = Root(), Root()


def test_a_good_one_says_whose_key_and_when() -> None:
    found = certificates.check(ROOT.certify(PUBLIC), [OTHER.certificate, ROOT.certificate], LOG)
    assert found.public == PUBLIC
    assert (found.since, found.until) == ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:01:00.000000Z")
    assert found.issuer == certificates.thumbprint(ROOT.certificate)


def test_openssl_reads_it(tmp_path: Path) -> None:
    """An outsider needs none of our code to see that the root vouches for the key."""
    root, leaf = tmp_path / "root.pem", tmp_path / "record.pem"
    root.write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    leaf.write_bytes(certificates.read(ROOT.certify(PUBLIC)).public_bytes(Encoding.PEM))
    when = str(int(SINCE.timestamp()) + 30)
    verified = subprocess.run(
        ["openssl", "verify", "-attime", when, "-CAfile", str(root), str(leaf)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert verified.stdout == f"{leaf}: OK\n", verified.stderr


def ca() -> list[tuple[Any, bool]]:
    return [(x509.BasicConstraints(ca=True, path_length=None), True), *good()[1:]]


def uses(**more: bool) -> list[tuple[Any, bool]]:
    return [good()[0], (x509.KeyUsage(**USAGE | more), True), good()[2]]


def names(*values: x509.GeneralName) -> list[tuple[Any, bool]]:
    return [*good()[:2], (x509.SubjectAlternativeName(values), True)]


URI = x509.UniformResourceIdentifier("aegis:record:aegis.test/")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"uri": "aegis:record:aegis.other/"}, "for logs of aegis.other/"),
        ({"uri": "aegis:record:aegis.test/worker-1/"}, "for logs of aegis.test/worker-1/"),
        ({"uri": "aegis:record:aegis.test"}, "is not `aegis:record:<origin prefix>`"),
        ({"uri": "aegis:record:"}, "is not `aegis:record:<origin prefix>`"),
        ({"uri": "aegis:log:aegis.test/"}, "is not `aegis:record:<origin prefix>`"),
        ({"uri": "https://aegis.test/"}, "is not `aegis:record:<origin prefix>`"),
        ({"extensions": []}, "its extensions"),
        ({"extensions": good()[:2]}, "its extensions"),
        ({"extensions": [(good()[0][0], False), *good()[1:]]}, "its extensions"),
        ({"extensions": [*good(), (x509.OCSPNoCheck(), False)]}, "its extensions"),
        ({"extensions": ca()}, "of an authority"),
        ({"extensions": uses(key_cert_sign=True)}, "for other uses"),
        ({"extensions": uses(crl_sign=True)}, "for other uses"),
        ({"extensions": uses(digital_signature=False, content_commitment=True)}, "for other uses"),
        ({"extensions": names(URI, URI)}, "not one URI"),
        ({"extensions": names(x509.DNSName("aegis.test"))}, "not one URI"),
        ({"subject": ec.generate_private_key(ec.SECP256R1()).public_key()}, "not of an Ed25519 key"),
        ({"since": SINCE - timedelta(days=2)}, "begins before that of its root"),
        ({"until": UNTIL + timedelta(days=9000)}, "ends after that of its root"),
    ],
)
def test_any_other_is_refused(how: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"^certificate: .*{why}"):
        certificates.check(ROOT.certify(PUBLIC, **how), [ROOT.certificate], LOG)


def test_another_root_of_the_same_name_does_not_vouch() -> None:
    with pytest.raises(ValueError, match="by a root that is not in trust"):
        certificates.check(OTHER.certify(PUBLIC), [ROOT.certificate], LOG)


def test_one_with_a_bit_flipped_does_not_hold() -> None:
    data = bytearray(base64.b64decode(ROOT.certify(PUBLIC)))
    for place in range(0, len(data), 7):
        data[place] ^= 1
        with pytest.raises(ValueError, match="certificate"):
            certificates.check(base64.b64encode(data).decode(), [ROOT.certificate], LOG)
        data[place] ^= 1


@pytest.mark.parametrize("text", [None, 1, "", "AAAA", "no base64", "A" * 5000])
def test_what_is_none_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"^certificate: "):
        certificates.check(text, [ROOT.certificate], LOG)


def test_a_version_and_an_algorithm_that_nobody_knows_are_refused() -> None:
    data = base64.b64decode(ROOT.certify(PUBLIC))
    for old, new in ((b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03"), (b"\x2b\x65\x70", b"\x2b\x65\x7f")):
        assert old in data
        text = base64.b64encode(data.replace(old, new)).decode()
        with pytest.raises(ValueError, match=r"^certificate: "):
            certificates.check(text, [ROOT.certificate], LOG)
        with pytest.raises(ValueError, match=r"^certificate: "):
            certificates.subject(certificates.read(text))


def test_base64_that_is_not_canonical_is_refused() -> None:
    text = ROOT.certify(PUBLIC)
    with pytest.raises(ValueError, match="certificate"):
        certificates.check(f"{text[:64]}\n{text[64:]}", [ROOT.certificate], LOG)


def test_what_is_no_root_cannot_be_pinned() -> None:
    leaf = certificates.read(ROOT.certify(PUBLIC)).public_bytes(Encoding.PEM)
    for pem, why in ((leaf, "not of a P-256 key"), (b"", "Unable to load|no|PEM")):
        with pytest.raises(ValueError, match=why):
            certificates.read_roots(pem)
    with pytest.raises(ValueError, match="not an authority's"):
        certificates.read_roots(Root(ca=False).certificate.public_bytes(Encoding.PEM))
    pem = ROOT.certificate.public_bytes(Encoding.PEM)
    assert certificates.read_roots(pem) == (ROOT.certificate,)

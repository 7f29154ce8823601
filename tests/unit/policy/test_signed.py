"""OPA's signature of a bundle: what OPA takes is taken, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from authz.policy.making import ALGORITHM, KEY_ID
from authz.policy.signed import BundleRejected, verified
from authz.policy.signing import ensure_signing_key, public_key
from tests.attack.test_policy_bundle_tampering import relabelled, repack, rewritten, unsigned
from tests.policy.opa import DENY, signing_key, version_of

# What Go writes otherwise than Python would: OPA hashes its own writing of data.
ODD = {
    "text": '\u2028\u2029<>&\x08\x0c\n\t"\\é😀',
    "numbers": [0, -1, 1.0, 1e5, 1e-7, 0.1, 12345678901234567890123],
    "é": [None, True, False, {}, []],
    "Z": {"b": 1, "a": 2},
}


def taken(file: Path, key: str | None = None) -> dict[str, bytes]:
    return verified(file.read_bytes(), key or public_key(signing_key()), KEY_ID, ALGORITHM)


def test_what_opa_signed_is_taken_whole(tmp_path: Path) -> None:
    version = version_of(tmp_path, DENY, **{"data.json": json.dumps(ODD, ensure_ascii=False)})
    files = taken(version.file)
    assert json.loads(files["/data.json"]) == ODD
    assert json.loads(files["/.manifest"])["revision"] == version.revision


@pytest.mark.parametrize("change", [rewritten, relabelled])
def test_what_was_changed_afterwards_is_not(tmp_path: Path, change: object) -> None:
    version = version_of(tmp_path, DENY)
    repack(version.file, change)  # type: ignore[arg-type]
    with pytest.raises(BundleRejected) as caught:
        taken(version.file)
    assert caught.value.code == "bad_signature"


def test_what_nobody_signed_is_not(tmp_path: Path) -> None:
    version = version_of(tmp_path, DENY)
    repack(version.file, unsigned)
    with pytest.raises(BundleRejected) as caught:
        taken(version.file)
    assert caught.value.code == "unsigned"


def test_what_another_key_signed_is_not(tmp_path: Path) -> None:
    ensure_signing_key(tmp_path / "other.pem")
    with pytest.raises(BundleRejected) as caught:
        taken(version_of(tmp_path, DENY).file, public_key(tmp_path / "other.pem"))
    assert caught.value.code == "bad_signature"


def test_another_algorithm_is_not_chosen_by_who_signs(tmp_path: Path) -> None:
    with pytest.raises(BundleRejected):
        verified(version_of(tmp_path, DENY).file.read_bytes(), "secret", KEY_ID, "HS256")


NESTED = b"[" * 100_000


def test_signatures_that_nest_without_end_are_none(tmp_path: Path) -> None:
    version = version_of(tmp_path, DENY)
    repack(version.file, lambda name, data: NESTED if name.endswith(".signatures.json") else data)
    with pytest.raises(BundleRejected) as caught:
        taken(version.file)
    assert caught.value.code == "bad_signature"


@pytest.mark.parametrize("nested", [NESTED, b"[" * 900 + b"]" * 900])
def test_data_that_nest_without_end_are_refused(tmp_path: Path, nested: bytes) -> None:
    version = version_of(tmp_path, DENY, **{"data.json": '{"a": 1}'})
    repack(version.file, lambda name, data: nested if name.endswith("data.json") else data)
    with pytest.raises(BundleRejected):
        taken(version.file)


@pytest.mark.parametrize("kept", [0, 10, 100, -20])
def test_what_is_cut_short_is_not(tmp_path: Path, kept: int) -> None:
    file = version_of(tmp_path, DENY).file
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BundleRejected) as caught:
        taken(file)
    assert caught.value.code == "unreadable"

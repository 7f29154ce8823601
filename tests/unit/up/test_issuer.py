"""The sample issuer's tokens are what the worker's identity stage accepts, or refuses."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest

from authz.config_identity import Identity
from authz.errors import Denied, KeyUnusable
from authz.identity.jwt import Identifier
from authz.testing import a_request
from authz.up.issuer import ED25519, P256, SampleIssuer
from authz.up.traffic import TOKEN
from authz.values import Assurance, Reason
from tests.tokens import with_keys


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    return tmp_path / "agents.jwks.json"


@pytest.fixture
def issuer(tmp_path: Path, jwks: Path) -> SampleIssuer:
    return SampleIssuer(tmp_path / "issuer", jwks, Identity())


@pytest.fixture
def identifier(issuer: SampleIssuer, jwks: Path) -> Identifier:
    return with_keys(Identity(), jwks, time.time)


@pytest.mark.parametrize("kid", [ED25519, P256])
def test_a_token_establishes_its_agent(kid: str, issuer: SampleIssuer, identifier: Identifier) -> None:
    subject = identifier.identify(a_request(headers={TOKEN: issuer.token("billing-agent", kid=kid)}))
    assert (subject.agent_id, subject.assurance) == ("billing-agent", Assurance.JWT)


def test_a_forged_token_establishes_nobody(issuer: SampleIssuer, identifier: Identifier) -> None:
    with pytest.raises(Denied) as denied:
        identifier.identify(a_request(headers={TOKEN: issuer.forged("clinical-agent")}))
    assert denied.value.reason is Reason.IDENTITY_INVALID


def test_a_token_of_yesterday_is_expired(issuer: SampleIssuer, identifier: Identifier) -> None:
    with pytest.raises(Denied) as denied:
        identifier.identify(a_request(headers={TOKEN: issuer.token("clinical-agent", age_s=600, life_s=300)}))
    assert denied.value.reason is Reason.IDENTITY_EXPIRED


def test_private_keys_are_private_and_stay(issuer: SampleIssuer, tmp_path: Path, jwks: Path) -> None:
    files = sorted((tmp_path / "issuer").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    before = [file.read_bytes() for file in files], jwks.read_bytes()
    SampleIssuer(tmp_path / "issuer", jwks, Identity())
    assert ([file.read_bytes() for file in files], jwks.read_bytes()) == before
    assert '"d"' not in jwks.read_text()


def test_keys_that_somebody_added_stay(issuer: SampleIssuer, tmp_path: Path, jwks: Path) -> None:
    listed = json.loads(jwks.read_text())
    mine = listed["keys"][0] | {"kid": "mine"}
    jwks.write_text(json.dumps({"keys": [mine]}))
    SampleIssuer(tmp_path / "issuer", jwks, Identity())
    assert [key["kid"] for key in json.loads(jwks.read_text())["keys"]] == ["mine", ED25519, P256]


def test_a_damaged_key_file_is_named(issuer: SampleIssuer, tmp_path: Path, jwks: Path) -> None:
    (tmp_path / "issuer" / f"{P256}.pem").write_text("not a key")
    with pytest.raises(KeyUnusable, match=r"sample-p256\.pem: not a private key"):
        SampleIssuer(tmp_path / "issuer", jwks, Identity())

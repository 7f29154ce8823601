"""`aegis token`: signed by the sample issuer for the agent that was named; nothing without an issuer."""

from pathlib import Path

import jwt
from typer.testing import CliRunner

from authz.cli.main import app
from authz.config_identity import Identity
from authz.up.issuer import SampleIssuer

SETTINGS = Identity()


def test_a_token_names_its_agent_and_verifies_by_the_published_key(tmp_path: Path) -> None:
    jwks = tmp_path / "keys/agents.jwks.json"
    SampleIssuer(tmp_path / "keys/issuer", jwks, SETTINGS)
    done = CliRunner().invoke(app, ["token", "my-agent", "--state", str(tmp_path), "--life", "60"])
    assert done.exit_code == 0
    token = done.stdout.strip()
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(jwks.read_text()).keys}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["EdDSA"], audience=SETTINGS.audience, issuer=SETTINGS.issuer)
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("my-agent", 60)


def test_without_an_issuer_nothing_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["token", "my-agent", "--state", str(tmp_path)])
    assert done.exit_code == 2
    assert "run `make up` first" in done.stderr
    assert list(tmp_path.iterdir()) == []

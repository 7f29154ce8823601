"""What `aegis up` prepares before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.up.deployment import Deployment
from authz.up.places import Ports, occupied
from authz.up.processes import Processes, StartFailed


@pytest.mark.parametrize("key", ["record.key", "log.key"])
def test_a_key_that_is_pinned_and_gone_is_not_made_anew(tmp_path: Path, key: str) -> None:
    source = tmp_path / "rego"
    source.mkdir()
    (source / "policy.rego").write_text('package aegis\n\ndecision := {"decision": "deny"}\n')
    with occupied(tmp_path / "var") as places, Processes(places.logs) as processes:
        deployment = Deployment(places, Ports(), processes)
        deployment.prepare(source)
        file = deployment.settings.state / "keys" / key
        held = file.read_bytes()
        file.unlink()
        with pytest.raises(StartFailed, match=f"{key} is gone, and .*trust.json pins it"):
            deployment.prepare(source)
        assert not file.exists()
        file.write_bytes(held)
        file.chmod(0o600)
        deployment.prepare(source)

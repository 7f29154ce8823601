"""What compose.yaml says works: image built, services started in its order, an agent's requests decided.

Nothing here needs a container engine; tests/deploy says what that leaves out.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from authz.config_identity import Identity
from authz.up import probe, proof
from authz.up.issuer import SampleIssuer
from authz.up.places import LOOPBACK
from authz.up.processes import Processes
from authz.up.traffic import EXPORT, RECORDS, TOKEN
from tests.deploy.containers import Containers
from tests.deploy.image import Image

pytestmark = pytest.mark.timeout(400)


@dataclass
class Running:
    containers: Containers
    issuer: SampleIssuer
    processes: Processes

    def get(self, url: str, agent: str = "clinical-agent") -> httpx.Response:
        headers = {TOKEN: self.issuer.token(agent)} if agent else {}
        proxy = f"http://{LOOPBACK}:{self.containers.ports.envoy}"
        with httpx.Client(proxy=proxy, trust_env=False, timeout=10) as client:
            return client.get(url, headers=headers)


@pytest.fixture(scope="module")
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's."""
    directory = Path(tempfile.mkdtemp(prefix="aegis-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def image(short: Path) -> Image:
    (short / "image").mkdir()
    made = Image(short / "image")
    made.build()
    return made


@pytest.fixture(scope="module")
def running(short: Path, image: Image) -> Iterator[Running]:
    jwks = short / "agents.jwks.json"
    issuer = SampleIssuer(short / "issuer", jwks, Identity())
    with Processes(short / "log") as processes:
        containers = Containers(short, image, processes, {jwks.name: jwks})
        containers.up("sample")
        processes.wait("envoy", lambda: _listens(containers.ports.envoy), "listening")
        yield Running(containers, issuer, processes)
    state = containers.volume("state")
    found = proof.verify(state / "ledger", state / "trust.json")
    assert found.status == 0, (found.report, found.said)


def _listens(port: int) -> bool:
    with httpx.Client(trust_env=False, timeout=5) as client:
        try:
            return client.get(f"http://{LOOPBACK}:{port}/").status_code > 0
        except httpx.TransportError:
            return False


def test_the_image_has_the_runtime_and_nothing_to_build_with(image: Image) -> None:
    programs = {file.name for file in (image.root / "opt/aegis/bin").iterdir()}
    assert "aegis" in programs
    assert not programs & {"pip", "pytest", "ruff", "mypy", "hadolint", "envoy"}


def test_the_state_directories_are_their_owners_alone(image: Image) -> None:
    made = [*image.root.glob("var/lib/*"), image.root / "run/aegis"]
    assert len(made) == 5
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}


def test_an_agent_is_decided_through_the_gateway(running: Running) -> None:
    allowed = running.get(RECORDS)
    assert (allowed.status_code, allowed.json()["path"]) == (200, "/patients/17/records")
    assert TOKEN not in allowed.json()["headers"]
    assert running.get(EXPORT).status_code == 403
    assert running.get(RECORDS, agent="").status_code == 401


def test_health_checks_tell_the_truth(running: Running) -> None:
    assert running.containers.health("worker") == 0
    assert running.containers.health("follower") == 0


def test_preparing_again_changes_neither_keys_nor_trust(running: Running) -> None:
    kept = [
        running.containers.volume("state") / name
        for name in ("keys/record.key", "keys/log.key", "trust.json")
    ]
    before = [file.read_bytes() for file in kept]
    running.containers.prepare_again()
    assert [file.read_bytes() for file in kept] == before
    assert running.get(RECORDS).status_code == 200


def test_a_new_policy_version_is_taken_while_all_run(running: Running) -> None:
    metrics = f"{LOOPBACK}:{running.containers.ports.metrics}"
    running.containers.prepare_again(POLICY_VERSION="v9.0.0")
    taken = b'version="v9.0.0"'
    running.processes.wait("worker", lambda: taken in probe.get(metrics, "/metrics")[1], "the new version")
    assert running.get(RECORDS).status_code == 200


def test_the_ledger_can_be_verified_from_inside(running: Running) -> None:
    running.get(RECORDS)
    said = running.containers.execute("worker", *"aegis verify ledger --trust trust.json".split())
    assert said.startswith("verified")


def test_opa_believes_the_policys_key_only(running: Running) -> None:
    told = json.loads((running.containers.volume("prepared") / "opa.json").read_text())
    (key,) = told["keys"].values()
    assert key["key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert list(running.containers.volume("prepared").glob("*.pem")) == []


def test_a_worker_that_is_gone_is_unhealthy_and_comes_back_with_the_same_ledger(running: Running) -> None:
    assert running.processes.stop("worker") == 0
    assert running.containers.health("worker") != 0
    assert running.get(RECORDS).status_code == 503
    running.containers.restart("worker")
    running.processes.wait("worker", lambda: running.get(RECORDS).status_code == 200, "allowing again")

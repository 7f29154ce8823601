"""Settings: one file, environment on top, and every mistake named by file, line and field."""

from pathlib import Path

import pytest

from authz.config import Settings
from authz.config_file import load
from authz.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "aegis.yaml"
    file.write_text(text)
    return file


def test_every_setting_has_a_description() -> None:
    def walk(model: type) -> None:
        for name, field in model.model_fields.items():
            annotation = field.annotation
            if hasattr(annotation, "model_fields"):
                walk(annotation)
            else:
                assert field.description, f"{model.__name__}.{name}"

    walk(Settings)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), {}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "ledger:\n  reply_after: synced\n  sync_wait_ms: 5\n")
    settings = load(file, {"AEGIS_LEDGER__SYNC_WAIT_MS": "7.5", "OTHER": "x"})
    assert (settings.ledger.reply_after, settings.ledger.sync_wait_ms) == ("synced", 7.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ledger:\n  reply_after: maybe\n", ":2: ledger.reply_after: Input should be 'synced' or 'bounded'"),
        ("listen:\n  waiting: 0\n", ":2: listen.waiting: Input should be greater than or equal to 1"),
        ("\nledgr: {}\n", ":2: ledgr: there is no such setting"),
        ("ledger:\n  fsync: true\n", ":2: ledger.fsync: there is no such setting"),
        ("worker: w\nworker: v\n", ":2: worker: already set in line 1"),
        ("worker: 'a b'\n", ":1: worker: String should match pattern"),
        ("worker: control\n", ":1: worker: `control` is the name of the deployment's own log"),
        ("listen:\n  check: 127.0.0.1:9000\n", "listen.check on TCP without TLS needs development: true"),
        ("listen:\n  check: 127.0.0.1:99999\n", ":2: listen.check: not HOST:PORT with a port up to 65535"),
        ("listen:\n  check: unix-abstract:check\n", ":2: listen.check: not HOST:PORT"),
        ("listen:\n  check: 127.0.0.1\n", ":2: listen.check: not HOST:PORT"),
        ("listen:\n  check: ::1:9000\n", ":2: listen.check: not HOST:PORT"),
        ("listen:\n  check: 'unix:'\n", ":2: listen.check: no path after unix:"),
        ("listen:\n  metrics: localhost\n", ":2: listen.metrics: not HOST:PORT"),
        ("follower:\n  bundles: ''\n", ":2: follower.bundles: not HOST:PORT"),
        ("identity:\n  audience: ''\n", ":2: identity.audience: String should have at least 1 character"),
        ("identity:\n  issuer: ''\n", ":2: identity.issuer: String should have at least 1 character"),
        ("identity:\n  max_token_life_s: 86401\n", ":2: identity.max_token_life_s: Input should be less"),
        ("- a\n", ":1: the settings are a mapping"),
        ("a: [\n", ":2: not YAML"),
    ],
)
def test_a_mistake_is_named_by_line_and_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text), {})
    assert said in str(error.value)
    assert "aegis.yaml" in str(error.value)


def test_a_mistake_in_the_environment_is_named_by_its_variable() -> None:
    with pytest.raises(ConfigError, match=r"^AEGIS_LIMITS__BODY_BYTES: limits.body_bytes: "):
        load(None, {"AEGIS_LIMITS__BODY_BYTES": "many"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: No such file"):
        load(tmp_path / "nowhere.yaml", {})


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "localhost:65535", "[::1]:9000", "unix:run/a.sock", "unix:/a b"]
)
def test_an_address_that_can_be_meant_is_kept_as_it_is(address: str) -> None:
    settings = Settings.model_validate({"development": True, "listen": {"check": address, "metrics": ""}})
    assert (settings.listen.check, settings.listen.metrics) == (address, "")


TLS = {"certificate": "a.pem", "private_key": "a.key", "client_ca": "ca.pem", "envoy": ["dns:envoy.test"]}


@pytest.mark.parametrize("pin", ["spiffe://a.test/envoy", "dns:envoy.test", f"sha256:{'0a' * 32}"])
def test_tcp_with_tls_and_a_pinned_envoy_is_no_development(pin: str) -> None:
    listen = {"check": "0.0.0.0:9001", "outcomes": "0.0.0.0:9002", "tls": TLS | {"envoy": [pin]}}
    assert Settings.model_validate({"listen": listen}).protected


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ({"check": "0.0.0.0:9001"}, "listen.check on TCP without TLS needs development"),
        ({"outcomes": "0.0.0.0:9001"}, "listen.outcomes on TCP without TLS needs development"),
        ({"tls": TLS}, "listen.tls is for TCP"),
        *(
            ({"check": "0.0.0.0:9001", "tls": {k: v for k, v in TLS.items() if k != name}}, "all of them")
            for name in TLS
        ),
        *(
            ({"check": "0.0.0.0:9001", "tls": TLS | {"envoy": [pin]}}, "not spiffe://DOMAIN/PATH, dns:NAME")
            for pin in ("*", "envoy.test", "dns:*.test", "dns:Envoy", "spiffe://a.test", "sha256:0A", "")
        ),
    ],
)
def test_a_listener_that_others_could_reach_is_refused(listen: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings.model_validate({"listen": listen})


@pytest.mark.parametrize("value", ["@x", "{", "a: b: c", "\x01"])
def test_a_variable_that_is_not_yaml_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^AEGIS_IDENTITY__AUDIENCE: not YAML: "):
        load(None, {"AEGIS_IDENTITY__AUDIENCE": value})


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_setting() -> None:
    links = {
        "AEGIS_SERVICE_HOST": "10.0.0.7",
        "AEGIS_SERVICE_PORT": "9000",
        "AEGIS_SERVICE_PORT_GRPC": "9000",
        "AEGIS_PORT": "tcp://10.0.0.7:9000",
        "AEGIS_PORT_9000_TCP": "tcp://10.0.0.7:9000",
        "AEGIS_PORT_9000_TCP_PROTO": "tcp",
        "AEGIS_PORT_9000_TCP_PORT": "9000",
        "AEGIS_PORT_9000_TCP_ADDR": "10.0.0.7",
        "AEGIS_WORKER_SERVICE_HOST": "10.0.0.8",
        "AEGIS_WORKER_PORT": "tcp://[fd00::8]:9000",
    }
    assert load(None, links) == Settings()


@pytest.mark.parametrize("name", ["AEGIS_PORT", "AEGIS_SERVICE_HOSTS", "AEGIS_PORT_9000", "AEGIS_WORKERS"])
def test_what_only_resembles_that_is_a_mistake(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: "):
        load(None, {name: "9000"})


def test_a_policy_for_opa_envoy_plugin_needs_opa_and_its_path_may_be_written_as_there(tmp_path: Path) -> None:
    file = tmp_path / "aegis.yaml"
    file.write_text("policy: {compat: opa-envoy-plugin, entry_point: /envoy//authz/}\n")
    assert load(file).policy.entry_point == "envoy/authz"
    file.write_text("policy: {compat: opa-envoy-plugin, engine: wasm}\n")
    with pytest.raises(ConfigError, match="only with the engine opa"):
        load(file)

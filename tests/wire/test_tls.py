"""Mutual TLS on Check, with real handshakes: who gets in, who does not, and how certificates are renewed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import uvloop

from authz.errors import ConfigError, KeyUnusable
from authz.telemetry.outcomes import OutcomeCounts
from authz.wire.outcomes import SERVICE as OUTCOMES
from authz.wire.outcomes import Outcomes, OutcomeServer
from authz.wire.server import SERVICE, CheckServer
from authz.wire.tls import MAX_PEERS, ServerTls, identities
from tests.pki import Authority, Certificate
from tests.wire.scripted import Scripted
from tests.wire.serving import TRANSPORTS
from tests.worker import message, read_answer

ENVOY = "spiffe://aegis.test/envoy"


class Site:
    """A CA, our certificate, Envoy's, and settings that pin it."""

    def __init__(self, directory: Path, transport: str = "http2") -> None:
        self.directory = directory
        self.ca = Authority(directory)
        self.own = self.ca.sign("own", "aegis", "127.0.0.1")
        self.envoy = self.ca.sign("envoy", ENVOY)
        self.pinned = [ENVOY]
        self.outcomes = False
        self.transport = transport

    @property
    def listen(self) -> dict[str, Any]:
        files = {"certificate": self.own.certificate, "private_key": self.own.key}
        tls = files | {"client_ca": self.ca.own.certificate, "envoy": self.pinned}
        outcomes = "127.0.0.1:0" if self.outcomes else ""
        return {
            "check": "127.0.0.1:0",
            "outcomes": outcomes,
            "drain_s": 0,
            "tls": tls,
            "transport": self.transport,
        }

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[CheckServer, Scripted]]:
        scripted = Scripted(None, state=self.directory, listen=self.listen)
        server = CheckServer(scripted.settings, scripted.service)
        await server.start()
        try:
            yield server, scripted
        finally:
            await server.stop()

    def following(self, wall: Any = time.time) -> ServerTls:
        return ServerTls(self.settings.listen.tls, self.directory, wall)

    @property
    def settings(self) -> Any:
        return Scripted(None, state=self.directory, listen=self.listen).settings


@pytest.fixture(params=TRANSPORTS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    return Site(tmp_path, request.param)


@asynccontextmanager
async def channel(
    server: CheckServer | OutcomeServer, trusted: bytes, own: Certificate | None
) -> AsyncIterator[grpc.aio.Channel]:
    pair = (own.key.read_bytes(), own.pem) if own else (None, None)
    credentials = grpc.ssl_channel_credentials(trusted, *pair)
    options = [("grpc.ssl_target_name_override", "aegis"), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as made:
        yield made


async def asked(made: grpc.aio.Channel) -> str:
    """ "answered", or the name of the status that Envoy would take for a denial."""
    check = made.unary_unary(f"/{SERVICE}/Check")
    try:
        read_answer(await check(message().SerializeToString(), timeout=5))
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "answered"


async def ask(server: CheckServer, site: Site, own: Certificate | None) -> str:
    async with channel(server, site.ca.own.pem, own) as made:
        return await asked(made)


async def test_the_pinned_envoy_is_answered(site: Site) -> None:
    async with site.serving() as (server, scripted):
        assert await ask(server, site, site.envoy) == "answered"
        assert len(scripted.pipeline.asked) == 1


@pytest.mark.parametrize("sans", [[ENVOY], ["edge.aegis.test"], []], ids=["uri", "dns", "key"])
async def test_envoy_is_pinned_by_uri_name_or_key(site: Site, sans: list[str]) -> None:
    site.envoy = site.ca.sign("envoy", *sans)
    site.pinned = [*(f"dns:{san}" if "://" not in san else san for san in sans)] or [site.envoy.spki]
    async with site.serving() as (server, _):
        assert await ask(server, site, site.envoy) == "answered"


async def test_another_client_of_the_same_ca_is_refused_and_counted(site: Site) -> None:
    others = [
        site.ca.sign("agent", "spiffe://aegis.test/agent"),
        site.ca.sign("longer", f"{ENVOY}/agent"),
        site.ca.sign("nameless"),
        site.ca.sign("name", "aegis.test"),
        site.ca.sign("two", ENVOY, "spiffe://aegis.test/agent"),
    ]
    async with site.serving() as (server, scripted):
        for other in others:
            assert await ask(server, site, other) == "PERMISSION_DENIED"
        assert scripted.pipeline.asked == []
        assert server.tls is not None
        assert server.tls.refused == len(others)


async def test_a_client_without_a_certificate_of_the_ca_does_not_get_in(site: Site, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    strangers = {
        "nobody": None,
        "of another CA": Authority(tmp_path / "other").sign("envoy", ENVOY),
        "expired": site.ca.sign("expired", ENVOY, valid=timedelta(minutes=-5)),
    }
    async with site.serving() as (server, scripted):
        outcomes = {name: await ask(server, site, own) for name, own in strangers.items()}
        assert outcomes == dict.fromkeys(strangers, "UNAVAILABLE")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as plain:
            assert await asked(plain) == "UNAVAILABLE"
        assert scripted.pipeline.asked == []
        assert await ask(server, site, site.envoy) == "answered"


@pytest.mark.parametrize(
    ("version", "taken"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_only_tls_1_2_and_1_3_are_spoken(
    site: Site, version: ssl.TLSVersion, taken: bool, recwarn: pytest.WarningsRecorder
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")  # or this side would not offer TLS 1.1
    context.minimum_version = context.maximum_version = version
    context.load_verify_locations(site.ca.own.certificate)
    context.load_cert_chain(site.envoy.certificate, site.envoy.key)
    context.set_alpn_protocols(["h2"])
    recwarn.clear()  # ssl deprecates TLS 1.1, rightly
    async with site.serving() as (server, _):
        connecting = asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname="aegis")
        if not taken:
            with pytest.raises((ConnectionError, ssl.SSLError)):  # grpcio does not even send an alert
                await connecting
            return
        _, writer = await connecting
        assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
        writer.close()


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def runs(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Both loops: production has the second, and they read at other moments."""
    return cast("Callable[[Coroutine[Any, Any, None]], None]", request.param)


def test_a_client_that_speaks_before_it_is_accepted_gets_in(site: Site, runs: Any) -> None:
    context = ssl.create_default_context(cafile=str(site.ca.own.certificate))
    context.load_cert_chain(site.envoy.certificate, site.envoy.key)
    context.set_alpn_protocols(["h2"])

    async def story() -> None:
        async with site.serving() as (server, _):
            raw = socket.create_connection(("127.0.0.1", server.port))  # the loop waits meanwhile
            with context.wrap_socket(raw, server_hostname="aegis", do_handshake_on_connect=False) as client:
                client.setblocking(False)
                with suppress(ssl.SSLWantReadError):
                    client.do_handshake()
                client.settimeout(5.0)
                await asyncio.to_thread(client.do_handshake)
                client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
                assert (await asyncio.to_thread(client.recv, 9))[3] == 4  # SETTINGS
            assert await ask(server, site, site.envoy) == "answered"

    runs(story())


def test_who_leaves_before_tls_is_there_leaves_nothing_behind(tmp_path: Path, runs: Any) -> None:
    async def story() -> None:
        async with Site(tmp_path).serving() as (server, _):
            for _ in range(5):
                socket.create_connection(("127.0.0.1", server.port)).close()
            await asyncio.sleep(0.2)
            transport: Any = server._transport
            assert transport._calls.connections == set()

    runs(story())


def test_a_handshake_under_way_ends_with_the_server(tmp_path: Path, runs: Any) -> None:
    async def story() -> None:
        async with Site(tmp_path).serving() as (server, _):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=5.0)
            await asyncio.sleep(0.1)
        with client:
            assert await asyncio.to_thread(client.recv, 1) == b""

    runs(story())


async def test_our_certificate_is_renewed_without_a_restart(site: Site, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    later = Authority(tmp_path / "next")
    async with site.serving() as (server, _), channel(server, site.ca.own.pem, site.envoy) as open_before:
        assert await asked(open_before) == "answered"
        site.own.certificate.write_bytes(later.sign("own", "aegis").pem)
        server.refresh()  # half of a renewal: the key is still the old one
        assert server.tls is not None
        assert "not the key of" in server.tls.problem
        assert await ask(server, site, site.envoy) == "answered"
        site.own.key.write_bytes((tmp_path / "next/own.key").read_bytes())
        server.refresh()
        assert server.tls.problem == ""
        assert await ask(server, site, site.envoy) == "UNAVAILABLE"  # trusts the old CA only
        async with channel(server, later.own.pem, site.envoy) as after:
            assert await asked(after) == "answered"
        assert await asked(open_before) == "answered"


async def test_the_clients_ca_is_replaced_without_a_restart(site: Site, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    later = Authority(tmp_path / "next").sign("envoy", ENVOY)
    async with site.serving() as (server, _):
        assert await ask(server, site, later) == "UNAVAILABLE"
        trusted = site.ca.own.pem
        site.ca.own.certificate.write_bytes((tmp_path / "next/ca.pem").read_bytes())
        server.refresh()
        async with channel(server, trusted, later) as made:
            assert await asked(made) == "answered"
        async with channel(server, trusted, site.envoy) as made:
            assert await asked(made) == "UNAVAILABLE"


def test_a_certificate_that_expires_while_connected_counts_no_longer(site: Site) -> None:
    now = time.time()
    tls = site.following(lambda: now)
    assert tls.admits(site.envoy.pem)
    now += 3700
    assert not tls.admits(site.envoy.pem)
    assert tls.refused == 1


def test_however_many_certificates_come_few_are_remembered(site: Site) -> None:
    tls = site.following()
    for number in range(MAX_PEERS + 5):
        assert not tls.admits(site.ca.sign(f"agent-{number}").pem)
    assert len(tls._peers) == MAX_PEERS
    assert tls.admits(site.envoy.pem)


def test_a_certificate_of_two_uris_is_pinned_by_neither(site: Site) -> None:
    two = site.ca.sign("two", ENVOY, "spiffe://aegis.test/other", "Edge.Test")
    assert identities(two.pem)[0] == {"dns:edge.test", two.spki}


def test_without_its_files_a_worker_does_not_start(site: Site) -> None:
    key = site.own.key
    site.own.key.chmod(0o640)
    with pytest.raises(KeyUnusable, match=rf"{key}: others may read it"):
        site.following()
    site.own.key.chmod(0o600)
    site.own.key.write_text("-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----\n")
    with pytest.raises(KeyUnusable, match=rf"{key}: not a private key"):
        site.following()
    site.own.key.write_bytes(site.envoy.key.read_bytes())
    with pytest.raises(KeyUnusable, match=rf"{key}: not the key of {site.own.certificate}"):
        site.following()
    site.ca.own.certificate.write_text("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    with pytest.raises(KeyUnusable, match=r"ca\.pem: not certificates"):
        site.following()
    os.unlink(site.own.certificate)
    with pytest.raises(KeyUnusable, match=r"own\.pem: No such file"):
        site.following()


async def test_a_taken_port_is_named(site: Site) -> None:
    async with site.serving() as (server, _):
        listen = site.listen | {"check": f"127.0.0.1:{server.port}"}
        scripted = Scripted(None, state=site.directory, listen=listen)
        with pytest.raises(ConfigError, match=f"127.0.0.1:{server.port} cannot be had"):
            await CheckServer(scripted.settings, scripted.service).start()


async def test_the_access_log_service_is_guarded_alike(site: Site) -> None:
    site.outcomes = True
    outcomes = Outcomes(site.settings, Noted(), OutcomeCounts(Noted(), 60))
    listener = OutcomeServer(site.settings, outcomes)
    await listener.start()
    try:
        agent = site.ca.sign("agent", "spiffe://aegis.test/agent")
        for own, status in ((site.envoy, "OK"), (agent, "PERMISSION_DENIED"), (None, "UNAVAILABLE")):
            async with channel(listener, site.ca.own.pem, own) as made:
                call = made.stream_unary(f"/{OUTCOMES}/StreamAccessLogs")(timeout=5)
                if status == "OK":  # the others are over before there is anything to end
                    await call.done_writing()
                assert (await call.code()).name == status
        assert listener.tls is not None
        assert listener.tls.refused == 1
    finally:
        await listener.stop()


class Noted:
    """A ledger, and an observer, that nothing is told here."""

    log = "aegis.test/worker-0/x"

    def note(self, kind: str, members: dict[str, Any]) -> None: ...

    def count_lost(self, reason: str, source: str, count: int) -> None: ...

    def decided(self, decision: Any) -> None: ...


def gauges(tls: ServerTls) -> dict[str, float]:
    return {name.removeprefix("aegis_tls_"): value for name, _, value, _ in tls.gauges("check")}


def test_how_long_the_certificate_in_use_lasts_is_seen(site: Site) -> None:
    now = time.time()
    tls = site.following(lambda: now)
    for valid in (timedelta(minutes=60), timedelta(minutes=30)):
        own = site.ca.sign("own", "aegis", "127.0.0.1", valid=valid).value  # renewed, in the same files
        tls.refresh()
        assert gauges(tls) == {
            "problem": 0,
            "refused_total": 0,
            "certificate_left_seconds": own.not_valid_after_utc.timestamp() - now,
            "certificate_life_seconds": (own.not_valid_after_utc - own.not_valid_before_utc).total_seconds(),
        }
    before = gauges(tls)
    site.own.certificate.write_text("not a certificate")
    tls.refresh()
    assert gauges(tls) == before | {"problem": 1}

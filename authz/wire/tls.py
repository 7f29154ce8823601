"""TLS on the listeners for Envoy: our certificate, who signs clients, and which client is Envoy.

In: `listen.tls` and its files. Out: credentials for grpcio or a context for asyncio, and for each call
whether its peer is a pinned one. Called by transports and by `outcomes.py`; `refresh` by `app.py` several
times a second. A client without a certificate of the CA, or with an expired one, does not get past the
handshake; one with a good certificate that is not pinned gets PERMISSION_DENIED and is counted: whoever is
not Envoy may not even leave a record. TLS 1.2 and 1.3. Files that change are taken up by the next handshake;
what is wrong with them leaves the old ones in use and is logged. Revocation lists are not read: workloads'
certificates are short-lived.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from authz.config import Settings
from authz.config_listen import Tls
from authz.errors import KeyUnusable
from authz.telemetry.metrics import Gauge

log = structlog.get_logger(__name__)

MAX_FILE_BYTES: Final = 1 << 20
MAX_PEERS: Final = 64  # certificates remembered: Envoys that are connected, with their last few renewals
_DER: Final = serialization.Encoding.DER
_SPKI: Final = serialization.PublicFormat.SubjectPublicKeyInfo


class _Files(NamedTuple):
    certificate: bytes
    private_key: bytes
    client_ca: bytes
    begins: float  # of our certificate, seconds since 1970
    ends: float


class _Peer(NamedTuple):
    pinned: bool
    expires: float  # seconds since 1970: a connection may outlive the certificate it began with


def open_tls(settings: Settings, address: str) -> ServerTls | None:
    """For a listener at `address`; None where there is none, or a Unix socket. Raises KeyUnusable."""
    tls = settings.listen.tls
    if tls.certificate is None or address.startswith("unix:"):
        return None
    return ServerTls(tls, settings.state, time.time)


class ServerTls:
    """What `tls` says, followed as its files change. `wall`: seconds since 1970."""

    def __init__(self, tls: Tls, state: Path, wall: Callable[[], float]) -> None:
        """Raises KeyUnusable, naming the file."""
        names = (tls.certificate, tls.private_key, tls.client_ca)
        self._paths = tuple(state / name for name in names if name is not None)
        self._pinned = frozenset(tls.envoy)
        self._wall = wall
        self._peers: dict[bytes, _Peer] = {}
        self._seen: tuple[tuple[int, ...], ...] = self._state()
        self._files = self._given = _read(self._paths)
        self._context: tuple[_Files, ssl.SSLContext] | None = None
        self.refused = 0
        self.problem = ""

    def credentials(self) -> Any:
        """For `add_secure_port`. Each handshake asks for the newest files."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._given), self._newer, require_client_authentication=True
        )

    def refresh(self) -> None:
        """Look at the files again. Never raises: see `problem`."""
        try:
            state = self._state()
            if state == self._seen:
                return
            self._files = _read(self._paths)
            self._seen = state
        except KeyUnusable as error:
            self._keep(str(error))
            return
        self.problem = ""
        log.info("tls_files_read", certificate=str(self._paths[0]))

    def _keep(self, why: str) -> None:
        self._seen = ()  # and look again, though nothing about the files may have changed
        if why != self.problem:
            log.error("tls_files_unusable", why=why)
        self.problem = why

    def context(self) -> ssl.SSLContext:
        """For a handshake that asyncio is about to do, with the newest files."""
        if self._context is None or self._context[0] is not self._files:
            self._context = self._files, _context(self._files)
        return self._context[1]

    def admits(self, pem: bytes) -> bool:
        """Whether the peer with this certificate is a pinned one, and it is still valid."""
        peer = self._peers.get(pem)
        if peer is None:
            peer = self._look_at(pem)
        if peer.pinned and self._wall() < peer.expires:
            return True
        self.refused += 1
        return False

    def _look_at(self, pem: bytes) -> _Peer:
        names, expires = identities(pem)
        peer = _Peer(not self._pinned.isdisjoint(names), expires.timestamp())
        if not peer.pinned:
            log.warning("check_peer_not_pinned", peer=sorted(names)[:4])
        if len(self._peers) >= MAX_PEERS:
            del self._peers[next(iter(self._peers))]
        self._peers[pem] = peer
        return peer

    def gauges(self, listener: str) -> Iterator[Gauge]:
        """What is to be seen of the TLS of `listener`."""
        label, files = {"listener": listener}, self._files
        left_s, life_s = files.ends - self._wall(), files.ends - files.begins
        problem = float(bool(self.problem))
        yield "aegis_tls_refused_total", "Calls of others than the pinned Envoy.", self.refused, label
        yield "aegis_tls_problem", "1 while the TLS files cannot be used.", problem, label
        yield "aegis_tls_certificate_left_seconds", "Until our certificate ends.", left_s, label
        yield "aegis_tls_certificate_life_seconds", "From its beginning to its end.", life_s, label

    def _newer(self) -> Any:
        """Called by gRPC's own threads before each handshake: new credentials, None for those of before."""
        files = self._files
        if files is self._given:
            return None
        self._given = files
        return _configuration(files)

    def _state(self) -> tuple[tuple[int, ...], ...]:
        found = []
        for path in self._paths:
            try:
                status = os.stat(path)
            except OSError as error:
                raise KeyUnusable(f"{path}: {error.strerror}") from None
            found.append((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))
        return tuple(found)


def peer_of(context: Any) -> bytes:
    """The certificate, in PEM, of the peer of a call of grpcio's; empty if there is none."""
    (pem,) = context.auth_context().get("x509_pem_cert", (b"",))
    return bytes(pem)


def identities(pem: bytes) -> tuple[set[str], datetime]:
    """What a certificate can be pinned by, as `listen.tls.envoy` writes it, and when it ends.

    A SPIFFE id counts only where it is the only URI (X509-SVID section 2).
    """
    certificate = x509.load_pem_x509_certificate(pem)
    key = certificate.public_key().public_bytes(_DER, _SPKI)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key)
    names = {f"sha256:{digest.finalize().hex()}"}
    try:
        sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names, certificate.not_valid_after_utc
    uris = sans.get_values_for_type(x509.UniformResourceIdentifier)
    names.update(uris if len(uris) == 1 else ())
    names.update(f"dns:{name.lower()}" for name in sans.get_values_for_type(x509.DNSName))
    return names, certificate.not_valid_after_utc


def _configuration(files: _Files) -> Any:
    pair = (files.private_key, files.certificate)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=files.client_ca)


def _context(files: _Files) -> ssl.SSLContext:
    """TLS 1.2 or 1.3 with a client's certificate. Raises KeyUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=files.client_ca.decode("ascii", "ignore"))
    with _chain(files) as chain:
        context.load_cert_chain(chain)
    return context


@contextmanager
def _chain(files: _Files) -> Iterator[str]:
    """A file of certificate and private key that only this process has: ssl takes neither from memory."""
    descriptor = os.memfd_create("chain", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, files.private_key + b"\n" + files.certificate)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _read(paths: Iterable[Path]) -> _Files:
    """The three files, which fit each other. Raises KeyUnusable, naming the one that does not."""
    certificate, private_key, client_ca = paths
    pem, secret, ca = _content(certificate), _content(private_key, secret=True), _content(client_ca)
    own, *_ = _certificates(pem, certificate)
    _certificates(ca, client_ca)
    try:
        key = serialization.load_pem_private_key(secret, None)
    except (ValueError, TypeError):
        raise KeyUnusable(f"{private_key}: not a private key in PEM without a password") from None
    if key.public_key().public_bytes(_DER, _SPKI) != own.public_key().public_bytes(_DER, _SPKI):
        raise KeyUnusable(f"{private_key}: not the key of {certificate}")
    begins, ends = own.not_valid_before_utc, own.not_valid_after_utc
    return _Files(pem, secret, ca, begins.timestamp(), ends.timestamp())


def _certificates(content: bytes, file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise KeyUnusable(f"{file}: not certificates in PEM") from None


def _content(file: Path, *, secret: bool = False) -> bytes:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyUnusable(f"{file}: {error.strerror}") from None
    if secret and mode & 0o077:
        raise KeyUnusable(f"{file}: others may read it; a key is a file of mode 0600")
    if len(content) > MAX_FILE_BYTES:
        raise KeyUnusable(f"{file}: over {MAX_FILE_BYTES} bytes")
    return content

"""Which workload a request's client certificate names, as Envoy says it: a SPIFFE id, or nobody.

In: `source.principal`, and with `identity.trust_xfcc` the last element of x-forwarded-client-cert. Out: the
SPIFFE id of a workload of one of `identity.trust_domains`. Called by `jwt.py` for every request where there
are trust domains. Whether Envoy itself said it is the transport's matter (`Settings.protected`), not ours.
"""

from __future__ import annotations

from typing import Final

from authz.config_identity import Identity
from authz.errors import Denied
from authz.identity import spiffe, xfcc
from authz.values import Reason, Request

XFCC: Final = "x-forwarded-client-cert"


class Certificates:
    """Reads them as `settings` want it; false where certificates establish nobody."""

    def __init__(self, settings: Identity) -> None:
        self._domains = frozenset(settings.trust_domains)
        self._forwarded = settings.trust_xfcc
        self._proxies = frozenset(settings.xfcc_proxies)

    def __bool__(self) -> bool:
        return bool(self._domains)

    def workload(self, request: Request) -> str:
        """The SPIFFE id that the transport establishes, "" when it establishes none. Raises Denied."""
        found = self._client(request)
        if not found or found in self._proxies:
            return ""
        try:
            domain = spiffe.trust_domain(found)
        except ValueError as error:
            raise Denied(Reason.IDENTITY_INVALID, f"client certificate: {error}") from None
        if domain not in self._domains:
            raise Denied(Reason.IDENTITY_INVALID, "client certificate: of a trust domain that is not ours")
        return found

    def _client(self, request: Request) -> str:
        """What the last hop calls its client: the connection's own, or a proxy's word for it."""
        connected = request.principal
        if not self._forwarded or XFCC not in request.headers:
            return connected
        try:
            forwarded = xfcc.last_uri(request.headers[XFCC])
        except ValueError as error:
            raise Denied(Reason.IDENTITY_INVALID, f"{XFCC}: {error}") from None
        if connected and connected != forwarded and connected not in self._proxies:
            raise Denied(Reason.IDENTITY_AMBIGUOUS, f"{XFCC} names another client than the connection")
        return forwarded

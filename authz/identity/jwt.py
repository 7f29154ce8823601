"""Request -> Subject: who asks, by a signed token (RFC 7519), or Denied with an `identity_*` reason.

In: a Request. Out: a Subject with its assurance. Called by `pipeline.py` for every request; `refresh` by
`app.py` a few times a second. It must never believe a key that a token brings along, never let a token's text
into an error or a log, and never remember a failure.

    x-aegis-agent-token: TOKEN or "Bearer TOKEN"        always
    proxy-authorization: Bearer TOKEN                   of a CONNECT
    authorization: Bearer TOKEN                         with `use_authorization`
    the name in `development_header`                    the agent's name, unverified
    source.principal, the client certificate's          with `trust_domains`: a SPIFFE id, assurance `mtls`
    x-forwarded-client-cert, its last element           with `trust_xfcc`, too

Whatever of these is there must establish the same subject. Policy data may say that an identity is an agent's
(`same`): its name then takes the identity's place wherever it stands.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from jwt import PyJWS, PyJWTError
from msgspec.structs import replace

from authz import exact_json
from authz.config_identity import Identity
from authz.errors import Denied
from authz.identity.certificates import Certificates
from authz.identity.keyset import Keys
from authz.values import UNKNOWN, Assurance, Reason, Request, Subject

TOKEN_HEADER: Final = "x-aegis-agent-token"  # noqa: S105  a header's name
MAX_TOKEN: Final = 8192  # characters; claims are bounded by it
MAX_CHAIN: Final = 8
_CLAIMS_DEPTH: Final = 16
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Names go into records, metrics and policies as they are: SPIFFE ids, URNs, addresses, `client|id`.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=~|-]{0,255}")
_SESSION: Final = re.compile(r"[A-Za-z0-9._:/@+=~|-]{1,128}")
# Members of a JOSE header that change nothing about how it is verified. `crit`, `jku`, `jwk`, `x5u`, `x5c`,
# `b64`, `enc`, `cty` and what is not known yet would.
_HEADER: Final = frozenset(("alg", "kid", "typ", "x5t", "x5t#S256"))
_TYPES: Final = frozenset(("jwt", "jose", "at+jwt", "application/at+jwt"))
# What is checked here or has a place of its own in the Subject; the other claims are for policy.
_READ_HERE: Final = frozenset(("iss", "aud", "exp", "iat", "nbf", "sub", "act", "sid", "session_id"))


class _Verified(NamedTuple):
    not_before: int  # seconds since 1970, skew included: from here on
    expires: int  # and no longer from here on
    subject: Subject


class Identifier:
    """Knows the keys, and remembers up to `token_cache` tokens that were verified with them."""

    def __init__(
        self,
        settings: Identity,
        *,
        keys: Keys,
        protected: bool,
        wall: Callable[[], float],
        same: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`protected`: nobody but Envoy can reach us. `wall` gives seconds since 1970. `same` gives the
        agents' names by their other identities, as the active policy has them.
        """
        self._settings = settings
        self._wall = wall
        self._keys = keys
        self._oldest_s = settings.keys_max_age_s or sys.float_info.max  # keys never read are older than that
        self._jws = PyJWS(algorithms=list(settings.algorithms))
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._named_by = settings.development_header.lower()
        self._same = same
        self._certificates = Certificates(settings)
        self._by_certificate = Assurance.MTLS if protected else Assurance.NONE
        self._by_token = Assurance.JWT if protected else Assurance.NONE
        self._by_header = Assurance.HEADER if protected else Assurance.NONE
        self._enough = frozenset(level for level in Assurance if level.at_least(settings.minimum_assurance))

    @property
    def keys_problem(self) -> str:
        """Why the key set cannot be used as it is now (the keys of before are), "" when it can."""
        return self._keys.problem

    @property
    def keys_age_s(self) -> float:
        """Seconds since the keys were last known to be what file or URL say; infinite before that."""
        return self._keys.age_s

    def refresh(self) -> None:
        """Follow the key set. Tokens verified with other keys than today's are forgotten."""
        if self._keys.refresh():
            self._verified.clear()

    def identify(self, request: Request) -> Subject:
        """The one subject that every credential of the request establishes. Raises Denied."""
        subject: Subject | None = None
        for text in self._presented(request):
            found = self._verify(_token(text))
            if subject is not None and found != subject:
                raise Denied(Reason.IDENTITY_AMBIGUOUS, "credentials of different subjects")
            subject = found
        if self._named_by and self._named_by in request.headers:
            subject = self._named(request.headers[self._named_by], subject)
        if subject is not None and (same := self._same()):
            subject = _renamed(subject, same)
        if self._certificates:
            subject = self._certified(request, subject)
        if subject is None:
            if self._settings.anonymous:
                return UNKNOWN
            raise Denied(Reason.IDENTITY_MISSING, "no credential")
        if subject.assurance not in self._enough:
            needed = self._settings.minimum_assurance
            raise Denied(Reason.IDENTITY_ASSURANCE, f"{subject.assurance} where {needed} is needed")
        return subject

    def _presented(self, request: Request) -> Iterator[str]:
        headers = request.headers
        if TOKEN_HEADER in headers:
            yield headers[TOKEN_HEADER]
        if request.method == "CONNECT" and "proxy-authorization" in headers:
            text = headers["proxy-authorization"]
            if not _is_bearer(text):
                raise Denied(Reason.IDENTITY_INVALID, "proxy-authorization: not Bearer")
            yield text
        # Anything but Bearer there is the upstream's matter.
        if self._settings.use_authorization and _is_bearer(headers.get("authorization", "")):
            yield headers["authorization"]

    def _named(self, name: str, subject: Subject | None) -> Subject:
        if subject is not None:
            if subject.agent_id != name:
                raise Denied(Reason.IDENTITY_AMBIGUOUS, "the development header names another agent")
            return subject
        if "," in name:
            raise Denied(Reason.IDENTITY_AMBIGUOUS, "the development header stands twice")
        return Subject(_agent(name), self._by_header)

    def _certified(self, request: Request, subject: Subject | None) -> Subject | None:
        """`subject` as the client certificate confirms it, or the workload that it names."""
        workload = self._certificates.workload(request)
        if not workload:
            return subject
        name = self._same().get(workload, workload)
        if subject is None:
            return Subject(name, self._by_certificate, principal=workload)
        if subject.agent_id != name:
            raise Denied(
                Reason.IDENTITY_AMBIGUOUS,
                f"the certificate says {name} and another credential {subject.agent_id}",
            )
        return replace(subject, assurance=self._by_certificate, principal=workload)

    def _verify(self, token: str) -> Subject:
        """The subject of a token that is valid now."""
        if len(token) > MAX_TOKEN or not token.isascii():
            raise Denied(Reason.IDENTITY_INVALID, "token: too long, or not ASCII")
        if self._keys.age_s > self._oldest_s:
            raise Denied(Reason.IDENTITY_KEYS_STALE, "the keys could not be read for too long")
        digest = hashlib.sha256(token.encode()).digest()
        verified = self._verified.get(digest)
        if verified is None:
            verified = self._open(token)
            self._check_time(verified)
            self._keep(digest, verified)
        else:
            self._check_time(verified)
            self._verified.move_to_end(digest)
        return verified.subject

    def _check_time(self, verified: _Verified) -> None:
        now = self._wall()
        if now >= verified.expires:
            raise Denied(Reason.IDENTITY_EXPIRED, "token: expired")
        if now < verified.not_before:
            raise Denied(Reason.IDENTITY_INVALID, "token: not valid yet")

    def _keep(self, digest: bytes, verified: _Verified) -> None:
        self._verified[digest] = verified
        if len(self._verified) > self._settings.token_cache:
            self._verified.popitem(last=False)

    def _open(self, token: str) -> _Verified:
        """What a token says whose signature is right, whenever it is valid."""
        if not _FORM.fullmatch(token):
            raise Denied(Reason.IDENTITY_INVALID, "token: not three parts in base64url")
        try:
            header = self._jws.get_unverified_header(token)
            key = self._keys.keys.get(_kid(header))
            if key is None:
                self._keys.missing()
                raise Denied(Reason.IDENTITY_INVALID, "token: no such key")
            payload = self._jws.decode_complete(token, key, [key.algorithm_name])["payload"]
        except PyJWTError:
            raise Denied(Reason.IDENTITY_INVALID, "token: its signature does not verify") from None
        try:
            claims = exact_json.parse(payload, _CLAIMS_DEPTH)
        except ValueError as error:
            raise Denied(Reason.IDENTITY_INVALID, f"token: claims: {error}") from None
        return self._read(claims, _kid(header))

    def _read(self, claims: Any, kid: str) -> _Verified:
        """Every claim that is required is there, has its type, and says what it must."""
        if not isinstance(claims, dict):
            raise Denied(Reason.IDENTITY_INVALID, "token: claims: not an object")
        settings = self._settings
        audience = claims.get("aud")
        if claims.get("iss") != settings.issuer:
            raise Denied(Reason.IDENTITY_INVALID, "token: another issuer")
        if audience != settings.audience and not (
            isinstance(audience, list) and settings.audience in audience
        ):
            raise Denied(Reason.IDENTITY_INVALID, "token: for another audience")
        if "cnf" in claims:
            raise Denied(Reason.IDENTITY_INVALID, "token: bound to a key (cnf) whose proof is not read here")
        issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
        not_before = max(issued, _seconds(claims, "nbf")) if "nbf" in claims else issued
        if not 0 < expires - issued <= settings.max_token_life_s:
            raise Denied(Reason.IDENTITY_INVALID, "token: valid for longer than is permitted, or never")
        subject = Subject(
            _agent(claims.get("sub")),
            self._by_token,
            chain=self._chain(claims.get("act")),
            claims={name: value for name, value in claims.items() if name not in _READ_HERE},
            session_id=_session(claims),
            key=kid,
        )
        return _Verified(not_before - settings.skew_s, expires + settings.skew_s, subject)

    def _chain(self, act: Any) -> tuple[str, ...]:
        """`act` (RFC 8693 section 4.1), unwrapped: the nearest first."""
        chain: list[str] = []
        while act is not None:
            if not isinstance(act, dict) or act.get("iss", self._settings.issuer) != self._settings.issuer:
                raise Denied(Reason.IDENTITY_INVALID, "token: act: not an actor of this issuer")
            if len(chain) == MAX_CHAIN:
                raise Denied(Reason.IDENTITY_INVALID, f"token: act: more than {MAX_CHAIN} actors")
            chain.append(_agent(act.get("sub")))
            act = act.get("act")
        return tuple(chain)


def _renamed(subject: Subject, same: Mapping[str, str]) -> Subject:
    """`subject` with its agents called what policy calls them."""
    name = same.get(subject.agent_id, subject.agent_id)
    chain = tuple(same.get(caller, caller) for caller in subject.chain)
    if name == subject.agent_id and chain == subject.chain:
        return subject
    return replace(subject, agent_id=name, chain=chain)


def _is_bearer(text: str) -> bool:
    return text[:7].lower() == "bearer "


def _token(text: str) -> str:
    """The token in a header's value. Two headers of one name arrive folded with a comma."""
    if "," in text:
        raise Denied(Reason.IDENTITY_AMBIGUOUS, "a credential stands twice")
    return text[7:].lstrip(" ") if _is_bearer(text) else text


def _kid(header: dict[str, Any]) -> str:
    """The name of the key, from a header that asks for nothing else."""
    if not header.keys() <= _HEADER:
        raise Denied(Reason.IDENTITY_INVALID, "token: header: a member that is not accepted")
    kind, kid = header.get("typ", "jwt"), header.get("kid")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Denied(Reason.IDENTITY_INVALID, "token: header: typ is another kind of token")
    if not isinstance(kid, str):
        raise Denied(Reason.IDENTITY_INVALID, "token: header: no kid")
    return kid


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or value < 0:
        raise Denied(Reason.IDENTITY_INVALID, f"token: {name}: not a whole number of seconds")
    return value


def _agent(name: Any) -> str:
    """A name that records can hold. `unknown` is theirs for nobody."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == UNKNOWN.agent_id:
        raise Denied(
            Reason.IDENTITY_INVALID, "an agent's name has up to 256 of A-Z a-z 0-9 . _ : / @ + = ~ | -"
        )
    return name


def _session(claims: dict[str, Any]) -> str:
    given = [claims[name] for name in ("sid", "session_id") if name in claims]
    if not given:
        return ""
    session = given[0]
    if not isinstance(session, str) or not _SESSION.fullmatch(session) or session != given[-1]:
        raise Denied(Reason.IDENTITY_INVALID, "token: session id: malformed, or two of them")
    return session

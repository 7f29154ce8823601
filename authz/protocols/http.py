"""The request line and the authority, read in exactly one way (DESIGN section 10).

In: text as Envoy gives it. Out: the normal form, or `Denied` with a `malformed_*` reason. Called by
`wire/extauthz.py` for every request. It must never repair what two readers could read differently: it
normalises only what RFC 3986 section 6.2.2 calls equivalent, and refuses the rest. No detail quotes the
agent's text.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from authz.errors import Denied
from authz.values import Reason

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_METHODS: Final = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT"))
_METHOD: Final = re.compile(r"[A-Z][A-Z_-]{0,31}")

_MAX_AUTHORITY: Final = 262  # 253 for a name, a trailing dot, brackets, a colon and five digits
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_NAME: Final = re.compile(
    r"(?!.{254})[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
# IPv6 that carries an IPv4 address: mapped and translated (RFC 6052, 8215), 6to4, Teredo.
_DISGUISES: Final = [
    ipaddress.IPv6Network(network)
    for network in "::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 2002::/16 2001::/32".split()
]

# Segments without escapes, path parameters or a leading dot: nothing about them can be read twice.
_PLAIN_PATH: Final = re.compile(r"/(?:[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*(?:/|\Z))*")
_PATH_TEXT: Final = re.compile(r"/[!-~]*")
_ESCAPE: Final = re.compile(r"%(.{0,2})", re.DOTALL)
_HEX: Final = re.compile(r"[0-9A-Fa-f]{2}")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DOUBLE_ESCAPE: Final = re.compile(r"%25[0-9A-Fa-f]{2}")
_QUERY: Final = re.compile(r"(?:[!\"$&-~]|%[0-9A-Fa-f]{2})*")
_HIGH_ESCAPE: Final = re.compile(r"%[89A-Fa-f]")


def check_method(method: str) -> None:
    """Methods are case-sensitive and some readers fold case: lower-case ones are refused."""
    if method not in _METHODS and not _METHOD.fullmatch(method):
        raise Denied(Reason.MALFORMED_REQUEST, "method: not upper-case letters")


def authority(text: str, scheme: str, *, connect: bool = False) -> tuple[str, int]:
    """Host and port. Lower-case, without a trailing dot; IPv6 in brackets and in its shortest form.

    The port is the scheme's own where none is named; CONNECT must name one.
    """
    if len(text) > _MAX_AUTHORITY:
        raise Denied(Reason.MALFORMED_HOST, "authority: too long")
    read = _authority(text)
    if isinstance(read, str):
        raise Denied(Reason.MALFORMED_HOST, f"authority: {read}")
    host, port = read
    if port:
        return read
    default = 0 if connect else DEFAULT_PORTS.get(scheme, 0)
    if not default:
        raise Denied(Reason.MALFORMED_HOST, "authority: no port, and none follows from the scheme")
    return host, default


@lru_cache(maxsize=4096)
def _authority(text: str) -> tuple[str, int] | str:
    """Host and port (0 when there is none), or what is wrong."""
    if not text.isascii():
        return "not ASCII (an IDN travels as xn--)"
    found = _AUTHORITY.fullmatch(text.lower())
    if not found:
        return "not a host with an optional port"
    host, port = found.groups()
    name = _literal(host) if host.startswith("[") else _name(host)
    if not name:
        return "not a host name, nor an address in its usual form"
    if port is not None and (port.startswith("0") or int(port) > 65535):
        return "not a port"
    return name, int(port or 0)


def _literal(host: str) -> str:
    """`[IPv6]` in its shortest form; "" where it is none, or an IPv4 address in disguise."""
    try:
        address = ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return ""
    disguised = 0 < int(address) >> 16 < 1 << 16 or any(address in network for network in _DISGUISES)
    return "" if disguised else f"[{address}]"


def _name(host: str) -> str:
    """A name or a plain IPv4 address; "" for what some resolvers read as a number (`0x7f.1`, `017.0.0.1`)."""
    host = host.removesuffix(".")
    if not _NAME.fullmatch(host):
        return ""
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            return ""
    return host


def check_server_name(sni: str, host: str) -> None:
    """TLS was opened to the same name that the request is for."""
    if sni.lower().removesuffix(".") != host:
        raise Denied(Reason.MALFORMED_HOST, "SNI and host differ")


def path(text: str, method: str) -> str:
    """The path's normal form: escapes that are not needed undone, the others in upper case.

    Refused: `%2f`, `%5c`, dot segments (also `..;`), empty segments, escaped `%` before two hex digits,
    broken escapes, controls, backslash, `#`, anything not ASCII, absolute-form.
    """
    if _PLAIN_PATH.fullmatch(text):
        return text
    if (method == "OPTIONS" and text == "*") or (method == "CONNECT" and text == ""):
        return text
    if not _PATH_TEXT.fullmatch(text):
        raise Denied(Reason.MALFORMED_PATH, "path: not / followed by visible ASCII")
    if "\\" in text or "#" in text:
        raise Denied(Reason.MALFORMED_PATH, "path: backslash or fragment")
    if "%" in text:
        text = _unescape(text)
    _check_segments(text)
    return text


def _unescape(text: str) -> str:
    text = _ESCAPE.sub(_normal_escape, text)
    if _DOUBLE_ESCAPE.search(text):
        raise Denied(Reason.MALFORMED_PATH, "path: escaped twice")
    if _HIGH_ESCAPE.search(text):
        _check_utf8(text, Reason.MALFORMED_PATH, "path")
    return text


def _normal_escape(found: re.Match[str]) -> str:
    digits = found[1]
    if not _HEX.fullmatch(digits):
        raise Denied(Reason.MALFORMED_PATH, "path: broken escape")
    code = int(digits, 16)
    if code < 0x20 or code == 0x7F:
        raise Denied(Reason.MALFORMED_PATH, "path: escaped control byte")
    if code in (0x2F, 0x5C):
        raise Denied(Reason.MALFORMED_PATH, "path: escaped slash")
    return chr(code) if chr(code) in _UNRESERVED else f"%{digits.upper()}"


def _check_segments(text: str) -> None:
    segments = text[1:].split("/")
    if "" in segments[:-1]:
        raise Denied(Reason.MALFORMED_PATH, "path: empty segment")
    for segment in segments:
        # Some readers cut path parameters off first, some of them after they have undone escapes.
        if segment.replace("%3B", ";").partition(";")[0] in (".", ".."):
            raise Denied(Reason.MALFORMED_PATH, "path: dot segment")


def check_query(query: str) -> None:
    """Visible ASCII and whole escapes of UTF-8 text. What separates its members is for policy to read."""
    if not query:
        return
    if not _QUERY.fullmatch(query):
        raise Denied(Reason.MALFORMED_QUERY, "query: broken escape, control byte, or not ASCII")
    if "%00" in query:
        raise Denied(Reason.MALFORMED_QUERY, "query: escaped NUL")
    if _HIGH_ESCAPE.search(query):
        _check_utf8(query, Reason.MALFORMED_QUERY, "query")


def _check_utf8(text: str, reason: Reason, what: str) -> None:
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Denied(reason, f"{what}: escapes that are not UTF-8") from None

"""Header names and values, read in exactly one way.

In: names and values as Envoy gives them, in order. Out: a dict of lower-case names, or `Denied` with
`malformed_headers`. Called by `wire/extauthz.py` for every request. No detail quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from authz.errors import Denied
from authz.values import Reason

# Names that this program, or Envoy for it, acts upon: each may be there once.
SINGLE: Final = frozenset(
    ":authority :method :path :scheme :protocol host content-type content-length content-encoding "
    "transfer-encoding upgrade authorization proxy-authorization x-aegis-agent-token x-aegis-decision-id "
    "x-envoy-auth-partial-body x-request-id".split()
)
OURS: Final = "x-aegis-"
_NAMES: Final = re.compile(r"[:a-z0-9!#$%&'*+.^_`|~\n-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def headers(names: Sequence[str], values: Sequence[str], count: int, size: int) -> dict[str, str]:
    """One value per name, several folded with ",". At most `count` headers and `size` characters."""
    if len(names) > count:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: too many")
    joined = "\n".join(names)
    text = "".join(values)
    if len(joined) + len(text) > size:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: too large")
    if not text.isprintable() and _CONTROL.search(text):
        raise Denied(Reason.MALFORMED_HEADERS, "headers: control byte in a value")
    if names and not _NAMES.fullmatch(joined):
        joined = joined.lower()
        names = [name.lower() for name in names]
        _check_names(joined, names)
    if "_" in joined:
        _check_underscores(names)
    found = dict(zip(names, values, strict=True))
    if len(found) != len(names):
        return _folded(names, values)
    return found


def _check_names(joined: str, names: Sequence[str]) -> None:
    if not _NAMES.fullmatch(joined) or joined.count("\n") != len(names) - 1 or "" in names:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: not a header name")


def _check_underscores(names: Sequence[str]) -> None:
    """A CGI or WSGI upstream reads `x_aegis_agent_token` and `x-aegis-agent-token` as the same header."""
    present = frozenset(names)
    for name in names:
        if "_" in name:
            meant = name.replace("_", "-")
            if meant in present or meant in SINGLE or meant.startswith(OURS):
                raise Denied(Reason.MALFORMED_HEADERS, "headers: an underscore where a dash may be read")


def _folded(names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in zip(names, values, strict=True):
        if name not in found:
            found[name] = value
        elif name in SINGLE or name.startswith(OURS):
            raise Denied(
                Reason.MALFORMED_HEADERS,
                f"headers: {name} stands twice" if name in SINGLE else "headers: a name of ours stands twice",
            )
        else:
            found[name] = f"{found[name]},{value}"
    return found

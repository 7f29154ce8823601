"""`x-forwarded-client-cert` as Envoy writes it: who the last hop before us says its client is.

In: the header's value. Out: the one URI of the last element. Called by `jwt.py`, and only with
`identity.trust_xfcc`: elements before the last were written by others, perhaps by the agent, so nothing of
them counts, but all of them must have the form, or a quote opened in one would swallow what follows.

    value    = element *("," element)
    element  = pair *(";" pair)
    pair     = name "=" (plain / quoted)      By, Hash, Cert, Chain, Subject, URI, DNS; in any case
    plain    = *(any but , ; = " and \\)      a URI's "=" would be quoted
    quoted   = DQUOTE *(any but DQUOTE and \\ / "\\" any) DQUOTE
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 16384  # characters: two certificates, URL-encoded
_PAIR: Final = re.compile(r'([A-Za-z]+)=(?:([^,;="\\]*)|"((?:[^"\\]|\\.)*)")(?=([,;]|\Z))', re.DOTALL)
_NAMES: Final = frozenset("by hash cert chain subject uri dns".split())


def last_uri(value: str) -> str:
    """The URI of the last element, "" when it has none. Raises ValueError for another form, or two URIs."""
    if len(value) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    uris: list[str] = []
    place = 0
    while True:
        pair = _PAIR.match(value, place)
        if pair is None or pair[1].lower() not in _NAMES:
            raise ValueError("not in the form of x-forwarded-client-cert")
        if pair[1].lower() == "uri":
            uris.append(pair[2] if pair[3] is None else re.sub(r"\\(.)", r"\1", pair[3], flags=re.DOTALL))
        if not pair[4]:
            break
        if pair[4] == ",":
            uris.clear()
        place = pair.end() + 1
    if len(uris) > 1:
        raise ValueError("several URIs in one element")
    return uris[0] if uris else ""

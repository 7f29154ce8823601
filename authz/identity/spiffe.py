"""SPIFFE ids (SPIFFE-ID specification, section 2), read as strictly as the specification writes them.

In: text that a transport claims. Out: the same text, once it names a workload. Called by `jwt.py` for the
downstream certificate's identity, by `config.py`'s users for pinned ones. It must never repair: what does not
have the form is nobody.

    spiffe://<trust domain>/<segment>[/<segment>...]
    trust domain    1 to 255 of a-z 0-9 . - _            no user, no port
    segment         1 or more of A-Z a-z 0-9 . - _       not `.` or `..`, nothing escaped, no `/` at the end
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 256  # characters: what an agent's name may have (the specification permits 2048 bytes)
_WORKLOAD: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+)")


def trust_domain(spiffe_id: str) -> str:
    """The trust domain of a workload's id. Raises ValueError for whatever is not exactly one.

    An id without a path is a trust domain's own, which no workload may carry (X509-SVID section 5.2).
    """
    found = _WORKLOAD.fullmatch(spiffe_id) if len(spiffe_id) <= LONGEST else None
    if found is None:
        raise ValueError("not the SPIFFE id of a workload")
    return found[1]

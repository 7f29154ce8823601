"""W3C Trace Context: which trace a decision belongs to and which span is its parent.

In: `traceparent` texts. Out: ids and the sampled flag. Called by `wire/extauthz.py`. A text that is not a
valid traceparent counts as absent, as the specification (section 3.2) demands; it never fails a request.
"""

from __future__ import annotations

import re
from typing import Final

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(-.*)?"
)


def traceparent(text: str) -> tuple[str, str, bool] | None:
    """(trace id, span id, sampled) of a valid traceparent of any version.

    >>> traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ('0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', True)
    """
    found = _TRACEPARENT.fullmatch(text)
    if not found:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if more is not None and version == "00":
        return None
    return trace_id, span_id, int(flags, 16) % 2 == 1

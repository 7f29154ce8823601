"""What names in a ShadowScope may be, wherever somebody writes one, so that the control log can hold them.

In: a name, a scope. Out: the same, or ValueError. Called for the settings (`config_shadow.py`) and for a
version's data (`policy/shadow.py`): what both name together is one `shadow` event, and has to fit it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from authz.values import ShadowScope

MOST: Final = 32  # agents, and rules, of each of the two: together they fit a list of an entry
MAX_NAME: Final = 255  # characters
MAX_BYTES: Final = 5800  # agents and rules of one of the two, as they are encoded


def name(text: str) -> str:
    """Raises ValueError."""
    if not 0 < len(text) <= MAX_NAME or not text.isprintable():
        raise ValueError(f"not a printable name of 1 to {MAX_NAME} characters")
    return text


def fitting(scope: ShadowScope) -> ShadowScope:
    """Raises ValueError."""
    size = len(msgspec.json.encode([scope.agents, scope.rules]))
    if size > MAX_BYTES:
        raise ValueError(f"agents and rules take {size} bytes, over the limit of {MAX_BYTES}")
    return scope

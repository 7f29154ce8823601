"""What a policy version says of itself is in shadow: the document `shadow` of its data.

    all: true                                      all that this version would deny
    agents: [billing-agent]                        what it would deny these
    rules: [agent-limits, matrix/export/internal]  what these rules of it would deny

In: the data of a bundle. Out: a ShadowScope. Called by `version.py`; the result travels in the manifest, so
it holds for exactly the version that says so, from the moment at which that is active.
"""

from __future__ import annotations

from typing import Any, Final

from authz import shadow_names
from authz.errors import PolicyRejected
from authz.shadow_names import MOST
from authz.values import ShadowScope

_MEMBERS: Final = ("all", "agents", "rules")


def shadow_of(data: Any) -> ShadowScope:
    """Raises PolicyRejected for another form, and for an agent that the data does not know."""
    said = data.get("shadow") if isinstance(data, dict) else None
    if said is None:
        return ShadowScope()
    if not isinstance(said, dict) or said.keys() - set(_MEMBERS):
        raise PolicyRejected(f"shadow: not an object of {', '.join(_MEMBERS)}")
    if type(said.get("all", False)) is not bool:
        raise PolicyRejected("shadow/all: neither true nor false")
    agents, rules = _names(said, "agents"), _names(said, "rules")
    known = data.get("agents")
    for name in agents if isinstance(known, dict) else ():
        if name not in known:
            raise PolicyRejected(f"shadow/agents: {name} is no agent of the data")
    try:
        return shadow_names.fitting(ShadowScope(said.get("all", False), agents, rules))
    except ValueError as error:
        raise PolicyRejected(f"shadow: {error}") from None


def _names(said: dict[str, Any], member: str) -> tuple[str, ...]:
    names = said.get(member, [])
    if not isinstance(names, list) or len(names) > MOST:
        raise PolicyRejected(f"shadow/{member}: not a list of at most {MOST} names")
    try:
        return tuple(sorted({shadow_names.name(name) for name in names}))
    except (ValueError, TypeError):
        raise PolicyRejected(
            f"shadow/{member}: one is not a printable name of 1 to {shadow_names.MAX_NAME} characters"
        ) from None

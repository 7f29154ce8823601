"""By which other identities policy data knows its agents: `agents.NAME.identities`.

In: the data of a bundle. Out: agents' names by identity. Called by `version.py`; the result travels in the
manifest, so that the worker needs no question to read a certificate's SPIFFE id and a token's `sub` as one
agent, and it holds for exactly the version that says so. It must never let one identity be two agents.
"""

from __future__ import annotations

import re
from typing import Any, Final

from authz.errors import PolicyRejected

MOST: Final = 10_000  # of all agents: the worker reads them with every look at the active version
_IDENTITY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=~|-]{0,255}")


def identities_of(data: Any) -> dict[str, str]:
    """Raises PolicyRejected, naming the agent whose identities are malformed or another agent's too."""
    agents = data.get("agents") if isinstance(data, dict) else None
    if not isinstance(agents, dict):
        return {}
    found: dict[str, str] = {}
    for name, agent in agents.items():
        listed = agent.get("identities", []) if isinstance(agent, dict) else []
        if not isinstance(listed, list):
            raise PolicyRejected(f"agents/{name}/identities: not a list")
        for identity in listed:
            if not isinstance(identity, str) or not _IDENTITY.fullmatch(identity) or identity == "unknown":
                raise PolicyRejected(f"agents/{name}/identities: one is not a name")
            if identity in agents or found.get(identity, name) != name:
                raise PolicyRejected(f"agents/{name}/identities: {identity} is another agent, too")
            found[identity] = name
    if len(found) > MOST:
        raise PolicyRejected(f"agents: over {MOST} identities")
    return found

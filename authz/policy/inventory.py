"""Which agents policy knows, and what each of them may do, read from the data for people.

In: `agents`, `tools` and `destinations` of a source directory or of a published version. Out: agents by name,
or PolicyRejected. Called by `aegis agents`. It says what the data grants; whether one request is allowed
(arguments, chain, the matrix) is decided by the Rego, which never sees this reading.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec import Struct

from authz.errors import PolicyRejected
from authz.policy.identities import identities_of
from authz.policy.opa_tool import OpaTool

_MEMBERS: Final = ("agents", "tools", "destinations")
_TESTS: Final = "*_test.rego"


class Grant(Struct, frozen=True):
    """One tool of one agent. `limits`: arguments with tighter bounds than the tool's own."""

    tool: str
    category: str = "unknown"
    sensitivity: str = "unknown"
    destinations: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


class Known(Struct, frozen=True):
    """One agent of the data."""

    description: str
    delegated_only: bool
    identities: tuple[str, ...]  # other names of the same agent
    grants: tuple[Grant, ...]


def of_source(source: Path) -> dict[str, Known]:
    """The agents of a version made of the directory `source`, as OPA reads it."""
    query = f"{{name: value | some name in {orjson.dumps(_MEMBERS).decode()}; value := data[name]}}"
    arguments = ["eval", "--format", "json", "--bundle", ".", "--ignore", _TESTS, query]
    found = OpaTool().json(arguments, source).get("result")
    return read(found[0]["expressions"][0]["value"] if found else None, str(source))


def of_bundle(bundle: Path) -> dict[str, Known]:
    """The agents of a published version. Its signature is OPA's to check, not ours."""
    try:
        with tarfile.open(bundle, "r:gz") as tar:
            member = next((item for item in tar if item.name.lstrip("/") == "data.json"), None)
            stream = tar.extractfile(member) if member else None
            tree = orjson.loads(stream.read()) if stream else {}
    except (tarfile.TarError, EOFError, OSError, orjson.JSONDecodeError) as error:
        raise PolicyRejected(f"{bundle}: not a bundle: {error}") from None
    return read(tree, str(bundle))


def read(tree: Any, where: str) -> dict[str, Known]:
    """The agents in `tree` by name, in order. Raises PolicyRejected for data of another form."""
    agents, tools, destinations = (tree.get(name) if isinstance(tree, dict) else None for name in _MEMBERS)
    if not isinstance(agents, dict):
        raise PolicyRejected(f"{where}: no data.agents, or none of the default library's form")
    identities_of(tree)
    try:
        reach = _reach(destinations if isinstance(destinations, dict) else {})
        return {name: _known(agents[name], tools or {}, reach) for name in sorted(agents)}
    except (AttributeError, TypeError):
        raise PolicyRejected(
            f"{where}: agents, tools or destinations: not of the default library's form"
        ) from None


def _known(agent: dict[str, Any], tools: dict[str, Any], reach: dict[str, set[str]]) -> Known:
    return Known(
        description=str(agent.get("description", "")),
        delegated_only=agent.get("delegated_only") is True,
        identities=tuple(agent.get("identities", ())),
        grants=tuple(
            Grant(
                tool,
                category=tools.get(tool, {}).get("category", "unknown"),
                sensitivity=tools.get(tool, {}).get("sensitivity", "unknown"),
                destinations=tuple(sorted(reach.get(tool, ()))),
                limits=tuple(sorted(own.get("arguments", {}))),
            )
            for tool, own in sorted(agent.get("tools", {}).items())
        ),
    )


def _reach(destinations: dict[str, Any]) -> dict[str, set[str]]:
    """Hosts by the tools that their routes, or Envoy's, may name."""
    reach: dict[str, set[str]] = {}
    for host, destination in destinations.items():
        for tool in _tools_at(destination):
            reach.setdefault(tool, set()).add(host)
    return reach


def _tools_at(destination: Any) -> Iterator[str]:
    if isinstance(destination, dict):
        for routes in destination.get("routes", {}).values():
            yield from routes.values()
        for endpoint in destination.get("mcp", {}).values():
            yield from endpoint.get("tools", {}).values()
            yield from endpoint.get("methods", {}).values()
            yield endpoint.get("session", "")
        yield from destination.get("named", ())

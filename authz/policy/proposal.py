"""What the policy's data would have to say for requests that it did not permit: a diff for people to judge.

In: the kinds of requests with their counts, a source directory in the default library's form. Out: a
Proposal: notes and a unified diff. Called by `aegis policy propose`; nothing is written. What only a person
can know of a new tool (category, sensitivity) says `decide`, and with that no version passes the library's
tests.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from msgspec import Struct

from authz.errors import PolicyRejected
from authz.policy.yaml_text import put

DECIDE: Final = "decide"
_FILES: Final = ("agents", "destinations", "tools")
_AGENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}")
_HOST: Final = re.compile(r"[a-z0-9_\[][a-z0-9._:\]-]{0,199}")
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~:@=+,%*-]*)+")
_ONE_THING: Final = re.compile(r"^(?!v[0-9]{1,3}$).*[0-9\[]")  # a digit, or a mask; no `v1`
_UNNAMED: Final = ("", "http", "unknown")  # what a record calls a tool that policy has no name for


class Wish(Struct, frozen=True, order=True):
    """A kind of request: who wants what where, for which reason it was not permitted, and how often."""

    agent: str
    method: str
    host: str
    port: int
    path: str
    tool: str
    reason: str
    count: int


class Proposal(Struct, frozen=True):
    """`notes`: what each part of the `diff` is for; `left_out`: what cannot be written as data."""

    notes: tuple[str, ...]
    diff: str
    left_out: tuple[str, ...]


def propose(source: Path, wishes: Iterable[Wish]) -> Proposal:
    """Raises PolicyRejected for data of another form, OSError."""
    data = _Data(source)
    left = [wish for wish in sorted(wishes, key=lambda wish: (-wish.count, wish)) if not data.grant(wish)]
    notes = tuple(f"{count} requests: {note}" for note, count in data.notes.items())
    return Proposal(notes, "".join(data.diff()), tuple(f"{wish.count} of {wish.agent}" for wish in left))


class _Data:
    """The three files, as they would be."""

    def __init__(self, source: Path) -> None:
        self._files = {name: source / name / "data.yaml" for name in _FILES}
        self._before = {name: file.read_text() for name, file in self._files.items()}
        self._texts = dict(self._before)
        self.notes: dict[str, int] = {}

    def tree(self, name: str) -> Mapping[str, Any]:
        try:
            found = yaml.safe_load(self._texts[name])
        except yaml.YAMLError as error:
            raise PolicyRejected(f"{self._files[name]}: {error}") from None
        if not isinstance(found, dict):
            raise PolicyRejected(f"{self._files[name]}: not of the default library's form")
        return found

    def grant(self, wish: Wish) -> bool:
        """Add what `wish` lacks; False for names that the data cannot have."""
        path = general(wish.path)
        named = _AGENT.fullmatch(wish.agent) and _HOST.fullmatch(wish.host) and _METHOD.fullmatch(wish.method)
        if not named or not _PATH.fullmatch(path):
            return False
        before, note = dict(self._texts), _note(wish, path)
        try:
            tool = self._route(wish, path)
            self._tool(wish, tool)
            self._agent(wish, tool)
        except (AttributeError, TypeError):
            raise PolicyRejected("agents, destinations, tools: not of the default library's form") from None
        if self._texts != before or note in self.notes:
            self.notes[note] = self.notes.get(note, 0) + wish.count
        return True

    def diff(self) -> Iterator[str]:
        for name, file in self._files.items():
            before, now = (texts[name].splitlines(keepends=True) for texts in (self._before, self._texts))
            yield from difflib.unified_diff(before, now, str(file), str(file))

    def _route(self, wish: Wish, path: str) -> str:
        """The tool that the request is at its destination; a route to it where there is none."""
        destination = self.tree("destinations").get(wish.host)
        routes = (destination or {}).get("routes", {}).get(wish.method, {})
        for route, tool in routes.items():
            if _matches(route, wish.path) or route == path:
                return str(tool)
        tool = (
            wish.tool
            if wish.tool not in _UNNAMED and wish.tool in self.tree("tools")
            else self._name(wish, path)
        )
        if destination is None:
            self._put(
                "destinations",
                (),
                wish.host,
                {"ports": [wish.port], "routes": {wish.method: {path: tool}}},
            )
            return tool
        if wish.port not in destination.get("ports", []):
            return tool
        at = (wish.host, "routes")
        if "routes" not in destination:
            self._put("destinations", at[:1], "routes", {wish.method: {path: tool}})
        elif wish.method not in destination["routes"]:
            self._put("destinations", at, wish.method, {path: tool})
        else:
            self._put("destinations", (*at, wish.method), path, tool)
        return tool

    def _tool(self, wish: Wish, tool: str) -> None:
        if tool not in self.tree("tools"):
            self._put("tools", (), tool, {"category": DECIDE, "sensitivity": DECIDE})

    def _agent(self, wish: Wish, tool: str) -> None:
        agent = self.tree("agents").get(wish.agent)
        if agent is None:
            self._put("agents", (), wish.agent, {"tools": {tool: {}}})
        elif tool not in agent["tools"]:
            self._put("agents", (wish.agent, "tools"), tool, {})

    def _put(self, name: str, path: tuple[str, ...], member: str, value: Any) -> None:
        self._texts[name] = put(self._texts[name], path, member, value)

    def _name(self, wish: Wish, path: str) -> str:
        """A name for a tool that nobody named: the host's first label, the last plain segment, the method."""
        words = [part for part in path.split("/") if part and part != "*"]
        parts = (wish.host.partition(".")[0], words[-1] if words else "root", wish.method)
        name = ".".join(re.sub(r"[^a-z0-9-]+", "-", part.lower()).strip("-") or "x" for part in parts)
        known, number = self.tree("tools"), 1
        while name in known:
            number += 1
            name = f"{name.partition('~')[0].rstrip('0123456789')}{number}"
        return name


def _note(wish: Wish, path: str) -> str:
    return f"{wish.agent} {wish.method} {wish.host}:{wish.port}{path}, denied {wish.reason}"


def general(path: str) -> str:
    """A recorded path as a route: segments that name one thing (a digit in them, or masked) are `*`."""
    segments = (path or "/").split("/")
    return "/".join("*" if _ONE_THING.search(segment) else segment for segment in segments)


def _matches(route: str, path: str) -> bool:
    pattern = "/".join("[^/]+" if part == "*" else re.escape(part) for part in route.split("/"))
    return re.fullmatch(pattern, path) is not None

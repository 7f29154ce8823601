"""What is in shadow: whose denials are recorded as `would_block` and not enforced.

In: what the settings say, and what each policy version says of itself (its data's `shadow`). Out: whether a
verdict is covered. Called by `rule.py` for what policy did not allow, and told by the worker of versions and
settings as they change. Nothing that a request carries switches it: it goes by the version that decided, by
the rule that did, and by agents' verified names.

    in force for a version  =  its own scope  +  the settings' scope;  all of it where they name the version

An agent is in shadow only together with everyone that it acts for: nobody gains by calling through it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from authz.values import ShadowScope, Subject, Verdict

MAX_VERSIONS: Final = 16  # whose verdicts may still be ruled: those of a version just left, and some more
NOTHING: Final = ShadowScope()


class _InForce(Struct, frozen=True):
    everything: bool
    rules: frozenset[str]
    agents: frozenset[str]


class Shadow:
    """Starts with nothing in shadow."""

    def __init__(self, settings: ShadowScope = NOTHING, versions: Iterable[str] = ()) -> None:
        self._settings, self._named = settings, frozenset(versions)
        self._versions: dict[str, tuple[str, ShadowScope]] = {}  # by digest, the newest last
        self._in_force: dict[str, _InForce] = {}  # by digest, of those that have something in shadow

    def covers(self, verdict: Verdict, subject: Subject) -> bool:
        """Whether this verdict, of an engine, is in shadow for this subject."""
        found = self._in_force.get(verdict.policy_digest)
        if found is None:
            return False
        if found.everything or verdict.rule in found.rules:
            return True
        return subject.agent_id in found.agents and found.agents.issuperset(subject.chain)

    def activated(self, version: str, digest: str, scope: ShadowScope) -> None:
        """A policy version became active; it says `scope` of itself."""
        self._versions.pop(digest, None)
        self._versions[digest] = (version, scope)
        if len(self._versions) > MAX_VERSIONS:
            del self._versions[next(iter(self._versions))]
        self._rebuild()

    def configure(self, settings: ShadowScope, versions: Iterable[str]) -> None:
        """The settings say this from now on."""
        self._settings, self._named = settings, frozenset(versions)
        self._rebuild()

    @property
    def scope(self) -> ShadowScope:
        """What is in shadow under the version that became active last, names in order."""
        return self._scope(*next(reversed(self._versions.values()), ("", NOTHING)))

    def _scope(self, version: str, own: ShadowScope) -> ShadowScope:
        said = self._settings
        if own.all or said.all or version in self._named:
            return ShadowScope(all=True)
        agents, rules = {*own.agents, *said.agents}, {*own.rules, *said.rules}
        return ShadowScope(agents=tuple(sorted(agents)), rules=tuple(sorted(rules)))

    def _rebuild(self) -> None:
        scopes = {digest: self._scope(*said) for digest, said in self._versions.items()}
        self._in_force = {
            digest: _InForce(scope.all, frozenset(scope.rules), frozenset(scope.agents))
            for digest, scope in scopes.items()
            if scope != NOTHING
        }

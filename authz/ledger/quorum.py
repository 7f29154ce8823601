"""Which witnesses must agree: a policy file of c2sp.org/tlog-policy.

    log <vkey> [<url>]                                not used here: log keys are pinned by prefix
    witness <name> <vkey> [<url>]
    group <name> <all | any | number> <name>...       of witnesses and groups defined above
    quorum <name>                                     exactly one line

In: the file's bytes, or the same lines in `trust.json`. Out: a Policy, or ValueError with the line that is
wrong. Called by the verifier (whose dates count) and by the follower (whom to ask, at `url`). `quorum none`
is refused: then nobody would have to agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from authz.ledger import cosignatures
from authz.ledger.cosignatures import Witness
from authz.ledger.notes import Checkpoint

MAX_POLICY: Final = 1 << 16  # bytes
MAX_MEMBERS: Final = 64  # witnesses, and groups, each
_ALLOWED: Final = re.compile(rb"[\x09\x0a\x20-\x7e\x80-\xff]*")
_SPACES: Final = re.compile(r"[ \t]+")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}")


class Group(Struct, frozen=True):
    """`need` of `members` (names of the policy) must agree."""

    need: int
    members: tuple[str, ...]


class Policy(Struct, frozen=True):
    """`witnesses` and `urls` by the names that the policy gives them; `groups` only name what is above."""

    witnesses: dict[str, Witness]
    urls: dict[str, str]
    groups: dict[str, Group]
    quorum: str

    def times(self, checkpoint: Checkpoint) -> dict[str, int]:
        """Who cosigned `checkpoint`, and when (POSIX seconds). Raises ValueError for a forged line."""
        found = {name: cosignatures.cosigned(checkpoint, witness) for name, witness in self.witnesses.items()}
        return {name: time for name, time in found.items() if time is not None}

    def met_at(self, times: Mapping[str, int]) -> int | None:
        """The earliest time at which those who had cosigned by then make up the quorum; None if never."""
        for moment in sorted(times.values()):
            if self._agrees(self.quorum, {name for name, time in times.items() if time <= moment}):
                return moment
        return None

    def lines(self) -> list[str]:
        """The policy as a verifier needs it: without logs and addresses."""
        said = [f"witness {name} {witness.vkey}" for name, witness in self.witnesses.items()]
        said += [
            f"group {name} {group.need} {' '.join(group.members)}" for name, group in self.groups.items()
        ]
        return [*said, f"quorum {self.quorum}"]

    def _agrees(self, name: str, cosigners: set[str]) -> bool:
        if name in self.witnesses:
            return name in cosigners
        group = self.groups[name]
        return sum(self._agrees(member, cosigners) for member in group.members) >= group.need


def parse(data: bytes) -> Policy:
    """Raises ValueError naming the line (1-based)."""
    if len(data) > MAX_POLICY:
        raise ValueError(f"longer than {MAX_POLICY} bytes")
    if not _ALLOWED.fullmatch(data):
        raise ValueError("a control character other than tab and newline")
    reading = _Reading()
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = [word for word in _SPACES.split(line) if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            reading.take(words)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return reading.policy()


class _Reading:
    """A policy as far as it was read."""

    def __init__(self) -> None:
        self._witnesses: dict[str, Witness] = {}
        self._urls: dict[str, str] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()  # names that stand in a group already
        self._quorum = ""

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", _] | ["log", _, _]:
                return
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._witness(name, vkey, *words[3:])
            case ["group", name, need, *members] if members:
                self._group(name, need, members)
            case ["quorum", name]:
                self._take_quorum(name)
            case _:
                raise ValueError("not log, witness, group or quorum with what belongs to it")

    def policy(self) -> Policy:
        if not self._quorum:
            raise ValueError("no quorum line")
        return Policy(self._witnesses, self._urls, self._groups, self._quorum)

    def _witness(self, name: str, vkey: str, url: str = "") -> None:
        self._fresh(name, self._witnesses)
        witness = cosignatures.parse_vkey(vkey)
        if any(witness.public == other.public for other in self._witnesses.values()):
            raise ValueError("the key of another witness again")
        self._witnesses[name] = witness
        if url:
            self._urls[name] = url

    def _group(self, name: str, need: str, members: list[str]) -> None:
        self._fresh(name, self._groups)
        for member in members:
            self._known(member)
            if member in self._members:
                raise ValueError(f"{member} is in a group already")
            self._members.add(member)
        numbers = {"all": len(members), "any": 1}
        count = int(need) if _NUMBER.fullmatch(need) else numbers.get(need, 0)
        if not 1 <= count <= len(members):
            raise ValueError(f"{need}: not all, any or a number up to {len(members)}")
        self._groups[name] = Group(count, tuple(members))

    def _take_quorum(self, name: str) -> None:
        if self._quorum:
            raise ValueError("a second quorum line")
        if name == "none":
            raise ValueError("quorum none: nobody would have to agree")
        self._known(name)
        self._quorum = name

    def _fresh(self, name: str, among: Mapping[str, object]) -> None:
        if name in self._witnesses or name in self._groups or name == "none":
            raise ValueError(f"{name} has a meaning already")
        if len(among) >= MAX_MEMBERS:
            raise ValueError(f"more than {MAX_MEMBERS} of them")

    def _known(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise ValueError(f"{name} is not defined above")

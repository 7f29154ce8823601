"""What somebody wants erased, whom it concerns, and what the ledger may say about it.

In: a wish; then entries and disclosures. Out: whether they are meant; the members of the `erasure` event,
which never hold the value itself. No file here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from authz.ledger.disclosures import form

MAX_NAMED: Final = 64  # logs that the event names; if there are more, none is named


class Wish(Struct, frozen=True):
    """What is to be erased: `by` agent or subject `value`, or by time alone; from `start` (RFC 3339 in UTC,
    six decimals) up to and without `end`, "" for no bound.

    Of an agent are also decisions on requests in whose chain it stands. A subject is a text that stands as a
    whole in a disclosure, as a value or a member's name: a name, an address, an id.
    """

    by: Literal["agent", "subject", "time"]
    value: str
    start: str
    end: str
    who: str
    why: str

    def concerns(self, entry: Mapping[str, Any]) -> bool:
        """Whether what explains this entry may be meant, as far as the entry tells."""
        at = str(entry.get("timestamp"))
        if (self.start and at < self.start) or (self.end and at >= self.end):
            return False
        if self.by != "agent":
            return True
        chain = entry.get("agent_chain")
        return self.value == entry.get("agent_id") or (isinstance(chain, list) and self.value in chain)

    def means(self, sd: Iterable[str]) -> bool:
        """Whether the disclosures of an entry that it concerns are meant."""
        return self.by != "subject" or any(_holds(form.parse(text).value, self.value) for text in sd)


class Plan(Struct, frozen=True):
    """A wish on its way. `salt` keeps its value from being guessed; `said`: the event is durable."""

    erasure_id: str
    salt: str
    wish: Wish
    said: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of salt, a line break, and the value or the range of time."""
        wish = self.wish
        what = wish.value if wish.by != "time" else f"{wish.start}/{wish.end}"
        return hashlib.sha256(f"{self.salt}\n{what}".encode()).hexdigest()

    def event(self, count: int, logs: Sequence[str]) -> dict[str, Any]:
        """The members of the `erasure` event: `count` disclosures of `logs`."""
        wish = self.wish
        members: dict[str, Any] = {
            "erasure_id": self.erasure_id,
            "who": wish.who,
            "why": wish.why,
            "by": wish.by,
            "value_digest": self.digest,
            "count": count,
        }
        optional = {"from": wish.start, "to": wish.end, "logs": list(logs) if len(logs) <= MAX_NAMED else []}
        return members | {name: said for name, said in optional.items() if said}


def _holds(value: Any, text: str) -> bool:
    """Whether `text` stands in a JSON value as a whole."""
    if isinstance(value, dict):
        return any(name == text or _holds(item, text) for name, item in value.items())
    if isinstance(value, list):
        return any(_holds(item, text) for item in value)
    if isinstance(value, str):
        return value == text
    return type(value) in (int, float) and repr(value) == text

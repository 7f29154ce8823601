"""What the entries of a deployment's control log say, member by member (EVIDENCE section 1).

    kind -> what every entry of it has, and what its `action` adds

In: kind and members. Out: nothing, or ValueError naming what is wrong. Called for events that are to be
written (`outbox.py`) and for entries that are read (`form.py`). Nothing else may stand in such an entry: what
nobody checks, nobody can rely on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from authz.ledger import members
from authz.ledger.members import Table

WORKER: Final = "control"  # <deployment>/control/<epoch>: the second part of the log's name
PURPOSES: Final = ("record", "log", "token", "package", "policy", "source", "disclosure", "root")

# Of each entry, beside what its kind says.
_PLACE: Final = frozenset(
    "kind log seq previous_entry_hash timestamp signer_id attestation_signature".split()
)
# What the outbox adds: which event it is, and when it was put there (`timestamp` says when it was written).
_EVENT: Final[Table] = {"event_id?": "uuid", "event_time?": "time"}

_WHO: Final[Table] = {"who": "name", "why?": "text"}
_WHY: Final[Table] = {"who": "name", "why": "text"}
_POINT: Final[Table] = {"of": "log", "size": "count", "root": "hash"}  # `of` had this root at this size


class Form(Struct, frozen=True):
    """`always`, and if there are any `actions`, one of them with its own table."""

    always: Table
    actions: Mapping[str, Table] = {}

    def table(self, said: Mapping[str, Any]) -> Table:
        """What `said` has to be. Raises ValueError for an action that there is not."""
        if not self.actions:
            return self.always
        action = said.get("action")
        if type(action) is not str or action not in self.actions:
            raise ValueError(f"action: not one of {', '.join(self.actions)}")
        return {"action": (action,), **self.always, **self.actions[action]}


FORMS: Final[Mapping[str, Form]] = {
    # A policy version was made, or became the one that OPA is given (again: `rollback`), or could not be
    # taken by OPA: `active_` is what stays in force then. `diff_sha256`, `changelog_sha256`: of what
    # `aegis policy diff` and the changelog say of it.
    "policy": Form(
        {"policy_version": "name", "policy_digest": "hash", **_WHO},
        {
            "publish": {
                "key_id": "name",
                "author?": "name",
                "diff_sha256?": "hash",
                "changelog_sha256?": "hash",
            },
            "activate": {"previous_version?": "name", "previous_digest?": "hash"},
            "fail": {
                "code": "name",
                "detail": "text",
                "active_version?": "name",
                "active_digest?": "hash",
            },
            "rollback": {"previous_version": "name", "previous_digest": "hash"},
        },
    ),
    # `action_digest`: SHA-256 of the canonical action that is asked for (DESIGN section 5).
    "approval": Form(
        {"approval_id": "uuid", "agent_id": "name", "action_digest": "hash", "policy_version": "name"},
        {
            "ask": {"decision_id": "uuid", "expires": "time", "decision_log?": "log"},
            "grant": {"approver": "name", "assurance": "name", "expires": "time", "why?": "text"},
            "refuse": {"approver": "name", "assurance": "name", "why?": "text"},
            "use": {"decision_id": "uuid", "decision_log?": "log"},
            "expire": {},
        },
    ),
    # `name` is missing where everything is meant.
    "containment": Form(
        {"what": ("agent", "tool", "workflow", "issuer", "all"), "name?": "name", **_WHY},
        {"set": {"until?": "time"}, "lift": {}},
    ),
    # `of`, `size`, `tail_hash`: the last entry, by its hash, under the old key of one log. `at`: entries are
    # trusted that an outside anchor dates before it. `certificate`: by which the root key vouches for
    # `jwk`, X.509 in base64.
    "key": Form(
        {"purpose": PURPOSES, "key_id": "name", **_WHO},
        {
            "generate": {"jwk": "jwk"},
            "rotate": {
                "jwk": "jwk",
                "previous_key_id": "name",
                "of?": "log",
                "size?": "count",
                "tail_hash?": "hash",
                "certificate?": "long",
            },
            "revoke": {"at": "time", "jwk?": "jwk"},
            "certify": {
                "jwk": "jwk",
                "issuer_key_id": "name",
                "certificate": "long",
                "not_before": "time",
                "not_after": "time",
            },
        },
    ),
    # `opened`: the timestamp of the log's first entry, unless that is damaged.
    "log_open": Form({**_POINT, "opened?": "time"}),
    "log_head": Form(_POINT),
    # `end`: `closed` by its writer; `left` for a later epoch, whose `gap` says why; `failed`, unsealed after
    # a sync that failed.
    "log_close": Form({**_POINT, "end": ("closed", "left", "failed")}),
    # `sha256`: of the artefact that the anchor gave, which lies at `place`. `dated`: when, as the anchor
    # itself says. `version_id`: of an object under lock.
    "anchor": Form(
        {
            "anchor": ("directory", "rfc3161", "s3", "witness"),
            "name": "name",
            **_POINT,
            "sha256": "hash",
            "place": "text",
            "dated?": "time",
            "version_id?": "text",
            "retain_until?": "time",
        }
    ),
    # Who looked at disclosures: `names` of those of entry `at_seq` in log `of`, or of some from there
    # to `to_seq`.
    "access": Form(
        {
            **_WHY,
            "of": "log",
            "at_seq": "count",
            "to_seq?": "count",
            "decision_id?": "uuid",
            "names": "names",
        }
    ),
    # `value_digest`: SHA-256 of a salt, a line break and the agent, subject or time range that was erased:
    # never its name. `count`: disclosures that there were.
    "erasure": Form(
        {
            **_WHY,
            "erasure_id": "uuid",
            "by": ("agent", "subject", "time"),
            "value_digest": "hash",
            "count": "count",
            "logs?": "logs",
            "from?": "time",
            "to?": "time",
        }
    ),
    # Whole segments of log `of`, from number `first_segment` to `last_segment`, with `entries` in them.
    "prune": Form(
        {
            **_WHY,
            "class": "name",
            "of": "log",
            "first_segment": "count",
            "last_segment": "count",
            "entries": "count",
        },
        {
            "plan": {"due": "time"},
            "delete": {"archive?": "text", "archive_sha256?": "hash"},
            "restore": {"archive": "text"},
        },
    ),
    # What is recorded as `would_block` and not enforced, as `worker` found it under `policy_version`.
    "shadow": Form(
        {"worker": "name", "policy_version": "name"},
        {"on": {"scope": ("all", "some"), "agents?": "names", "rules?": "names"}, "off": {}},
    ),
    # Whether the decision that is entry `at_seq` of log `of` stopped, or would have, what it should.
    "label": Form(
        {
            **_WHY,
            "decision_id": "uuid",
            "of": "log",
            "at_seq": "count",
            "label": ("true_positive", "false_positive"),
        }
    ),
    "hold": Form(
        {"name": "name", **_WHY},
        {"set": {"logs?": "logs", "agent_id?": "name", "from?": "time", "to?": "time"}, "lift": {}},
    ),
}


def check(kind: str, said: Mapping[str, Any]) -> None:
    """Whether an event of `kind` may say this. Raises ValueError naming the member that is wrong."""
    if kind not in FORMS:
        raise ValueError(f"kind: {kind!r} is none of the control log: {', '.join(FORMS)}")
    members.check(FORMS[kind].table(said), said)


def check_entry(entry: Mapping[str, Any]) -> None:
    """The same for an entry as it is read, whose `kind` is one of FORMS."""
    said = {name: value for name, value in entry.items() if name not in _PLACE}
    members.check({**FORMS[entry["kind"]].table(said), **_EVENT}, said)

"""A good event of every kind and action of the control log, for tests that need one."""

from __future__ import annotations

from typing import Any, Final

from authz.ledger import keys
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
HASH = "0123456789abcdef" * 4
TIME = "2026-01-01T00:00:00.000000Z"
UUID = "019b7690-0001-7000-8000-000000000001"
JWK = keys.jwk(keys.public_key(ledgers.OTHER_SEED))

_POINT = {"of": LOG, "size": 3, "root": HASH}
_WHY = {"who": "ana@example", "why": "asked by the auditor"}
_POLICY = {"who": "ana", "policy_version": "v1.4.0", "policy_digest": HASH}
_APPROVAL = {"approval_id": UUID, "agent_id": "a", "action_digest": HASH, "policy_version": "v1.4.0"}
_KEY = {"purpose": "record", "key_id": "k-2", "who": "aegis follow"}
_SEGMENTS = {"class": "one-year", "of": LOG, "first_segment": 0, "last_segment": 3, "entries": 262144}

EVENTS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("policy", _POLICY | {"action": "publish", "key_id": "aegis-policy"}),
    ("policy", _POLICY | {"action": "activate", "previous_version": "v1.3.2"}),
    (
        "policy",
        _POLICY | {"action": "rollback", "previous_version": "v1.4.0", "previous_digest": HASH},
    ),
    ("policy", _POLICY | {"action": "fail", "code": "unsigned", "detail": "bundle missing .signatures.json"}),
    ("approval", _APPROVAL | {"action": "ask", "decision_id": UUID, "expires": TIME}),
    ("approval", _APPROVAL | {"action": "grant", "approver": "ana", "assurance": "oidc", "expires": TIME}),
    ("approval", _APPROVAL | {"action": "refuse", "approver": "ana", "assurance": "oidc", "why": "no"}),
    ("approval", _APPROVAL | {"action": "use", "decision_id": UUID, "decision_log": LOG}),
    ("approval", _APPROVAL | {"action": "expire"}),
    ("containment", _WHY | {"action": "set", "what": "agent", "name": "a", "until": TIME}),
    ("containment", _WHY | {"action": "lift", "what": "all"}),
    ("key", _KEY | {"action": "generate", "jwk": JWK}),
    (
        "key",
        _KEY
        | {"action": "rotate", "jwk": JWK, "previous_key_id": "k-1"}
        | {"of": LOG, "size": 3, "tail_hash": HASH},
    ),
    ("key", _KEY | {"action": "revoke", "at": TIME, "why": "stolen"}),
    (
        "key",
        _KEY
        | {"action": "certify", "jwk": JWK, "issuer_key_id": "root", "certificate": "a.b.c"}
        | {"not_before": TIME, "not_after": TIME},
    ),
    ("log_open", _POINT | {"opened": TIME}),
    ("log_head", _POINT),
    ("log_close", _POINT | {"end": "closed"}),
    (
        "anchor",
        _POINT
        | {"anchor": "s3", "name": "bucket", "sha256": HASH, "place": "anchors/x/1"}
        | {"dated": TIME, "version_id": "v", "retain_until": TIME},
    ),
    ("access", _WHY | {"of": LOG, "at_seq": 1, "decision_id": UUID, "names": ["client_address"]}),
    (
        "erasure",
        _WHY
        | {"erasure_id": UUID, "by": "agent", "value_digest": HASH, "count": 5, "logs": [LOG]}
        | {"from": TIME, "to": TIME},
    ),
    ("prune", _WHY | _SEGMENTS | {"action": "plan", "due": TIME}),
    ("prune", _WHY | _SEGMENTS | {"action": "delete", "archive": "s3://a/b", "archive_sha256": HASH}),
    ("prune", _WHY | _SEGMENTS | {"action": "restore", "archive": "bucket"}),
    ("hold", _WHY | {"name": "case-7", "action": "set", "logs": [LOG], "agent_id": "a"}),
    ("hold", _WHY | {"name": "case-7", "action": "lift"}),
    (
        "shadow",
        {"worker": "worker-0", "policy_version": "v1.4.0", "action": "on", "scope": "some", "rules": ["r"]},
    ),
    ("shadow", {"worker": "worker-0", "policy_version": "v1.4.0", "action": "off"}),
    ("label", _WHY | {"decision_id": UUID, "of": LOG, "at_seq": 7, "label": "false_positive"}),
]

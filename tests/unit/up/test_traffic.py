"""An outcome that is not the expected one is told, whatever differs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from authz.up.traffic import ALLOW, EGRESS, TOKEN, Attempt, Outcome

ATTEMPT = Attempt("clinical-agent", "reads", "GET", "http://ehr.example/1", ALLOW, "secret")
RECORD = {"decision": "allow", "reason_code": ALLOW.reason, "log": "a/b/c", "seq": 1}
GOOD = Outcome(ATTEMPT, 200, 1.0, {"headers": {"host": "ehr.example"}}, RECORD)


def test_what_was_expected_has_no_faults() -> None:
    assert GOOD.faults == []
    denied = Outcome(
        replace(ATTEMPT, expected=EGRESS),
        403,
        1.0,
        {},
        RECORD | {"decision": "deny", "reason_code": "egress_violation"},
    )
    assert denied.faults == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (replace(GOOD, status=503), "status: 503, not 200"),
        (replace(GOOD, record={}), "no record"),
        (replace(GOOD, record=RECORD | {"decision": "deny"}), "decision: deny, not allow"),
        (replace(GOOD, record=RECORD | {"reason_code": "other"}), "reason: other, not permitted"),
        (replace(GOOD, received={}), "reached the upstream: False, not True"),
        (replace(GOOD, received={"headers": {TOKEN: "secret"}}), "the token reached the upstream"),
        (replace(GOOD, attempt=replace(ATTEMPT, expected=EGRESS)), "reached the upstream: True, not False"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_differs_is_told(outcome: Outcome, said: str) -> None:
    assert said in outcome.faults

"""Rules of redaction that cannot work are refused by name, before anything starts."""

import pytest

from authz.config_file import load
from authz.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PATTERNS", r"['(?<=a)b']", "redaction.patterns.0: not an RE2 pattern"),
        ("PATTERNS", r"['(a)\1']", "redaction.patterns.0: not an RE2 pattern"),
        ("PATTERNS", "['a', 'b*']", "redaction.patterns.1: the pattern matches an empty text"),
        ("PATTERNS", "['(x{900}){900}']", "redaction.patterns.0: not an RE2 pattern"),
        ("PATTERNS", "['a)|(b']", "redaction.patterns.0: not an RE2 pattern"),
        ("PATTERNS", "['']", "redaction.patterns.0"),
        ("POINTERS", "[body/name]", "redaction.pointers.0: not a JSON pointer"),
        ("POINTERS", "['']", "redaction.pointers.0: not a JSON pointer"),
        ("POINTERS", "['/a~2']", "redaction.pointers.0: not a JSON pointer"),
        ("HEADERS", "[X-Name]", "redaction.headers.0: not a header's name in lower case"),
        ("MEMBERS", "['']", "redaction.members.0: not a member's name"),
    ],
)
def test_a_rule_that_cannot_work_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^AEGIS_REDACTION__{name}: ") as refused:
        load(None, {f"AEGIS_REDACTION__{name}": value})
    assert said in str(refused.value)


def test_rules_that_work_are_taken() -> None:
    found = load(
        None,
        {
            "AEGIS_REDACTION__PATTERNS": r"['\b[0-9]{16}\b']",
            "AEGIS_REDACTION__POINTERS": "[/body/patients/*/name, /query/q]",
            "AEGIS_REDACTION__HEADERS": "[x-patient]",
            "AEGIS_REDACTION__MEMBERS": "[patient_name]",
        },
    ).redaction
    assert found.pointers == ("/body/patients/*/name", "/query/q")

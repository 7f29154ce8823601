"""What the settings may name as being in shadow is what an entry of the control log can hold."""

from typing import Any

import pytest
from pydantic import ValidationError

from authz.config_shadow import ShadowSettings
from authz.shadow_names import MOST


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"rules": ["egress\u00a0rule"]}, "not a printable name"),
        ({"agents": ["a\nb"]}, "not a printable name"),
        ({"versions": [""]}, "not a printable name"),
        ({"agents": ["a" * 256]}, "not a printable name"),
        ({"agents": [f"a{number}" for number in range(MOST + 1)]}, "at most 32"),
        ({"agents": [f"{number:0255}" for number in range(MOST)]}, "agents and rules take .* bytes"),
    ],
)
def test_what_no_entry_could_hold_is_refused(said: Any, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        ShadowSettings.model_validate(said)


def test_printable_names_are_taken_in_any_script() -> None:
    assert ShadowSettings.model_validate({"rules": ["ausgang-ä", "出口 rule"]}).scope.rules == (
        "ausgang-ä",
        "出口 rule",
    )

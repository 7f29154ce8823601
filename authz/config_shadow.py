"""The settings of what is recorded and not enforced, as `config.py` has all others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from authz.config_section import Section
from authz.values import ShadowScope

Names = tuple[Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")], ...]


class ShadowSettings(Section):
    """Denials that are recorded as `would_block` and let through, added to what the policy's data says. A
    running worker follows this section of its file within a second, without a restart. Hard denials stay.
    """

    all: bool = Field(default=False, description="Every denial of policy: nothing of it is enforced.")
    agents: Names = Field(
        default=(),
        max_length=32,
        description="Denials of these agents; of a chain only where all of it is named.",
    )
    rules: Names = Field(default=(), max_length=32, description="Denials by these rules.")
    versions: Names = Field(
        default=(), max_length=32, description="Every denial of these policy versions, by their names."
    )
    alarm_after_h: float = Field(
        default=168.0,
        gt=0,
        le=8760,
        description="Hours after which everything being in shadow raises an alert (AegisShadowTooLong).",
    )

    @property
    def scope(self) -> ShadowScope:
        return ShadowScope(self.all, self.agents, self.rules)

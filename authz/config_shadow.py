"""The settings of what is recorded and not enforced, as `config.py` has all others."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from authz import shadow_names
from authz.config_section import Section
from authz.shadow_names import MOST
from authz.values import ShadowScope

Names = tuple[Annotated[str, AfterValidator(shadow_names.name)], ...]


class ShadowSettings(Section):
    """Denials that are recorded as `would_block` and let through, added to what the policy's data says. A
    running worker follows this section of its file within a second, without a restart. Hard denials stay.
    """

    all: bool = Field(default=False, description="Every denial of policy: nothing of it is enforced.")
    agents: Names = Field(
        default=(),
        max_length=MOST,
        description="Denials of these agents; of a chain only where all of it is named.",
    )
    rules: Names = Field(default=(), max_length=MOST, description="Denials by these rules.")
    versions: Names = Field(
        default=(), max_length=MOST, description="Every denial of these policy versions, by their names."
    )
    alarm_after_h: float = Field(
        default=168.0,
        gt=0,
        le=8760,
        description="Hours after which everything being in shadow raises an alert (AegisShadowTooLong).",
    )

    @model_validator(mode="after")
    def _fits_an_entry(self) -> Self:
        shadow_names.fitting(self.scope)
        return self

    @property
    def scope(self) -> ShadowScope:
        return ShadowScope(self.all, self.agents, self.rules)

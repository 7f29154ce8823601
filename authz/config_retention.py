"""The settings of how long records stay, as `config.py` has all others: unit, default, consequence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from authz.config_anchors import S3Access
from authz.config_section import Section

YEAR_DAYS = 365
Days = Annotated[int, Field(ge=YEAR_DAYS, le=36_500)]


class Archive(S3Access):
    """S3, where segments go before they are deleted here."""

    bucket: str = Field(
        default="", max_length=255, description="Empty: nothing is archived, what is deleted is gone."
    )
    prefix: str = Field(default="archive/", max_length=255, description="Before each key.")


class Retention(Section):
    """How long records stay. Whole segments of 65,536 entries go, each when its last record may."""

    delete: bool = Field(
        default=False, description="The follower deletes what may go; otherwise only `aegis prune` does."
    )
    default_days: Days = Field(
        default=7 * YEAR_DAYS, description="For entries of no class below: outcomes, other kinds, denials."
    )
    classes: dict[str, Days] = Field(
        default={
            "public": YEAR_DAYS,
            "internal": YEAR_DAYS,
            "confidential": 3 * YEAR_DAYS,
            "regulated": 7 * YEAR_DAYS,
        },
        max_length=64,
        description="Days by sensitivity of the decision. The policy's obligation `retention_days` can only "
        "make it longer.",
    )
    grace_days: int = Field(
        default=7,
        ge=0,
        le=365,
        description="Between saying that a segment will be deleted and doing it: time for a hold.",
    )
    every_s: float = Field(
        default=3600.0, ge=1, le=86400 * 7, description="Between two looks of the follower, seconds."
    )
    archive: Archive = Archive()

    @model_validator(mode="after")
    def _named(self) -> Retention:
        for name in self.classes:
            if not name.isprintable() or not 0 < len(name) <= 128:
                raise ValueError("classes: a sensitivity's name is printable, of 1 to 128 characters")
        return self

    @property
    def least_days(self) -> int:
        """What no entry stays shorter than."""
        return min(self.default_days, *self.classes.values())

    @property
    def most_days(self) -> int:
        return max(self.default_days, *self.classes.values())

"""The settings of a candidate policy version that the follower judges, as `config.py` has all others."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from authz.config_section import Section


class Candidate(Section):
    """A version that decides nothing: the follower puts recorded facts to it as they come."""

    version: str = Field(
        default="",
        description="A published version's name or revision. Empty: none. It needs `disclosures.facts`, and "
        "takes CPU of this machine at low priority: one question for each that no equal one came before.",
    )
    report: Path = Field(
        default=Path("candidate.json"),
        description="Its report: what it would have decided otherwise since the follower's start.",
    )
    every_s: float = Field(
        default=10.0,
        ge=0.1,
        le=3600,
        description="Time between two looks at what was recorded, seconds; each that reads facts is one "
        "`access` entry of a log.",
    )

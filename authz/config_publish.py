"""The settings of publishing policy versions, as `config.py` has all others: unit, default, consequence."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from authz.config_anchors import S3Access
from authz.config_checkpoints import s3_url
from authz.config_section import Section

Url = Annotated[str, AfterValidator(lambda text: text and s3_url(text))]


class BundleS3(S3Access):
    """A bucket with the published versions, in the place of `follower.bundle_directory`."""

    url: Url = Field(
        default="",
        description="`s3://BUCKET/PREFIX`: versions are published there and served from there, for several "
        "machines. Empty: they are in `follower.bundle_directory`.",
    )


class Publishing(Section):
    """What a policy has to be before it can be published."""

    coverage: float = Field(
        default=80.0,
        ge=0,
        le=100,
        description="Lines of Rego that its own tests must run, percent. Below it nothing is published; 0: "
        "a policy without tests is, too.",
    )

"""A client of an S3 server as the settings say, for whoever keeps something there.

In: S3Access. Out: boto3's client, which tries once: whoever asks knows when to ask again. Nothing of the
credentials reaches a text.
"""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from authz import given_files
from authz.config_anchors import S3Access
from authz.errors import ConfigError

_REQUIRED: Final = ("aws_access_key_id", "aws_secret_access_key")
_SESSION: Final = "aws_session_token"


def client(settings: S3Access, state: Path) -> Any:
    """Raises ConfigError for a credentials file that cannot be used."""
    given = _credentials(state / settings.credentials) if settings.credentials else {}
    return boto3.session.Session(**given).client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region,
        config=Config(
            connect_timeout=settings.timeout_s,
            read_timeout=settings.timeout_s,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"} if settings.endpoint else None,
        ),
    )


def _credentials(file: Path) -> dict[str, str]:
    """Of the profile `default`. Raises ConfigError, never with a value."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(given_files.read_private(file).decode())
        found = dict(parser.items("default"))
    except (configparser.Error, UnicodeDecodeError):
        raise ConfigError(f"{file}: not a credentials file with a profile `default`") from None
    if not found.keys() >= set(_REQUIRED) or found.keys() - set(_REQUIRED) - {_SESSION}:
        raise ConfigError(f"{file}: not {' and '.join(_REQUIRED)}, with or without {_SESSION}")
    return found

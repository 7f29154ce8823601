"""Whose word counts, by the files that the settings name: witnesses and quorum, who vouches for the TSA.

In: the settings. Out: a Policy, certificates, or ConfigError naming file and line. Called by whoever asks the
anchors, and by `aegis keys export-trust`, which gives them to verifiers.
"""

from __future__ import annotations

from cryptography import x509

from authz import given_files
from authz.config import Settings
from authz.errors import ConfigError
from authz.ledger import quorum, timestamps
from authz.ledger.quorum import Policy


def witnesses_of(settings: Settings) -> Policy | None:
    """The policy that is set, None if none is. Raises ConfigError naming file and line."""
    if settings.anchors.witness.policy is None:
        return None
    file = settings.path(settings.anchors.witness.policy)
    try:
        return quorum.parse(given_files.read(file))
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None


def tsa_roots_of(settings: Settings) -> tuple[x509.Certificate, ...]:
    """Who vouches for the time-stamping authority that is set; none if none is. Raises ConfigError."""
    section = settings.anchors.rfc3161
    if not section.url or section.roots is None:
        return ()
    file = settings.path(section.roots)
    try:
        return timestamps.read_roots(given_files.read(file))
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None

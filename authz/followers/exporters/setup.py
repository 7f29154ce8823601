"""Makes the exporters that the settings name; what each one is made of is said here only."""

from __future__ import annotations

import random
import time
from pathlib import Path

from authz.config import Settings
from authz.followers.durable import Durable
from authz.followers.exporters.destination import Destination
from authz.followers.exporters.files import Files
from authz.followers.exporters.runner import Exporting


def exporters(settings: Settings, durable: Durable) -> list[Exporting]:
    """One for each destination, in a running event loop. Raises ConfigError for what cannot be used."""
    return [
        Exporting(
            durable,
            destination,
            directory(settings, destination.name),
            every_s=settings.exporters.every_s,
            longest_wait_s=settings.exporters.retry_max_s,
            clock=time.time,
            random=random.SystemRandom().random,
        )
        for destination in _destinations(settings)
    ]


def directory(settings: Settings, name: str) -> Path:
    """Where the exporter called `name` keeps its cursors and dead letters."""
    return settings.path(settings.exporters.directory) / name


def _destinations(settings: Settings) -> list[Destination]:
    destinations: list[Destination] = []
    files, otlp = settings.exporters.files, settings.exporters.otlp
    if files.enabled:
        where = settings.path(files.directory)
        destinations.append(Files(where, files, clock=time.time))
    if otlp.endpoint:
        from authz.followers.exporters.otlp import Otlp  # here, so that nobody else loads its stubs

        destinations.append(Otlp(otlp, settings.deployment, settings.state))
    return destinations

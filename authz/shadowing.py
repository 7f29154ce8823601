"""What a worker has in shadow, from its settings and from the policy versions as they become active.

In: the settings, the file they are from, the stage's word of each version. Out: the Shadow that rules ask,
and what is said of it. Made by `app.py`, which lets it `follow` a few times a second. The section `shadow` of
the settings is the one that a running worker takes up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from authz.config import Settings
from authz.config_following import SettingsFile
from authz.controls.shadow import Shadow
from authz.telemetry.metrics import Gauge
from authz.telemetry.shadow import ShadowNotes


class Shadowing:
    """`version` gives the name of the active policy version."""

    def __init__(self, settings: Settings, file: Path | None, version: Callable[[], str]) -> None:
        said = settings.shadow
        self.shadow = Shadow(said.scope, said.versions)
        self._alarm_after_h = said.alarm_after_h
        self._file = SettingsFile(file, settings)
        self._notes = ShadowNotes(self.shadow, settings.outbox, settings.worker, version)

    async def follow(self) -> None:
        """Take up what the file says by now, and say what is in shadow."""
        if self._file.changed():
            fresh = await asyncio.to_thread(self._file.read)
            if fresh is not None:
                self._alarm_after_h = fresh.shadow.alarm_after_h
                self.shadow.configure(fresh.shadow.scope, fresh.shadow.versions)
        await self._notes.refresh()

    def gauges(self) -> Iterator[Gauge]:
        """For a scrape, from its own thread."""
        yield from self._notes.gauges(self._alarm_after_h)
        problem = float(bool(self._file.problem))
        yield "aegis_settings_problem", "1 while the settings' file cannot be taken up.", problem, {}

"""A change of what is in shadow is said once for all workers, and what cannot be said is tried again."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from authz.config_shadow import ShadowSettings
from authz.controls.shadow import Shadow
from authz.ledger.outbox import Outbox
from authz.policy.shadow import shadow_of
from authz.shadow_names import MOST
from authz.telemetry.shadow import RETRY_S, ShadowNotes
from authz.values import ShadowScope

ALL, NONE = ShadowScope(all=True), ShadowScope()


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def notes(
    directory: Path, shadow: Shadow, worker: str = "worker-0", clock: Clock | None = None
) -> ShadowNotes:
    clock = clock or Clock()
    return ShadowNotes(
        shadow, directory / "control.sqlite", worker, lambda: "v1.0.0", wall=clock, monotonic=clock
    )


def events(directory: Path) -> list[dict[str, Any]]:
    with Outbox(directory / "control.sqlite") as outbox:
        return [event.members for event in outbox.waiting(100)]


async def test_where_nothing_ever_was_in_shadow_nothing_is_said_and_no_file_made(tmp_path: Path) -> None:
    with capture_logs() as logs:
        await notes(tmp_path, Shadow()).refresh()
    assert logs == []
    assert list(tmp_path.iterdir()) == []


async def test_switching_on_changing_and_switching_off_are_one_event_each(tmp_path: Path) -> None:
    shadow = Shadow()
    said = notes(tmp_path, shadow)
    with capture_logs() as logs:
        for scope in (ALL, ALL, ShadowScope(agents=("a",), rules=("r",)), NONE, NONE, ALL):
            shadow.configure(scope, ())
            await said.refresh()
            await said.refresh()
    place = {"worker": "worker-0", "policy_version": "v1.0.0"}
    assert events(tmp_path) == [
        place | {"action": "on", "scope": "all"},
        place | {"action": "on", "scope": "some", "agents": ["a"], "rules": ["r"]},
        place | {"action": "off"},
        place | {"action": "on", "scope": "all"},
    ]
    assert [line["event"] for line in logs] == ["shadow_on", "shadow_on", "shadow_off", "shadow_on"]


async def test_other_workers_and_restarts_say_nothing_again(tmp_path: Path) -> None:
    for worker in ("worker-0", "worker-1", "worker-0"):
        with capture_logs() as logs:
            await notes(tmp_path, Shadow(ALL), worker).refresh()
        assert [line["event"] for line in logs] == ["shadow_on"]  # each says it in its own log
    assert len(events(tmp_path)) == 1


async def test_a_worker_that_starts_without_what_was_in_shadow_says_that_it_is_off(tmp_path: Path) -> None:
    await notes(tmp_path, Shadow(ALL)).refresh()
    await notes(tmp_path, Shadow()).refresh()
    assert [event["action"] for event in events(tmp_path)] == ["on", "off"]


async def test_what_cannot_be_put_is_tried_again_and_shown_meanwhile(tmp_path: Path) -> None:
    clock, shadow = Clock(), Shadow(ALL)
    (tmp_path / "control.sqlite").mkdir()
    said = notes(tmp_path, shadow, clock=clock)
    with capture_logs() as logs:
        await said.refresh()
        await said.refresh()
    assert [line["event"] for line in logs] == ["shadow_on", "shadow_not_in_control_log"]
    assert gauges(said)["aegis_shadow_unsaid"] == 1
    (tmp_path / "control.sqlite").rmdir()
    clock.now += RETRY_S
    await said.refresh()
    assert len(events(tmp_path)) == 1
    assert gauges(said)["aegis_shadow_unsaid"] == 0


@pytest.mark.parametrize(
    "scope",
    [
        ShadowScope(rules=("egress\u00a0rule",)),
        ShadowScope(agents=tuple(f"{number:0255}" for number in range(64))),
    ],
)
async def test_what_no_entry_can_hold_is_logged_once_and_ends_no_worker(
    tmp_path: Path, scope: ShadowScope
) -> None:
    clock = Clock()
    said = notes(tmp_path, Shadow(scope), clock=clock)
    with capture_logs() as logs:
        for _ in range(3):
            await said.refresh()
            clock.now += RETRY_S
    assert [line["event"] for line in logs] == ["shadow_on", "shadow_not_in_control_log"]
    assert gauges(said)["aegis_shadow_unsaid"] == 1


async def test_all_that_settings_and_a_version_may_name_fits_an_event(tmp_path: Path) -> None:
    def half(word: str) -> ShadowScope:
        names = tuple(f"{word}{number:02}".ljust(117, "n") for number in range(MOST))
        return ShadowSettings(agents=names, rules=names[::2]).scope

    shadow = Shadow(half("s"))
    version = half("v")
    assert shadow_of({"shadow": {"agents": list(version.agents), "rules": list(version.rules)}}) == version
    shadow.activated("v" * 64, "digest", version)
    said = notes(tmp_path, shadow, worker="w" * 127)
    await said.refresh()
    assert len(events(tmp_path)) == 1


def gauges(said: ShadowNotes) -> dict[str, float]:
    return {name: value for name, _, value, _ in said.gauges(168)}


async def test_how_long_everything_has_been_in_shadow_outlives_the_worker(tmp_path: Path) -> None:
    with Outbox(tmp_path / "control.sqlite", lambda: 1_800_000_000 * 10**9) as outbox:
        said = {"worker": "w", "policy_version": "v1", "action": "on", "scope": "all"}
        outbox.put_change("shadow", said, of="shadow", value='{"action":"on","scope":"all"}')
    clock = Clock()
    clock.now += 7200
    restarted = notes(tmp_path, Shadow(ALL), clock=clock)
    await restarted.refresh()
    shown = gauges(restarted)
    assert (shown["aegis_shadow_all"], shown["aegis_shadow_all_seconds"]) == (1, 7200)
    assert shown["aegis_shadow_alarm_seconds"] == 168 * 3600
    some = gauges(notes(tmp_path, Shadow(ShadowScope(rules=("r",))), clock=clock))
    assert (some["aegis_shadow_all"], some["aegis_shadow_all_seconds"], some["aegis_shadow_rules"]) == (
        0,
        0,
        1,
    )

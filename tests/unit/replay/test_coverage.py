"""Facts that were kept for one version answer another one only if they hold all that it reads."""

import pytest

from authz.policy.facts import HEADERS, WHOLE
from authz.policy.manifest import EntryPoint, Path
from authz.replay.coverage import obstacle
from authz.replay.recorded import Why

AGENT: tuple[Path, ...] = tuple(("agent", name) for name in ("id", "chain", "assurance", "claims"))


def reads(*paths: Path) -> EntryPoint:
    return EntryPoint(facts=paths, prune=True)


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        (reads(("agent", "id")), reads(("agent", "id"))),
        (reads(("agent", "id"), ("now", "hour")), reads(("now", "hour"))),
        (reads(("agent", "claims")), reads(("agent", "claims", "role"))),
        (reads(*AGENT), reads(("agent",))),
        (WHOLE, WHOLE),
        (WHOLE, reads(("parsed_body", "x"))),
        (reads(HEADERS), reads((*HEADERS, "x-a"))),
        (reads(("agent", "id")), reads(("no such field",), ("agent", "nothing"))),
        (reads(), reads()),
    ],
)
def test_all_that_is_read_is_there(kept: EntryPoint, asked: EntryPoint) -> None:
    assert obstacle(kept, asked, ()) is None


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        (reads(("agent", "id")), reads(("agent", "chain"))),
        (reads(("agent", "id")), reads(("agent",))),
        (reads(*AGENT[:3]), reads(("agent",))),
        (reads(("agent", "claims", "role")), reads(("agent", "claims"))),
        (reads(("agent", "claims", "role")), reads(("agent", "claims", "team"))),
        (reads((*HEADERS, "x-a")), reads(HEADERS)),
        (reads(*AGENT), WHOLE),
        (reads(*AGENT), reads(())),
        (reads(), reads(("session", "labels"))),
    ],
)
def test_a_field_that_was_never_asked_for_is_not_taken_for_one_that_was_not_there(
    kept: EntryPoint, asked: EntryPoint
) -> None:
    assert obstacle(kept, asked, ()) is Why.NOT_CAPTURED


@pytest.mark.parametrize(
    ("masked", "why"),
    [
        (["/action/arguments"], Why.NOT_CAPTURED),
        (["/action/arguments/password"], Why.REDACTED),
        (["/action/arguments/items/0/name", "/action/arguments"], Why.NOT_CAPTURED),
        (["/agent/id"], None),
        (["/action/argumentsx"], None),
        ([], None),
    ],
)
def test_what_is_masked_counts_where_it_is_read(masked: list[str], why: Why | None) -> None:
    assert obstacle(WHOLE, reads(("action", "arguments"), ("now",)), masked) is why


def test_pointers_are_unescaped() -> None:
    path = (*HEADERS, "a/b~c")
    assert obstacle(WHOLE, reads(path), ["/attributes/request/http/headers/a~1b~0c"]) is Why.REDACTED
    assert obstacle(WHOLE, reads(path), ["/attributes/request/http/headers/a~01b~0c"]) is None

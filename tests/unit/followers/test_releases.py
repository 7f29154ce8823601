"""Publishing, activating and rolling back: whoever else does it, and wherever it is cut off."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from authz.errors import AegisError, EvidenceUnavailable, PolicyRejected, StoreUnavailable
from authz.followers.releases import Releases, teller
from authz.ledger.outbox import Outbox
from authz.policy.making import Made, make, renamed
from authz.policy.opa_tool import OpaTool
from authz.policy.signing import ensure_signing_key
from authz.policy.store import DirectoryStore
from authz.policy.version import Published
from authz.policy.versions import SUFFIX, Versions
from tests.policy.opa import write

TOOL = OpaTool()
REGO = """package aegis

decision := {"decision": "deny", "reason_code": "closed"} if input.agent.id == data.who
"""


class Killed(BaseException):
    """The process ended here."""


class DyingStore(DirectoryStore):
    """Its process is killed at its `at`-th creation, before it or after it."""

    def __init__(self, path: Path, at: int, after: bool) -> None:
        super().__init__(path)
        self._left, self._after = at, after

    def create(self, name: str, data: bytes) -> bool:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        made = super().create(name, data)
        if self._left == 0:
            raise Killed
        return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A version that was never published anywhere."""
    source = write(tmp_path_factory.mktemp("rego"), {"aegis/p.rego": REGO, "data.json": '{"who": "a"}'})
    return make(source, version="v1.0.0", tool=TOOL)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Another content under the same name."""
    source = write(tmp_path_factory.mktemp("rego"), {"aegis/p.rego": REGO, "data.json": '{"who": "b"}'})
    return make(source, version="v1.0.0", tool=TOOL)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    ensure_signing_key(tmp_path / "policy.pem")
    return tmp_path / "policy.pem"


def releases(
    tmp_path: Path, who: str = "ana", why: str = "why", store: DirectoryStore | None = None
) -> Releases:
    return Releases(
        Versions(store or DirectoryStore(tmp_path / "bundles")), tmp_path / "control.sqlite", who, why
    )


def publish(by: Releases, made: Made, key: Path) -> Published:
    return by.publish(made, signing_key=key, tool=TOOL)


def events(tmp_path: Path) -> list[tuple[str, str, str]]:
    with Outbox(tmp_path / "control.sqlite") as outbox:
        members = [event.members for event in outbox.waiting(1000)]
    return [(each["action"], each["policy_version"], each["who"]) for each in members]


def three(tmp_path: Path, made: Made, key: Path) -> Releases:
    by = releases(tmp_path)
    for name in ("v1.0.0", "v2.0.0", "v3.0.0"):
        publish(by, renamed(made, name), key)
        by.activate(name)
    return by


def active(by: Releases) -> str:
    found = by.versions.active()
    assert found is not None
    return found.revision.partition("+")[0]


def test_each_rollback_goes_one_version_further_back(tmp_path: Path, made: Made, key: Path) -> None:
    by = three(tmp_path, made, key)
    back = by.rollback()
    assert (back.number, back.back_to, active(by)) == (4, 2, "v2.0.0")
    assert by.rollback().previous == made.revision.replace("v1", "v2")
    assert active(by) == "v1.0.0"
    with pytest.raises(PolicyRejected, match=r"nothing was active before v1\.0\.0"):
        by.rollback()
    assert active(by) == "v1.0.0"
    by.activate("v3.0.0")
    by.rollback()
    assert active(by) == "v1.0.0"
    assert events(tmp_path)[-4:] == [
        ("rollback", "v2.0.0", "ana"),
        ("rollback", "v1.0.0", "ana"),
        ("activate", "v3.0.0", "ana"),
        ("rollback", "v1.0.0", "ana"),
    ]


def test_a_rollback_can_name_what_was_active_and_nothing_else(tmp_path: Path, made: Made, key: Path) -> None:
    by = three(tmp_path, made, key)
    publish(by, renamed(made, "v4.0.0"), key)
    for name in ("v3.0.0", "v4.0.0", "v9.0.0"):
        with pytest.raises(PolicyRejected, match=rf"{name} was not active before v3\.0\.0"):
            by.rollback(name)
    assert by.rollback("v1.0.0").back_to == 1


def test_without_an_active_version_nothing_is_rolled_back(tmp_path: Path, made: Made, key: Path) -> None:
    by = releases(tmp_path)
    publish(by, made, key)
    with pytest.raises(PolicyRejected, match="no version is active"):
        by.rollback()


def test_of_two_who_publish_other_content_under_one_name_one_does(
    tmp_path: Path, made: Made, other: Made, key: Path
) -> None:
    start = threading.Barrier(2)

    def run(who: str, what: Made) -> str:
        start.wait()
        try:
            return publish(releases(tmp_path, who), what, key).entry.revision
        except PolicyRejected as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        said = set(pool.map(run, ("ana", "ben"), (made, other)))
    (entry,) = releases(tmp_path).versions.entries()
    assert entry.revision in said
    (refused,) = said - {entry.revision}
    assert refused == f"v1.0.0 is already published with other content: {entry.revision}"
    assert events(tmp_path) == [("publish", "v1.0.0", entry.who)]


def test_many_who_publish_at_once_stand_in_one_changelog(tmp_path: Path, made: Made, key: Path) -> None:
    names = [f"v1.0.{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: publish(releases(tmp_path, name), renamed(made, name), key), names))
    entries = releases(tmp_path).versions.entries()
    assert [entry.number for entry in entries] == list(range(1, 7))
    assert {entry.version: entry.who for entry in entries} == {name: name for name in names}
    assert sorted(events(tmp_path)) == sorted(("publish", name, name) for name in names)


def test_of_two_who_activate_at_once_the_second_is_told_of_the_first(
    tmp_path: Path, made: Made, key: Path
) -> None:
    by = three(tmp_path, made, key)

    class Slow(DirectoryStore):
        def create(self, name: str, data: bytes) -> bool:
            if name.startswith("activations/"):
                releases(tmp_path, "ben").activate("v2.0.0")
            return super().create(name, data)

    late = releases(tmp_path, "ana", store=Slow(tmp_path / "bundles"))
    with pytest.raises(PolicyRejected, match=r"ben activated v2\.0\.0 meanwhile"):
        late.activate("v1.0.0")
    assert active(by) == "v2.0.0"
    assert events(tmp_path)[-1] == ("activate", "v2.0.0", "ben")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_publication_that_was_cut_off_is_invisible_or_done_and_can_be_done_again(
    tmp_path: Path, made: Made, key: Path, at: int, after: bool
) -> None:
    first = releases(tmp_path, "ana", "first", DyingStore(tmp_path / "bundles", at, after))
    with pytest.raises(Killed):
        publish(first, made, key)
    done = at == 2 and after
    found = releases(tmp_path).versions
    assert [entry.version for entry in found.entries()] == (["v1.0.0"] if done else [])
    if not done:
        with pytest.raises(PolicyRejected, match=r"v1\.0\.0 is not published"):
            releases(tmp_path).activate("v1.0.0")
    again = publish(releases(tmp_path, "ben", "again"), made, key)
    # What lies there is signed, with what was said first.
    said = ("ana", "first") if (at, after) != (1, False) else ("ben", "again")
    assert (again.entry.release.author, again.entry.release.why) == said
    assert found.published_bundle(again.entry)
    assert again.new is not done
    assert events(tmp_path) == [("publish", "v1.0.0", "ana" if done else "ben")]


def test_what_lies_under_the_name_by_another_hand_is_not_adopted(
    tmp_path: Path, made: Made, key: Path
) -> None:
    strange = tmp_path / "strange.pem"
    ensure_signing_key(strange)
    with pytest.raises(Killed):
        publish(releases(tmp_path, store=DyingStore(tmp_path / "bundles", 2, False)), made, strange)
    with pytest.raises(PolicyRejected, match="lies there by another hand: no signature of the key"):
        publish(releases(tmp_path), made, key)
    file = tmp_path / f"bundles/{made.revision}{SUFFIX}"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(PolicyRejected):
        publish(releases(tmp_path), made, key)
    assert releases(tmp_path).versions.entries() == []
    assert events(tmp_path) == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_activation_that_was_cut_off_is_told_by_whoever_comes_next(
    tmp_path: Path, made: Made, key: Path, after: bool
) -> None:
    by = releases(tmp_path)
    publish(by, made, key)
    publish(by, renamed(made, "v2.0.0"), key)
    with pytest.raises(Killed):
        releases(tmp_path, "ben", store=DyingStore(tmp_path / "bundles", 1, after)).activate("v1.0.0")
    assert events(tmp_path)[2:] == []
    by.activate("v2.0.0")
    told = [("activate", "v1.0.0", "ben")] if after else []
    assert events(tmp_path)[2:] == [*told, ("activate", "v2.0.0", "ana")]


def test_the_follower_tells_once_what_others_published_and_activated(
    tmp_path: Path, made: Made, key: Path
) -> None:
    elsewhere = Releases(
        Versions(DirectoryStore(tmp_path / "bundles")), tmp_path / "elsewhere.sqlite", "ben", "there"
    )
    publish(elsewhere, made, key)
    activation = elsewhere.activate("v1.0.0")
    tell = teller(releases(tmp_path).versions, tmp_path / "control.sqlite")
    for _ in range(2):
        tell(activation)
    assert events(tmp_path) == [("publish", "v1.0.0", "ben"), ("activate", "v1.0.0", "ben")]
    assert releases(tmp_path).activate("v1.0.0") == activation
    assert len(events(tmp_path)) == 2


def test_what_cannot_be_told_is_not_done(tmp_path: Path, made: Made, key: Path) -> None:
    (tmp_path / "control.sqlite").mkdir()
    with pytest.raises(EvidenceUnavailable):
        publish(releases(tmp_path), made, key)
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("changelog/00000002.json", "{", "truncated"),
        ("changelog/00000002.json", "{}", "missing required field"),
        ("changelog/00000001.json", None, "is not number"),
        ("activations/00000002.json", '{"number": 1}', "missing required field"),
        ("activations/00000001.json", None, "is not number"),
    ],
)
def test_a_store_that_somebody_wrote_to_is_named_with_the_file(
    tmp_path: Path, made: Made, key: Path, file: str, text: str | None, said: str
) -> None:
    three(tmp_path, made, key)
    path = tmp_path / "bundles" / file
    path.unlink() if text is None else path.write_text(text)
    versions = releases(tmp_path).versions

    def use() -> Any:
        return versions.entries(), versions.active(), list(versions.before(3))

    with pytest.raises(StoreUnavailable, match=f"{tmp_path}/bundles/{file.partition('/')[0]}.*{said}"):
        use()


def test_a_bundle_that_was_changed_afterwards_is_not_what_was_published(
    tmp_path: Path, made: Made, key: Path
) -> None:
    by = releases(tmp_path)
    entry = publish(by, made, key).entry
    file = tmp_path / f"bundles/{made.revision}{SUFFIX}"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(AegisError, match="not what was published"):
        by.versions.published_bundle(entry)
    with pytest.raises(AegisError, match="not what was published"):
        by.activate("v1.0.0")
    assert by.versions.active() is None
    with pytest.raises(AegisError, match="not what was published"):
        publish(by, renamed(made, "v2.0.0"), key)
    assert len(by.versions.entries()) == 1

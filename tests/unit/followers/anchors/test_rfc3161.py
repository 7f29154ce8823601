"""The client of time-stamping authorities, against `openssl ts` behind HTTP and answers that are none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from authz.followers.anchors.anchor import Refused, Unavailable
from authz.followers.anchors.rfc3161 import Rfc3161Anchor
from authz.ledger import timestamps
from tests.outside import Asked, Headers, Server, serving
from tests.tsa import Tsa
from tests.unit.followers.anchors.logs import LOG, Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "ledger")


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


def client(server: Server, tsa: Tsa) -> Rfc3161Anchor:
    return Rfc3161Anchor(f"{server.url}/tsr", tsa.roots, every_s=1, timeout_s=20, tls=None)


def test_a_stamp_is_kept_as_it_came_and_holds_for_the_note(log: Log, tsa: Tsa) -> None:
    candidate = log.candidate(5)
    with serving(tsa.answer) as server:
        receipt = client(server, tsa).put(candidate)
    assert (receipt.name, receipt.suffix, receipt.where) == ("127.0.0.1", ".tsr", "")
    assert timestamps.check(receipt.artefact, candidate.note, tsa.roots).timestamp() == receipt.dated
    assert abs(receipt.dated - time.time()) < 600
    assert server.asked[0].path == "/tsr"


def test_it_learns_a_hash_and_nothing_else(log: Log, tsa: Tsa) -> None:
    with serving(tsa.answer) as server:
        client(server, tsa).put(log.candidate(5))
    assert LOG.split("/")[0].encode() not in server.asked[0].body
    assert len(server.asked[0].body) < 100


def test_it_keeps_nothing_to_be_asked_for(log: Log, tsa: Tsa) -> None:
    with serving(tsa.answer) as server:
        anchor = client(server, tsa)
        assert (anchor.larger(LOG, 0), anchor.logs("")) == (None, [])
    assert server.asked == []


def test_a_stamp_for_another_digest_is_refused(log: Log, tsa: Tsa) -> None:
    def other(_asked: Asked) -> tuple[int, Headers, bytes]:
        return 200, {}, tsa.stamp(log.candidate(4).note)

    no = pytest.raises(Refused, match=r"does not hold: (Nonce mismatch|Mismatch)")
    with serving(other) as server, no:
        client(server, tsa).put(log.candidate(5))


def test_an_old_answer_is_refused(log: Log, tsa: Tsa) -> None:
    candidate = log.candidate(5)

    def replayed(_asked: Asked) -> tuple[int, Headers, bytes]:
        return 200, {}, tsa.stamp(candidate.note)

    with serving(replayed) as server, pytest.raises(Refused, match="Nonce mismatch"):
        client(server, tsa).put(candidate)


def test_an_authority_that_nobody_pinned_is_refused(log: Log, tsa: Tsa, tmp_path: Path) -> None:
    other = Tsa(tmp_path, "other")
    with serving(other.answer) as server, pytest.raises(Refused, match="does not hold"):
        client(server, tsa).put(log.candidate(5))


@pytest.mark.parametrize(
    ("answer", "raised", "why"),
    [
        ((503, {}, b""), Unavailable, "HTTP status 503"),
        ((302, {"Location": "/x"}, b""), Unavailable, "HTTP status 302"),
        ((200, {}, b"no DER"), Refused, "does not hold|cannot be read"),
        ((200, {}, bytes(timestamps.MAX_RESPONSE + 1)), Unavailable, "over 65536 bytes"),
    ],
)
def test_other_answers(
    log: Log, tsa: Tsa, answer: tuple[int, Headers, bytes], raised: type[Exception], why: str
) -> None:
    with serving(lambda _asked: answer) as server, pytest.raises(raised, match=why):
        client(server, tsa).put(log.candidate(5))


def test_nobody_there_is_waited_for(log: Log, tsa: Tsa) -> None:
    with serving(tsa.answer) as server:
        anchor = client(server, tsa)
    with pytest.raises(Unavailable, match="refused"):
        anchor.put(log.candidate(5))

"""The witness client: what a real witness cosigns is kept, and nothing else passes for it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from authz.followers.anchors.anchor import Contradicted, Refused, Unavailable
from authz.followers.anchors.witness import WitnessAnchor
from authz.ledger import notes, quorum
from tests import ledgers
from tests.cosigning import WITNESS, cosign, with_line
from tests.outside import Asked, Headers, Server, serving
from tests.unit.followers.anchors.logs import LOG, Log
from tests.witnessing import RealWitness, witness


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "ledger")


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealWitness]:
    with witness(tmp_path / "witness") as made:
        yield made


def client(policy: str, log: Log) -> WitnessAnchor:
    return WitnessAnchor(quorum.parse(policy.encode()), log.prove, every_s=1, timeout_s=20, tls=None)


def sizes(anchor: WitnessAnchor) -> int | None:
    note = anchor.larger(LOG, 0)
    return notes.parse(note).size if note else None


# -- a real one


def test_a_real_witness_cosigns_from_the_first_checkpoint_on(real: RealWitness, log: Log) -> None:
    real.trust(LOG)
    anchor = client(real.policy(), log)
    policy = quorum.parse(real.policy().encode())
    for size in (1, 4, 4, 9):
        receipt = anchor.put(log.candidate(size))
        checkpoint = notes.parse(receipt.artefact)
        assert checkpoint.size == size
        assert notes.signed_by(checkpoint, *ledgers.TRUST.log_keys_of(LOG))
        assert policy.met_at(policy.times(checkpoint)) == receipt.dated
        assert (receipt.name, receipt.suffix) == ("witness.test/real", ".cosigned")
        assert sizes(anchor) == size


def test_a_client_that_forgot_asks_and_proves_from_there(real: RealWitness, log: Log) -> None:
    real.trust(LOG)
    client(real.policy(), log).put(log.candidate(5))
    assert notes.parse(client(real.policy(), log).put(log.candidate(9)).artefact).size == 9


def test_a_log_that_the_witness_does_not_know_is_refused_with_what_to_do(real: RealWitness, log: Log) -> None:
    with pytest.raises(Refused, match=f"{LOG}: it does not know this log: .* `aegis anchors vkeys`"):
        client(real.policy(), log).put(log.candidate(5))
    real.trust(LOG)
    assert client(real.policy(), log).put(log.candidate(5)).dated


def test_a_key_that_the_witness_does_not_know_is_refused(real: RealWitness, log: Log) -> None:
    real.trust(LOG, ledgers.OTHER_SEED)
    with pytest.raises(Refused, match="it does not know the key that signs this log"):
        client(real.policy(), log).put(log.candidate(5))


def test_a_witness_that_saw_more_contradicts_and_shows_it(real: RealWitness, log: Log) -> None:
    real.trust(LOG)
    client(real.policy(), log).put(log.candidate(9))
    anchor = client(real.policy(), log)
    with pytest.raises(Contradicted, match=f"cosigned 9 entries of {LOG}, and here are 4"):
        anchor.put(log.candidate(4))
    assert sizes(anchor) == 9


def test_a_rewritten_log_is_not_cosigned(real: RealWitness, log: Log) -> None:
    real.trust(LOG)
    client(real.policy(), log).put(log.candidate(5))
    ledgers.rechain(log.epoch, lambda entries: entries[2].update(decision="deny"), ledgers.SIGNER)
    for size in (5, 9):
        with pytest.raises(Contradicted, match="no consistency between this log and what it cosigned"):
            client(real.policy(), _again(log)).put(log.candidate(size))


def _again(log: Log) -> Log:
    """The same files, with nothing kept of what was read before."""
    fresh = Log.__new__(Log)
    fresh.epoch, fresh.proofs = log.epoch, type(log.proofs)()
    return fresh


def test_a_witness_that_is_gone_is_waited_for(real: RealWitness, log: Log) -> None:
    real.trust(LOG)
    anchor = client(real.policy(), log)
    real.stop()
    with pytest.raises(Unavailable, match=r"witness witness\.test/real: http://127"):
        anchor.put(log.candidate(5))


def test_two_real_witnesses_make_a_quorum(real: RealWitness, log: Log, tmp_path: Path) -> None:
    with witness(tmp_path / "second", "witness.test/second") as second:
        policy = (
            f"witness a {real.vkey} {real.url}\nwitness b {second.vkey} {second.url}\n"
            "group both all a b\nquorum both\n"
        )
        real.trust(LOG)
        with pytest.raises(Refused):
            client(policy, log).put(log.candidate(4))
        second.trust(LOG)
        receipt = client(policy, log).put(log.candidate(4))
        parsed = quorum.parse(policy.encode())
        assert parsed.times(notes.parse(receipt.artefact)).keys() == {"a", "b"}
        second.stop()
        with pytest.raises(Unavailable):
            client(policy, log).put(log.candidate(5))
        either = policy.replace("all a b", "any a b")
        receipt = client(either, log).put(log.candidate(6))
        assert parsed.times(notes.parse(receipt.artefact)).keys() == {"a"}


# -- one that says what a test wants

Answer = tuple[int, Headers, bytes]


def scripted(*answers: Answer | Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
    """One after the other, and the last one from then on."""
    left = list(answers)

    def answer(asked: Asked) -> Answer:
        given = left.pop(0) if len(left) > 1 else left[0]
        return given(asked) if callable(given) else given

    return answer


def policy_of(server: Server) -> str:
    return f"witness w1 {WITNESS.vkey} {server.url}/prefix/\nquorum w1\n"


def cosigning(time: int, *, seed: bytes | None = None) -> Callable[[Asked], Answer]:
    """Cosigns the note that it is sent, as WITNESS or somebody who says so."""

    def answer(asked: Asked) -> Answer:
        note = asked.body.partition(b"\n\n")[2]
        line = cosign(notes.parse(note), time) if seed is None else cosign(notes.parse(note), time, seed)
        return 200, {}, with_line(b"", line)

    return answer


def test_what_is_asked_is_what_the_specification_says(log: Log) -> None:
    with serving(scripted((409, {}, b"3\n"), cosigning(1000))) as server:
        receipt = client(policy_of(server), log).put(log.candidate(7))
    assert receipt.dated == 1000.0
    first, second = server.asked
    assert (first.method, first.path) == ("POST", "/prefix/add-checkpoint")
    candidate = log.candidate(7)
    assert first.body == b"old 0\n\n" + candidate.note
    proof = "".join(f"{b64encode(node).decode()}\n" for node in log.prove(candidate, 3))
    assert second.body == b"old 3\n" + proof.encode() + b"\n" + candidate.note


def test_a_cosignature_of_somebody_else_is_no_cosignature(log: Log) -> None:
    no = pytest.raises(Unavailable, match="no cosignature by its key")
    with serving(cosigning(1000, seed=b"\x66" * 32)) as server, no:
        client(policy_of(server), log).put(log.candidate(7))


def test_a_forged_cosignature_is_named(log: Log) -> None:
    def forged(asked: Asked) -> Answer:
        line = cosign(notes.parse(asked.body.partition(b"\n\n")[2]), 1000)
        wrong = notes.Signature(line.name, line.key_id, line.signature[:8] + bytes(64))
        return 200, {}, with_line(b"", wrong)

    no = pytest.raises(Unavailable, match=r"in the name of witness\.test/w1 that it did not make")
    with serving(forged) as server, no:
        client(policy_of(server), log).put(log.candidate(7))


def test_a_cosignature_of_another_checkpoint_does_not_pass(log: Log) -> None:
    other = with_line(b"", cosign(log.candidate(6).checkpoint, 1000))
    with serving(scripted((200, {}, other))) as server, pytest.raises(Unavailable, match="did not make"):
        client(policy_of(server), log).put(log.candidate(7))


def test_lines_by_unknown_keys_are_passed_over(log: Log) -> None:
    stranger = b"\x66" * 32

    def answer(asked: Asked) -> Answer:
        checkpoint = notes.parse(asked.body.partition(b"\n\n")[2])
        lines = [cosign(checkpoint, 5, stranger, "witness.test/other"), cosign(checkpoint, 5, stranger)]
        return 200, {}, b"".join(with_line(b"", line) for line in [*lines, cosign(checkpoint, 1000)])

    with serving(answer) as server:
        receipt = client(policy_of(server), log).put(log.candidate(7))
    assert len(notes.parse(receipt.artefact).signatures) == 2


@pytest.mark.parametrize(
    ("answers", "raised", "why"),
    [
        ([(409, {}, b"nonsense")], Unavailable, "a conflict that names no size"),
        ([(409, {}, b"03\n")], Unavailable, "a conflict that names no size"),
        ([(409, {}, b"3\n"), (409, {}, b"4\n")], Unavailable, "HTTP status 409"),
        ([(409, {}, b"8\n")], Contradicted, "cosigned 8 entries"),
        ([(422, {}, b"")], Contradicted, "no consistency"),
        ([(500, {}, b"")], Unavailable, "HTTP status 500"),
        ([(302, {"Location": "/x"}, b"")], Unavailable, "HTTP status 302"),
        ([(200, {}, b"")], Unavailable, "no cosignature by its key"),
        ([(200, {}, b"\xff" * 100)], Unavailable, "no cosignature by its key"),
        ([(200, {}, b"\xe2\x80\x94 witness.test/w1 AAAA\n")], Unavailable, "note: "),
        ([(200, {}, b"x" * (notes.MAX_NOTE + 1))], Unavailable, f"over {notes.MAX_NOTE} bytes"),
    ],
)
def test_every_other_answer_is_something_of_its_own(
    log: Log, answers: list[Answer], raised: type[Exception], why: str
) -> None:
    with serving(scripted(*answers)) as server, pytest.raises(raised, match=why):
        client(policy_of(server), log).put(log.candidate(7))


def test_a_witness_may_ask_for_time(log: Log) -> None:
    with serving(scripted((503, {"Retry-After": "7"}, b""))) as server, pytest.raises(Unavailable) as caught:
        client(policy_of(server), log).put(log.candidate(7))
    assert caught.value.after_s == 7.0


def test_what_it_shows_is_only_taken_whole(log: Log) -> None:
    with serving(scripted((404, {}, b""))) as server:
        assert client(policy_of(server), log).larger(LOG, 0) is None
    origin = server.asked[0].path.split("/")
    assert (server.asked[0].method, origin[1], origin[3], len(origin[2])) == (
        "GET",
        "prefix",
        "checkpoint",
        64,
    )

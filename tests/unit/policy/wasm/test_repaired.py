"""Sets and objects come in the order of their keys, however they are iterated, as OPA gives them."""

from __future__ import annotations

from random import Random

from authz.policy.wasm.program import Bounds
from tests.policy.wasm import program, said

WORDS = [f"{word}{number}" for word in ("zeta", "b", "alpha", "m") for number in range(40)]


def shuffled() -> list[str]:
    words = list(WORDS)
    Random(1).shuffle(words)
    return words


def test_an_array_made_of_a_set_or_an_object_is_sorted() -> None:
    asked = program(
        'decision := {"set": [x | some x in {y | some y in input.a}], "keys": [k | some k, _ in input.o],'
        ' "written": {x | some x in input.a}, "concat": concat(",", {x | some x in input.a})}'
    )
    words = shuffled()
    found = said(asked, a=words, o=dict.fromkeys(words, 1))
    ordered = sorted(words)
    assert found == {"set": ordered, "keys": ordered, "written": ordered, "concat": ",".join(ordered)}


def test_iterations_inside_each_other_do_not_disturb_each_other() -> None:
    """Also over one and the same object, whose keys are then sorted once more in the middle."""
    asked = program("decision := [[x, y, z] | some x, _ in input.o; some y, _ in input.o; some z in input.s]")
    keys, others = ["c", "a", "b"], ["q", "p"]
    found = said(asked, o=dict.fromkeys(keys, 1), s=others)
    assert found == [[x, y, z] for x in sorted(keys) for y in sorted(keys) for z in others]


def test_data_are_iterated_in_order_in_every_evaluation() -> None:
    asked = program("decision := [k | some k, _ in data.o; k != input.a]", o=dict.fromkeys(shuffled(), 1))
    for left_out in ("m1", "zeta3", "m1"):
        assert said(asked, a=left_out) == [word for word in sorted(WORDS) if word != left_out]


def test_what_is_empty_or_cannot_be_iterated_has_nothing() -> None:
    asked = program("decision := [x | some x in input.a]")
    assert [said(asked, a=value) for value in ([], {}, "text", 1, None)] == [[], [], [], [], []]


def test_ten_thousand_keys_are_sorted_within_the_default_fuel() -> None:
    asked = program("decision := count([k | some k, _ in data.o])", o={f"k{n}": n for n in range(10_000)})
    assert said(asked) == 10_000


def test_a_union_of_no_objects_is_an_empty_one_and_of_an_object_an_error() -> None:
    asked = program("decision := object.union_n(input.a)", bounds=Bounds(64_000_000, 50_000_000))
    assert said(asked, a=[]) == {}
    assert said(asked, a=[{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}
    assert said(asked, a={"a": {"b": 2}}) == "policy_error: wasm: object.union_n in data.aegis.decision"

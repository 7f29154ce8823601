"""Secrets are masked by name and by form, and the record says where."""

from hypothesis import given
from hypothesis import strategies as st

from authz.config_evidence import Redaction as Rules
from authz.controls.redaction import MASK, PLAIN, SECRET_NAMES, Redaction

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_secret_member_is_masked_at_any_depth_and_its_pointer_is_given() -> None:
    value = {"a": [{"Access_Token": "x"}], "p/w": {"password": {"deep": 1}}, "kept": 1}
    shown, masked = PLAIN.parameters(value)
    assert shown == {"a": [{"Access_Token": MASK}], "p/w": {"password": MASK}, "kept": 1}
    assert masked == ["/a/0/Access_Token", "/p~1w/password"]


@given(JSON)
def test_what_has_no_secret_name_is_unchanged_and_the_input_always_is(value: object) -> None:
    before = repr(value)
    result, masked = PLAIN.parameters(value)
    assert repr(value) == before
    assert (result == value) or masked


@given(st.sampled_from(sorted(SECRET_NAMES)), st.text(min_size=8))
def test_no_secret_survives(name: str, secret: str) -> None:
    shown, _ = PLAIN.parameters({name.upper(): secret + "-marker"})
    assert secret not in repr(shown) or secret in repr({name.upper(): MASK})


def test_credentials_in_a_path_are_masked_and_ordinary_segments_stay() -> None:
    jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln"
    assert PLAIN.path(f"/v1/{jwt}/export") == f"/v1/{MASK}/export"
    assert PLAIN.path("/v1/" + "a1" * 25) == f"/v1/{MASK}"
    bot, hook = "123456789:AAF-" + "x_Y1" * 8, "/services/T0AB12CDE/B0AB12CDE/aB3dE5fG7hI9jK1lM3nO5pQ7"
    assert PLAIN.path(f"/bot{bot}/sendMessage") == f"/bot123456789:{MASK}/sendMessage"
    assert PLAIN.path(hook) == f"/services/T0AB12CDE/B0AB12CDE/{MASK}"
    assert PLAIN.path(f"/files;token={jwt}/x") == f"/files;token={MASK}/x"
    for path in (
        "/patients/12345/records",
        "/v1/019b7690-0001-7000-8000-000000000001",
        "/reports/2024-Annual-Report-Final.pdf",
        "/a/very/long/path/with/many/ordinary/segments/and/no/secret/in/it/1",
        "/v1/projects/p:batchUpdateAccessControlListsOfEverything",
        "/internationalization-and-localization-guidelines",
        "/",
        "",
    ):
        assert PLAIN.path(path) == path


SSN = r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"
CARD = r"\b[0-9]{16}\b"


def under(value: object, **rules: object) -> tuple[object, list[str]]:
    return Redaction(Rules(**rules)).parameters(value)  # type: ignore[arg-type]


def test_a_deployment_s_own_names_are_masked_beside_the_built_in_ones() -> None:
    value = {"Patient-Name": "x", "password": "y", "z": [{"patientname": 1}]}
    shown, masked = under(value, members=["patient_name"])
    assert shown == {"Patient-Name": MASK, "password": MASK, "z": [{"patientname": MASK}]}
    assert masked == ["/Patient-Name", "/password", "/z/0/patientname"]


def test_a_pointer_masks_what_it_points_to_and_a_star_everything_there() -> None:
    value = {"body": {"rows": [{"name": "a", "age": 1}, {"name": "b"}], "a/b": 1, "kept": {"rows": 2}}}
    shown, masked = under(value, pointers=["/body/rows/*/name", "/body/a~1b", "/body/missing/x", "/other"])
    assert shown == {
        "body": {"rows": [{"name": MASK, "age": 1}, {"name": MASK}], "a/b": MASK, "kept": {"rows": 2}}
    }
    assert masked == ["/body/rows/0/name", "/body/rows/1/name", "/body/a~1b"]


def test_of_two_pointers_the_outer_one_counts_in_any_order() -> None:
    value = {"a": {"b": {"c": 1}}, "d": [7]}
    for pointers in (["/a", "/a/b/c", "/d/0"], ["/a/b/c", "/d/0", "/a"]):
        assert under(value, pointers=pointers) == ({"a": MASK, "d": [MASK]}, ["/a", "/d/0"])


def test_a_pattern_masks_what_it_matches_in_texts_numbers_and_names() -> None:
    value = {"note": "of 123-45-6789, and", "card": 4111111111111111, "n": 12, "ok": True, "no": None}
    shown, masked = under(value | {"by 123-45-6789": 1}, patterns=[SSN, CARD])
    assert shown == {
        "note": f"of {MASK}, and",
        "card": MASK,
        "n": 12,
        "ok": True,
        "no": None,
        f"by {MASK}": 1,
    }
    assert masked == ["/note", "/card"]


def test_names_that_a_pattern_makes_equal_stay_apart() -> None:
    value = {"123-45-6789": 1, MASK: 2, "987-65-4321": 3, f"{MASK}2": 4}
    shown, _ = under(value, patterns=[SSN])
    assert isinstance(shown, dict)
    assert sorted(shown.values()) == [1, 2, 3, 4]
    assert all("-" not in name for name in shown)


def test_a_name_that_a_pattern_masks_is_still_known_as_a_secret_s() -> None:
    shown, _ = under({"password": "p", "inner": {"x": 1}}, patterns=["pass|inn"], pointers=["/inner/x"])
    assert shown == {f"{MASK}word": MASK, f"{MASK}er": {"x": MASK}}


def test_a_pattern_holds_for_paths_too() -> None:
    rules = Redaction(Rules(patterns=[r"[0-9]{5,}"]))  # type: ignore[arg-type]
    assert rules.path("/patients/1234567/records") == f"/patients/{MASK}/records"
    assert rules.path("/patients/17") == "/patients/17"


def test_what_a_pattern_cannot_read_is_masked_whole() -> None:
    assert under({"a": "\ud83d 1"}, patterns=["1"]) == ({"a": MASK}, ["/a"])


def test_a_pattern_is_linear_in_what_it_reads() -> None:
    """A backtracking engine would need 2^60 steps for this."""
    shown, _ = under({"a": "a" * 60 + "!"}, patterns=["(a|aa|a*)*b"])
    assert shown == {"a": "a" * 60 + "!"}


@given(JSON)
def test_rules_never_change_their_input_and_every_mask_is_named(value: object) -> None:
    before = repr(value)
    shown, masked = under(value, members=["a"], pointers=["/*/0", "/b/*"], patterns=["[0-9]"])
    assert repr(value) == before
    assert shown == value or masked or isinstance(value, dict | list)

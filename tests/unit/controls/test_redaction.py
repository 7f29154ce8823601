"""Secrets are masked by name and by form, and the record says where."""

from hypothesis import given
from hypothesis import strategies as st

from authz.controls.redaction import MASK, SECRET_NAMES, redact, redact_path

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_secret_member_is_masked_at_any_depth_and_its_pointer_is_given() -> None:
    masked: list[str] = []
    value = {"a": [{"Access_Token": "x"}], "p/w": {"password": {"deep": 1}}, "kept": 1}
    assert redact(value, "", masked) == {
        "a": [{"Access_Token": MASK}],
        "p/w": {"password": MASK},
        "kept": 1,
    }
    assert masked == ["/a/0/Access_Token", "/p~1w/password"]


@given(JSON)
def test_what_has_no_secret_name_is_unchanged_and_the_input_always_is(value: object) -> None:
    masked: list[str] = []
    before = repr(value)
    result = redact(value, "", masked)
    assert repr(value) == before
    assert (result == value) or masked


@given(st.sampled_from(sorted(SECRET_NAMES)), st.text(min_size=8))
def test_no_secret_survives(name: str, secret: str) -> None:
    assert secret not in repr(redact({name.upper(): secret + "-marker"}, "", [])) or secret in repr(
        {name.upper(): MASK}
    )


def test_credentials_in_a_path_are_masked_and_ordinary_segments_stay() -> None:
    jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln"
    assert redact_path(f"/v1/{jwt}/export") == f"/v1/{MASK}/export"
    assert redact_path("/v1/" + "a1" * 25) == f"/v1/{MASK}"
    bot, hook = "123456789:AAF-" + "x_Y1" * 8, "/services/T0AB12CDE/B0AB12CDE/aB3dE5fG7hI9jK1lM3nO5pQ7"
    assert redact_path(f"/bot{bot}/sendMessage") == f"/bot123456789:{MASK}/sendMessage"
    assert redact_path(hook) == f"/services/T0AB12CDE/B0AB12CDE/{MASK}"
    assert redact_path(f"/files;token={jwt}/x") == f"/files;token={MASK}/x"
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
        assert redact_path(path) == path

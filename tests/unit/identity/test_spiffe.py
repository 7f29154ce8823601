"""SPIFFE ids have the form of the specification, or are nobody's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.identity.spiffe import LONGEST, trust_domain


@pytest.mark.parametrize(
    ("spiffe_id", "domain"),
    [
        ("spiffe://aegis.test/agent", "aegis.test"),
        ("spiffe://aegis.test/ns/billing/sa/agent-1", "aegis.test"),
        ("spiffe://a_b-c.9/A.b_c-9", "a_b-c.9"),
        ("spiffe://d/...", "d"),
        ("spiffe://d/.hidden", "d"),
        ("spiffe://d/" + "a" * (LONGEST - 11), "d"),
    ],
)
def test_a_workloads_id_has_a_trust_domain(spiffe_id: str, domain: str) -> None:
    assert trust_domain(spiffe_id) == domain


@pytest.mark.parametrize(
    "text",
    """
    spiffe://aegis.test spiffe://aegis.test/ spiffe:///agent spiffe://aegis.test//agent
    spiffe://aegis.test/agent/ spiffe://aegis.test/a//b spiffe://aegis.test/. spiffe://aegis.test/..
    spiffe://aegis.test/../agent spiffe://aegis.test/a/./b spiffe://aegis.test/a/.. SPIFFE://aegis.test/a
    spiffe://Aegis.test/a spiffe://aegis.test:443/a spiffe://user@aegis.test/a spiffe://aegis.test/a?b
    spiffe://aegis.test/a#b spiffe://aegis.test/%61 spiffe://aegis.test/a;b spiffe://[::1]/a
    https://aegis.test/a spiffe:/aegis.test/a aegis.test/a spiffe://aegis.test/\u00e4
    """.split(),
)
def test_what_has_another_form_is_nobody(text: str) -> None:
    with pytest.raises(ValueError, match="SPIFFE id"):
        trust_domain(text)


@pytest.mark.parametrize("end", ["\n", " ", "\x00", "\r"])
def test_nothing_may_follow(end: str) -> None:
    with pytest.raises(ValueError, match="SPIFFE id"):
        trust_domain("spiffe://aegis.test/agent" + end)


def test_an_id_longer_than_a_name_may_be_is_refused() -> None:
    with pytest.raises(ValueError, match="SPIFFE id"):
        trust_domain("spiffe://d/" + "a" * (LONGEST - 10))


@given(st.text(max_size=60).map("spiffe://aegis.test/".__add__) | st.text(max_size=60))
def test_any_text_is_a_workload_of_the_domain_it_names_or_refused(text: str) -> None:
    try:
        domain = trust_domain(text)
    except ValueError:
        return
    assert text.startswith(f"spiffe://{domain}/")
    assert not {".", "..", ""} & set(text.split("/")[3:])

"""x-forwarded-client-cert as Envoy quotes it: the last element's URI, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.identity.xfcc import LONGEST, last_uri

HASH = "Hash=" + "ab" * 32
ME = "URI=spiffe://aegis.test/me"


@pytest.mark.parametrize(
    "value",
    [
        ME,
        f"By=spiffe://aegis.test/envoy;{HASH};{ME}",
        f'{HASH};Subject="CN=me,O=\\"A; B\\"";{ME};DNS=a.test;DNS=b.test',
        f'{HASH};Cert="-----BEGIN%20CERTIFICATE-----%0A";{ME}',
        'uri="spiffe://aegis.test/me"',
        f'Subject="";{ME}',
        f"URI=spiffe://aegis.test/first;{HASH},{HASH};{ME}",
        f"URI=spiffe://evil.test/a;URI=spiffe://evil.test/b,{ME}",
    ],
)
def test_the_last_element_names_the_client(value: str) -> None:
    assert last_uri(value) == "spiffe://aegis.test/me"


@pytest.mark.parametrize("value", [HASH, f"{ME},{HASH}", "URI=", f"{ME},DNS=a.test", 'Subject=""'])
def test_a_last_element_without_a_uri_names_nobody(value: str) -> None:
    assert last_uri(value) == ""


def test_a_quoted_value_is_unquoted() -> None:
    assert last_uri(r'URI="a\"b\\c=d,e;f"') == r'a"b\c=d,e;f'


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        ";",
        f"{ME},",
        f"{ME};",
        f",{ME}",
        f" {ME}",
        f"{ME}, {ME}",
        f"{ME}; {HASH}",
        "URI",
        "=x",
        "URI=a=b",
        'URI="a',
        'URI=a"',
        'URI="a"b',
        'URI="a\\"',
        "URI=a\\b",
        f"Role=admin;{ME}",
        f"{ME};{ME}",
        f"{ME};uri=spiffe://aegis.test/other",
        "Hash=" + "a" * LONGEST,
    ],
)
def test_what_has_another_form_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        last_uri(value)


ENVOYS = ['By=spiffe://a.test/e;Hash=00;Subject="";URI={}', 'Hash=00;Subject="CN=a,O=b";URI={}', "URI={}"]


@given(prefix=st.text('URI="\\=,;Subjectspiffe://x/ ', max_size=60), element=st.sampled_from(ENVOYS))
def test_no_prefix_makes_another_client_of_the_one_that_envoy_appended(prefix: str, element: str) -> None:
    try:
        found = last_uri(f"{prefix},{element.format('spiffe://aegis.test/me')}")
    except ValueError:
        return
    assert found == "spiffe://aegis.test/me"

"""Policy data in which a member stands twice is refused, by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.errors import PolicyRejected
from authz.policy.duplicates import refuse_duplicates
from authz.policy.signing import ensure_signing_key
from authz.up.deployment import POLICY, program
from tests.policy.bundles import build_bundle


def written(tmp_path: Path, name: str, text: str) -> Path:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("tools/data.yaml", "a.b:\n  x: 1\nc: 2\na.b: {}\n", "data.yaml:4: a.b: already in line 1"),
        ("data.yml", "a:\n  - b: {c: 1, d: 2,\n     c: 3}\n", "data.yml:3: a.0.b.c: already in line 2"),
        ("data.json", '{\n\t"a": 1,\n\t"\\u0061": 2\n}\n', "data.json:3: a: already in line 2"),
        ("data.yaml", "1: a\n'1': b\n", "data.yaml:2: 1: already in line 1"),
        ("data.yaml", "a: &x {b: 1, b: 2}\nc: *x\n", "data.yaml:1: a.b: already in line 1"),
        ("data.yaml", "a: 1\n---\nb: 2\n", "data.yaml:2: not one document of data"),
        ("data.json", '{"a": 1', "data.json:1: not one document of data"),
    ],
)
def test_a_member_that_stands_twice_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(PolicyRejected) as caught:
        refuse_duplicates(written(tmp_path, name, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 1}]\n"),
        ("data.json", '{"a": "\\/", "b": "\\ud83d\\ude00", "c": [1e3, true, null],\n\t"d": {}}'),
        ("data.yaml", "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n"),
        ("notes.yaml", "a: 1\na: 2\n"),
        ("data.yaml", ""),
    ],
)
def test_nothing_else_is_refused(tmp_path: Path, name: str, text: str) -> None:
    refuse_duplicates(written(tmp_path, name, text))


def test_the_librarys_own_data_has_none() -> None:
    refuse_duplicates(POLICY)


def test_a_source_with_a_member_twice_is_never_a_version(tmp_path: Path) -> None:
    source = written(tmp_path, "rego/tools/data.yaml", "t.read: {query: {}}\nt.read: {query: any}\n")
    written(tmp_path, "rego/aegis/decision.rego", "package aegis\n\ndecision := data.tools\n")
    ensure_signing_key(tmp_path / "policy.pem")
    with pytest.raises(PolicyRejected, match=r"tools/data\.yaml:2: t\.read: already in line 1"):
        build_bundle(
            source / "rego",
            tmp_path / "bundles",
            version="v1.0.0",
            signing_key=tmp_path / "policy.pem",
            opa=str(program("opa")),
        )
    assert not (tmp_path / "bundles").exists()

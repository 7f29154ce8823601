"""Which agents the data knows, what each may do where, and by which other names it goes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from authz.errors import PolicyRejected
from authz.policy.identities import MOST, identities_of
from authz.policy.inventory import Grant, Known, of_bundle, of_source, read
from authz.policy.signing import ensure_signing_key
from tests.policy.bundles import build_bundle

LIBRARY = Path(__file__).parents[3] / "rego"
ME = "spiffe://aegis.test/billing"
TREE: dict[str, Any] = {
    "agents": {
        "billing": {
            "description": "charges",
            "delegated_only": True,
            "identities": [ME],
            "tools": {"charge": {"arguments": {"cents": {"maximum": 5}}}, "gone": {}, "upkeep": {}},
        },
        "auditor": {"tools": {}},
    },
    "tools": {"charge": {"category": "payment", "sensitivity": "confidential"}},
    "destinations": {
        "pay.example": {"ports": [443], "routes": {"POST": {"/charges": "charge"}}},
        "old.example": {"ports": [443], "named": ["charge"]},
        "mcp.example": {
            "ports": [443],
            "mcp": {"/mcp": {"tools": {"pay": "charge"}, "methods": {"x/y": "other"}, "session": "upkeep"}},
        },
    },
}


def test_an_agent_has_its_tools_with_categories_and_destinations() -> None:
    assert read(TREE, "here") == {
        "auditor": Known("", False, (), ()),
        "billing": Known(
            "charges",
            True,
            (ME,),
            (
                Grant(
                    "charge",
                    "payment",
                    "confidential",
                    ("mcp.example", "old.example", "pay.example"),
                    ("cents",),
                ),
                Grant("gone"),
                Grant("upkeep", destinations=("mcp.example",)),
            ),
        ),
    }


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        {},
        {"agents": []},
        {"agents": {"a": []}},
        {"agents": {"a": 7}},
        {"agents": {"a": {}}, "destinations": {"h": {"mcp": []}}},
        {"agents": {"a": {}}, "destinations": {"h": {"routes": {"GET": 7}}}},
    ],
)
def test_data_of_another_form_is_refused(tree: Any) -> None:
    with pytest.raises(PolicyRejected, match="here: "):
        read(tree, "here")


def test_a_directory_and_the_version_made_of_it_say_the_same(tmp_path: Path) -> None:
    key = tmp_path / "policy.pem"
    ensure_signing_key(key)
    source = shutil.copytree(LIBRARY, tmp_path / "rego")
    file = source / "agents/data.yaml"
    file.write_text(file.read_text().replace("clinical-agent:\n", f"clinical-agent:\n  identities: [{ME}]\n"))
    made = build_bundle(source, tmp_path / "bundles", version="v1", signing_key=key)
    assert of_bundle(made.file) == of_source(source)
    granted = {grant.tool: grant for grant in of_source(source)["clinical-agent"].grants}
    assert {"ehr.delete", "ehr.export", "ehr.read"} <= set(granted)
    assert granted["ehr.read"].destinations == ("internal-ehr.myorg.example",)
    assert made.analysis.identities == {ME: "clinical-agent"}


def test_a_file_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"no")
    with pytest.raises(PolicyRejected, match=r"x\.tar\.gz: not a bundle"):
        of_bundle(tmp_path / "x.tar.gz")


# -- identities


def test_identities_lead_to_their_agents() -> None:
    tree = {"agents": {"a": {"identities": ["x", "spiffe://d/y"]}, "b": {"identities": ["z"]}, "c": {}}}
    assert identities_of(tree) == {"x": "a", "spiffe://d/y": "a", "z": "b"}


@pytest.mark.parametrize("tree", [None, {}, {"agents": []}, {"agents": {}}, {"agents": {"a": 7}}])
def test_data_without_identities_has_none(tree: Any) -> None:
    assert identities_of(tree) == {}


@pytest.mark.parametrize(
    ("agents", "what"),
    [
        ({"a": {"identities": ["x"]}, "b": {"identities": ["x"]}}, "agents/b/identities: x is another"),
        ({"a": {"identities": ["b"]}, "b": {}}, "agents/a/identities: b is another"),
        ({"a": {"identities": ["a"]}}, "agents/a/identities: a is another"),
        ({"a": {"identities": "x"}}, "not a list"),
        ({"a": {"identities": [7]}}, "not a name"),
        ({"a": {"identities": [""]}}, "not a name"),
        ({"a": {"identities": ["x y"]}}, "not a name"),
        ({"a": {"identities": ["unknown"]}}, "not a name"),
        ({"a": {"identities": [f"x{number}" for number in range(MOST + 1)]}}, f"over {MOST}"),
    ],
)
def test_an_identity_of_two_agents_or_of_none_makes_no_version(agents: Any, what: str) -> None:
    with pytest.raises(PolicyRejected, match=what):
        identities_of({"agents": agents})


def test_a_version_in_which_one_identity_is_two_agents_is_not_built(tmp_path: Path) -> None:
    key = tmp_path / "policy.pem"
    ensure_signing_key(key)
    source = shutil.copytree(LIBRARY, tmp_path / "rego")
    file = source / "agents/data.yaml"
    text = file.read_text().replace("clinical-agent:\n", f"clinical-agent:\n  identities: [{ME}]\n")
    file.write_text(text.replace("billing-agent:\n", f"billing-agent:\n  identities: [{ME}]\n"))
    with pytest.raises(PolicyRejected, match=f"{ME} is another agent"):
        build_bundle(source, tmp_path / "bundles", version="v1", signing_key=key)
    assert not (tmp_path / "bundles").exists()

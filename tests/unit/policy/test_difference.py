"""What differs between two versions: by file, by rule, by pointer, and in a bounded summary."""

from __future__ import annotations

import json

from authz.policy import difference
from authz.policy.difference import Change, compare, unified
from authz.policy.opa_tool import OpaTool

TOOL = OpaTool()
OLD = {
    "/.manifest": b'{"revision": "a"}',
    "/a/p.rego": b'package a\n\ndefault x := 1\n\nx := 2 if input.y\n\nz.q["b"] := 1\n\ngone := 1\n',
    "/a/q.rego": b"package a.b\n\nf(x) := x\n",
    "/data.json": json.dumps({"who": "a", "list": [1, 2], "a/b": {"~": 1}, "same": [1]}).encode(),
}


def changed(**files: bytes | None) -> difference.Files:
    named = {f"/{name.replace('__', '/').replace('_rego', '.rego')}": data for name, data in files.items()}
    return {path: data for path, data in (OLD | named).items() if data is not None}


def test_nothing_differs_in_a_version_from_itself_whatever_its_manifest_says() -> None:
    found = compare(OLD, OLD | {"/.manifest": b"{}", "/.signatures.json": b"{}"}, TOOL)
    assert found == compare(OLD, OLD, TOOL)
    assert found.files == found.rules == found.data == ()
    assert list(unified(OLD, OLD)) == []


def test_rules_are_compared_as_opa_reads_them() -> None:
    text = b'# said anew\npackage a\n\ndefault x := 1\n\nx := 3 if input.y\n\nz.q["b"]  :=  1\n\nnew := 1\n'
    found = compare(OLD, changed(a__p_rego=text), TOOL)
    assert found.files == (Change("changed", "/a/p.rego"),)
    assert found.rules == (
        Change("removed", "data.a.gone"),
        Change("added", "data.a.new"),
        Change("changed", "data.a.x"),
    )


def test_a_rule_that_moves_into_another_file_is_no_change_of_the_rule() -> None:
    found = compare(OLD, changed(a__q_rego=None, b_rego=OLD["/a/q.rego"]), TOOL)
    assert found.files == (Change("removed", "/a/q.rego"), Change("added", "/b.rego"))
    assert found.rules == ()


def test_data_is_compared_by_json_pointer() -> None:
    data = {"who": "b", "list": [1, 3], "a/b": {"~": True}, "same": [1, 2], "new": {"x": 1}}
    found = compare(OLD, OLD | {"/data.json": json.dumps(data).encode()}, TOOL)
    assert found.files == ()
    assert found.data == (
        Change("changed", "/a~1b/~0", "1", "true"),
        Change("changed", "/list/1", "2", "3"),
        Change("added", "/new", new='{"x":1}'),
        Change("changed", "/same", "[1]", "[1,2]"),
        Change("changed", "/who", '"a"', '"b"'),
    )


def test_the_first_version_adds_everything() -> None:
    found = compare({}, OLD, TOOL)
    assert {change.what for sort in (found.files, found.rules, found.data) for change in sort} == {"added"}
    assert [change.where for change in found.data] == ["/a~1b", "/list", "/same", "/who"]


def test_a_summary_has_a_bound_and_the_hash_of_all() -> None:
    data = {f"k{number}{'x' * 500}": "y" * 500 for number in range(1000)}
    found = compare({}, {"/data.json": json.dumps(data).encode()}, TOOL)
    summary = found.summary()
    assert len(found.data) == 1000
    assert (len(summary.data), summary.left_out) == (difference.MOST_SUMMARY, 1000 - difference.MOST_SUMMARY)
    assert all(len(line) < 200 for line in summary.data)
    assert summary.sha256 == found.sha256() != compare(OLD, OLD, TOOL).sha256()


def test_a_unified_diff_has_the_lines_of_rego_and_of_data() -> None:
    new = changed(a__q_rego=None) | {"/data.json": b'{"who": "b"}', "/policy.wasm": b"\0asm"}
    lines = list(unified(OLD, new))
    assert lines[:3] == ["--- a/a/q.rego", "+++ /dev/null", "@@ -1,3 +0,0 @@"]
    assert '-  "who": "a"' in lines
    assert '+  "who": "b"' in lines
    assert any(line.startswith("+4 bytes, SHA-256 ") for line in lines)

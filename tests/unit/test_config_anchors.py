"""The settings of anchors: what cannot be meant is refused with its field."""

from __future__ import annotations

from typing import Any

import pytest

from authz.config_file import load
from authz.errors import ConfigError


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(None, {"AEGIS_ANCHORS": text})
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{rfc3161: {url: 'ftp://tsa.test/', roots: r}}", r"anchors.rfc3161.url: not http"),
        ("{rfc3161: {url: 'http://u@tsa.test/', roots: r}}", "an address with a user"),
        ("{rfc3161: {url: 'http://tsa.test/#x', roots: r}}", "or a fragment"),
        ("{rfc3161: {url: 'http://tsa.test:99999/', roots: r}}", "Port out of range"),
        ("{rfc3161: {url: 'http://tsa.test/'}}", "url needs roots"),
        ("{s3: {bucket: UPPER}}", "anchors.s3.bucket"),
        ("{s3: {bucket: abc, endpoint: 'http://s3.test/'}}", "http only with a loopback address"),
        ("{s3: {bucket: abc, retain_days: 0}}", "anchors.s3.retain_days"),
        ("{witness: {of: some}}", "anchors.witness.of"),
        ("{directory: {every_s: 0}}", "anchors.directory.every_s"),
        ("{witnesses: 1}", "there is no such setting"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, why: str) -> None:
    assert why in refused(text)


@pytest.mark.parametrize(
    ("section", "any_of_them"),
    [
        ({}, False),
        ({"witness": {"policy": "p"}}, True),
        ({"rfc3161": {"url": "http://tsa.test/", "roots": "r"}}, True),
        ({"s3": {"bucket": "abc", "endpoint": "http://127.0.0.1:7070"}}, True),
        ({"directory": {"path": "d"}}, True),
    ],
)
def test_whether_anybody_is_shown_anything(section: dict[str, Any], any_of_them: bool) -> None:
    settings = load(None, {"AEGIS_ANCHORS": str(section)})
    assert settings.anchors.any is any_of_them


def test_the_control_log_is_what_others_see_and_the_directory_sees_all() -> None:
    anchors = load(None, {}).anchors
    seen = {kind: anchors.of(kind) for kind in ("witness", "rfc3161", "s3", "directory")}
    assert seen == {"witness": "control", "rfc3161": "control", "s3": "control", "directory": "all"}

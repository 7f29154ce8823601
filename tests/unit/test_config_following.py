"""A running worker takes up what may change in its settings' file, and nothing that cannot be used."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from authz.config_file import load
from authz.config_following import SettingsFile


def followed(file: Path) -> SettingsFile:
    return SettingsFile(file, load(file, {}))


def write(file: Path, text: str, at: int) -> None:
    """`at`: seconds, so that no two writes look alike."""
    file.write_text(text)
    os.utime(file, (at, at))


def settled(file: SettingsFile) -> bool:
    """Whether the second look finds the change: the first one waits for the writer to be done."""
    return not file.changed() and file.changed()


def test_nothing_changes_without_a_file(tmp_path: Path) -> None:
    followed = SettingsFile(None, load(None, {}))
    assert not settled(followed)


def test_a_file_is_taken_once_it_has_settled(tmp_path: Path) -> None:
    file = tmp_path / "aegis.yaml"
    write(file, "shadow: {all: true}\n", 1)
    following = followed(file)
    assert not settled(following)
    write(file, "", 2)
    assert not following.changed()
    write(file, "shadow: {rules: [agent-limits]}\n", 3)
    assert settled(following)
    fresh = following.read()
    assert fresh is not None
    assert fresh.shadow.rules == ("agent-limits",)
    assert not settled(following)


def test_what_cannot_be_used_changes_nothing_and_is_named(tmp_path: Path) -> None:
    file = tmp_path / "aegis.yaml"
    write(file, "shadow: {all: true}\n", 1)
    following = followed(file)
    write(file, "shadow: {al: true}\n", 2)
    with capture_logs() as logs:
        assert settled(following)
        assert following.read() is None
    assert following.problem == f"{file}:1: shadow.al: there is no such setting"
    assert [line["event"] for line in logs] == ["settings_not_taken"]
    file.unlink()
    assert settled(following)
    assert following.read() is None
    write(file, "shadow: {all: false}\n", 3)
    assert settled(following)
    assert following.read() is not None
    assert following.problem == ""


@pytest.mark.parametrize(
    "text",
    [
        "shadow: {alarm_after_h: 2026-13-01}\n",
        "x: !!int y\n",
        "a: 0x_\n",
        "a: &x {b: *x}\n",
        "a: " + "[" * 5000,
        "\x00",
        "- a\n",
    ],
    ids=["no such day", "no number", "no digits", "contains itself", "deep", "NUL", "a list"],
)
def test_a_file_that_python_s_yaml_chokes_on_changes_nothing(text: str, tmp_path: Path) -> None:
    file = tmp_path / "aegis.yaml"
    write(file, "shadow: {all: true}\n", 1)
    following = followed(file)
    write(file, text, 2)
    assert settled(following)
    assert following.read() is None
    assert following.problem.startswith(str(file))


def test_what_needs_a_restart_is_said(tmp_path: Path) -> None:
    file = tmp_path / "aegis.yaml"
    write(file, "", 1)
    following = followed(file)
    write(file, "policy: {timeout_ms: 50}\nshadow: {all: true}\n", 2)
    with capture_logs() as logs:
        assert settled(following)
        assert following.read() is not None
    assert [(line["event"], line["sections"]) for line in logs] == [("settings_need_restart", ["policy"])]

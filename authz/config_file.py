"""Reads the settings: one YAML file, then `AEGIS_...` environment overrides, then validation.

    AEGIS_LEDGER__REPLY_AFTER=synced      overrides ledger.reply_after

In: a file, the environment. Out: `config.Settings`, or ConfigError which names file, line and field, or
the variable. Called by the commands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from authz.config import Settings
from authz.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "AEGIS_"
# PyYAML lets Python's own errors through: of a date that there is not, of bytes, of what contains itself.
_NOT_YAML: Final = (yaml.YAMLError, ValueError, RecursionError)
# AEGIS_SERVICE_HOST, AEGIS_SERVICE_PORT_GRPC, AEGIS_PORT_9000_TCP_ADDR; and AEGIS_PORT with a URL.
_SERVICE_LINK: Final = re.compile(
    r"AEGIS(?:_[A-Z0-9]+)*_(?:SERVICE_(?:HOST|PORT(?:_[A-Z0-9]+)*)"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT: Final = re.compile(r"AEGIS(?:_[A-Z0-9]+)*_PORT")
_LINK_URL: Final = re.compile(r"(?:tcp|udp|sctp)://[][0-9A-Za-z.:-]+:[0-9]{1,5}")


def load(file: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from a YAML file and the environment.

    Raises ConfigError with file, line and field (or the variable's name) for whatever is wrong.
    """
    tree, lines = _read(file) if file else ({}, {})
    origins = _overlay(tree, os.environ if environment is None else environment)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(_explain(item, file, lines, origins) for item in error.errors())
        ) from None


def _read(file: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    lines: dict[tuple[str, ...], int] = {}
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
        _number(node, (), lines, file)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except _NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{file}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}:1: the settings are a mapping of sections")
    return tree, lines


def _number(
    node: yaml.Node | None, path: tuple[str, ...], lines: dict[tuple[str, ...], int], file: Path
) -> None:
    """Note the line of every member, and refuse a member that stands twice (YAML keeps the last)."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in lines:
            raise ConfigError(f"{file}:{line}: {'.'.join(here)}: already set in line {lines[here]}")
        lines[here] = line
        _number(value, here, lines, file)


def _overlay(tree: dict[str, Any], environment: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Put `AEGIS_A__B=v` into the tree at a.b; returns which member came from which variable."""
    origins: dict[tuple[str, ...], str] = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or _is_service_link(name, environment[name]):
            continue
        path = tuple(name[len(ENVIRONMENT_PREFIX) :].lower().split("__"))
        section = tree
        for part in path[:-1]:
            if not isinstance(section.setdefault(part, {}), dict):
                raise ConfigError(f"{name}: {part} is not a section")
            section = section[part]
        try:
            section[path[-1]] = yaml.safe_load(environment[name])
        except _NOT_YAML as error:
            problem = getattr(error, "problem", None) or "a character that it may not have"
            raise ConfigError(f"{name}: not YAML: {problem}") from None
        origins[path] = name
    return origins


def _is_service_link(name: str, value: str) -> bool:
    """What Kubernetes sets in every pod of a namespace with a service called `aegis` or `aegis-...`."""
    if _SERVICE_LINK.fullmatch(name):
        return True
    return bool(_SERVICE_PORT.fullmatch(name) and _LINK_URL.fullmatch(value))


def _explain(
    item: Any, file: Path | None, lines: dict[tuple[str, ...], int], origins: dict[tuple[str, ...], str]
) -> str:
    path = tuple(str(part) for part in item["loc"])
    field = ".".join(path) or "settings"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = "there is no such setting"
    for end in range(len(path), 0, -1):
        if path[:end] in origins:
            return f"{origins[path[:end]]}: {field}: {message}"
        if path[:end] in lines:
            return f"{file}:{lines[path[:end]]}: {field}: {message}"
    return f"{file or 'environment'}: {field}: {message}"

"""Refuses policy data in which a member stands twice: opa takes the last one, people read the first.

In: a policy source in bundle layout. Out: nothing, or PolicyRejected naming file, line and member. Called by
`version.py` before opa reads anything. JSON is read as the YAML that it is, since that keeps line numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from authz.errors import PolicyRejected

# What opa takes for data in a bundle.
DATA: Final = ("data.json", "data.yaml", "data.yml")
_LOADER: Final[Any] = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def refuse_duplicates(source: Path) -> None:
    """Look into every data file below `source`. Raises PolicyRejected for the first member that is there
    twice, and for a file that is not one document of YAML or JSON.
    """
    for file in sorted(path for path in source.rglob("data.*") if path.name in DATA and path.is_file()):
        try:
            root = _compose(file.read_text(encoding="utf-8"), file.suffix)
            _look(root, (), file, set())
        except RecursionError:
            raise PolicyRejected(f"{file}: nested too deep to be read") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            what = getattr(error, "problem", None) or "not UTF-8"
            raise PolicyRejected(f"{file}{line}: not one document of data: {what}") from None


def _compose(text: str, suffix: str) -> yaml.Node | None:
    if suffix == ".json":
        # In JSON a tab stands between tokens only, where YAML has none; libyaml knows no surrogates.
        return yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    return yaml.compose(text, Loader=_LOADER)


def _look(node: yaml.Node | None, path: tuple[str, ...], file: Path, seen: set[int]) -> None:
    """Every mapping once, however often an alias repeats it."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _look(item, (*path, str(number)), file, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1  # as JSON has it: 1 and "1" are one name
            if name in lines:
                where = ".".join((*path, name))
                raise PolicyRejected(
                    f"{file}:{line}: {where}: already in line {lines[name]}; opa takes the last"
                )
            lines[name] = line
            _look(value, (*path, name), file, seen)

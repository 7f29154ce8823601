"""What must not reach evidence is masked before anything is hashed (EVIDENCE section 5).

In: the parameters of an action, a path, and the deployment's rules (`config_evidence.Redaction`). Out: the
same with secrets masked, and the JSON pointers (RFC 6901) of what was masked. Called while a record is made.
It must never change what goes upstream.

    built in     names of members that hold credentials; forms of credentials in paths
    as settings  more names; JSON pointers, `*` for any part; RE2 patterns in names, texts, numbers and paths
"""

from __future__ import annotations

import re
from typing import Any, Final

from authz.config_evidence import Redaction as Rules
from authz.config_evidence import any_of, compiled

MASK: Final = "[redacted]"
ANY: Final = "*"  # part of a pointer that stands for every member and place
MAX_KNOWN: Final = 4096  # names of members that are remembered, and
MAX_KNOWN_LENGTH: Final = 64  # characters of one
SHORTEST: Final = 20  # characters of a path that can hold a credential by its form

# Member names whose values are credentials wherever they stand; compared in lower case without - and _.
SECRET_NAMES: Final = frozenset(
    "password passwd pwd secret clientsecret token accesstoken refreshtoken idtoken authtoken apikey "
    "authorization credential credentials privatekey sessionid cookie otp pin cvv cvc".split()
)
# Parts of a path that are a credential by their form: a JWT; a token after its number; a long token
# with digits in it; a shorter one of small and capital letters and digits without a separator. Each begins
# only where a run of such characters does, so that no path is read more than a few times.
_SECRET: Final = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
    r"|(?<=:)(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{30,}"
    r"|(?<![A-Za-z0-9_~+=-])(?=[A-Za-z_~+=-]*[0-9])[A-Za-z0-9_~+=-]{40,}"
    r"|(?<![A-Za-z0-9])(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}"
)

_Tree = dict[str, "_Tree | None"]  # pointers by their parts; None ends one
_NO_RULES: Final = Rules()


class Redaction:
    """The rules of one deployment, made once."""

    def __init__(self, rules: Rules = _NO_RULES) -> None:
        self._names = SECRET_NAMES.union(map(_folded, rules.members))
        self._known: dict[str, bool] = {}  # names that were asked for, and whether they are secrets'
        self._patterns = tuple(map(compiled, rules.patterns))
        self._any = any_of(rules.patterns) if rules.patterns else None
        self.headers = frozenset(rules.headers)
        self._trees: tuple[_Tree, ...] = (_tree(rules.pointers),) if rules.pointers else ()

    def parameters(self, value: Any) -> tuple[Any, list[str]]:
        """`value` (JSON) with what the rules name masked, and pointers to what was masked."""
        masked: list[str] = []
        return self._below(value, "", masked, self._trees), masked

    def path(self, path: str) -> str:
        """`path` with what is a credential by its form masked, and what a pattern matches."""
        if len(path) >= SHORTEST:
            path = _SECRET.sub(MASK, path)
        return self._text(path)

    def texts(self, value: Any, pointer: str, masked: list[str]) -> Any:
        """`value` with secret members masked, and in every text what is a credential by its form or what a
        pattern matches: for what is not parameters. Pointers below `pointer` are added to `masked`.
        """
        if isinstance(value, dict):
            return {
                name: self._text_member(name, item, f"{pointer}/{escaped(name)}", masked)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.texts(item, f"{pointer}/{index}", masked) for index, item in enumerate(value)]
        shown = self.path(value) if isinstance(value, str) else value
        if shown is not value and shown != value:
            masked.append(pointer)
        return shown

    def _text_member(self, name: str, item: Any, here: str, masked: list[str]) -> Any:
        if self._is_secret(name):
            masked.append(here)
            return MASK
        return self.texts(item, here, masked)

    def _plain(self, value: Any, pointer: str, masked: list[str]) -> Any:
        """`_below` where only names count, as almost everywhere."""
        if isinstance(value, dict):
            shown = {}
            for name, item in value.items():
                if self._is_secret(name):
                    masked.append(f"{pointer}/{escaped(name)}")
                    item = MASK
                elif isinstance(item, dict | list):
                    item = self._plain(item, f"{pointer}/{escaped(name)}", masked)
                shown[name] = item
            return shown
        return [
            self._plain(item, f"{pointer}/{index}", masked) if isinstance(item, dict | list) else item
            for index, item in enumerate(value)
        ]

    def _below(self, value: Any, pointer: str, masked: list[str], trees: tuple[_Tree, ...]) -> Any:
        if not trees and not self._patterns:
            return self._plain(value, pointer, masked) if isinstance(value, dict | list) else value
        if isinstance(value, dict):
            shown = self._shown(value) if self._patterns else value
            return {
                shown_name: self._member(name, item, f"{pointer}/{escaped(shown_name)}", masked, trees)
                for shown_name, (name, item) in zip(shown, value.items(), strict=True)
            }
        if isinstance(value, list):
            return [
                self._item(str(index), item, f"{pointer}/{index}", masked, trees)
                for index, item in enumerate(value)
            ]
        return self._matched(value, pointer, masked)

    def _member(self, name: str, item: Any, here: str, masked: list[str], trees: tuple[_Tree, ...]) -> Any:
        if self._is_secret(name):
            masked.append(here)
            return MASK
        return self._item(name, item, here, masked, trees)

    def _item(self, part: str, item: Any, here: str, masked: list[str], trees: tuple[_Tree, ...]) -> Any:
        below: tuple[_Tree, ...] = ()
        if trees:
            found = [tree[way] for tree in trees for way in (part, ANY) if way in tree]
            below = tuple(tree for tree in found if tree is not None)
            if len(below) < len(found):
                masked.append(here)
                return MASK
        return self._below(item, here, masked, below)

    def _is_secret(self, name: str) -> bool:
        found = self._known.get(name)
        if found is None:
            found = _folded(name) in self._names
            if len(self._known) < MAX_KNOWN and len(name) <= MAX_KNOWN_LENGTH:
                self._known[name] = found
        return found

    def _shown(self, value: dict[str, Any]) -> list[str]:
        """The names of `value` with what a pattern matches masked; those that become equal are numbered."""
        taken = set(value)
        shown: list[str] = []
        for name in value:
            masked = free = self._text(name)
            number = 1
            while free != name and free in taken:
                number, free = number + 1, f"{masked}{number + 1}"
            taken.add(free)
            shown.append(free)
        return shown

    def _matched(self, value: Any, pointer: str, masked: list[str]) -> Any:
        if value is None or isinstance(value, bool):
            return value
        text = value if isinstance(value, str) else repr(value)
        shown = self._text(text)
        if shown == text:
            return value
        masked.append(pointer)
        return shown

    def _text(self, text: str) -> str:
        try:
            if self._any is not None and self._any.search(text):
                for pattern in self._patterns:
                    text = pattern.sub(MASK, text)
        except UnicodeEncodeError:  # half of a surrogate pair: no pattern can look into it
            return MASK
        return text


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _tree(pointers: tuple[str, ...]) -> _Tree:
    """The pointers, without those that lie below another: these say nothing more."""
    root: _Tree = {}
    for pointer in sorted(pointers, key=len):
        *parts, last = (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
        node: _Tree | None = root
        for part in parts:
            node = node if node is None else node.setdefault(part, {})
        if node is not None:
            node.setdefault(last, None)
    return root


PLAIN: Final = Redaction()  # the built-in rules alone

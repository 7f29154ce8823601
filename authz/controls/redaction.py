"""What must not reach evidence is masked before anything is hashed (EVIDENCE section 5).

In: the parameters of an action, a path. Out: the same with secrets masked, and the JSON pointers (RFC 6901)
of what was masked. Called while a record is made. It must never change what goes upstream.
"""

from __future__ import annotations

import re
from typing import Any, Final

MASK: Final = "[redacted]"

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


def is_secret(name: str) -> bool:
    return name.lower().replace("_", "").replace("-", "") in SECRET_NAMES


def redact(value: Any, pointer: str, masked: list[str]) -> Any:
    """`value` (JSON) with the values of secret members masked; their pointers are added to `masked`."""
    if isinstance(value, dict):
        return {name: _member(name, item, pointer, masked) for name, item in value.items()}
    if isinstance(value, list):
        return [redact(item, f"{pointer}/{index}", masked) for index, item in enumerate(value)]
    return value


def _member(name: str, item: Any, pointer: str, masked: list[str]) -> Any:
    here = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
    if is_secret(name):
        masked.append(here)
        return MASK
    return redact(item, here, masked) if isinstance(item, dict | list) else item


def redact_path(path: str) -> str:
    """`path` with what is a credential by its form masked."""
    if len(path) < 20:
        return path
    return _SECRET.sub(MASK, path)

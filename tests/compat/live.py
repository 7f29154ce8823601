"""Ask the real opa-envoy-plugin and us the same, case by case and at random, until a number of requests.

    python -m tests.compat.live path/to/opa-envoy-plugin [REQUESTS [SEED]]

prints every answer that differs, and ends with exit code 1 if there is one. CI compares with the answers that
`record.py` keeps; this is for whoever changes how requests are read, or takes up a new plugin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import grpc

from tests.compat.cases import (
    BOUNDARIES,
    DOCUMENTS,
    FORMS,
    KINDS,
    LENGTHS,
    NAMED,
    PARTIAL,
    PARTS,
    QUERIES,
    TARGETS,
    Group,
    groups,
    http,
    message,
)
from tests.compat.compared import plain
from tests.compat.ours import answering
from tests.compat.plugin import ask, running

PIECES = [
    b"\r\n",
    b"\n",
    b"--b",
    b"--b--",
    b"--",
    b"-",
    b" ",
    b"\t",
    b":",
    b";",
    b"=",
    b'"',
    b"\\",
    b"%",
    b"%41",
    b"%zz",
    b"%FF",
    b"&",
    b"+",
    b"\xff",
    b"\xc3\xa9",
    b"\x00",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"null",
    b"1",
    b"0",
    b"1e5",
    b'"a"',
    b"a",
    b"name",
    b"*",
    b"0*",
    b"'",
    b"utf-8''",
    b"Content-Disposition: form-data; name=a",
    b"Content-Type: application/json",
    b"Content-Transfer-Encoding: quoted-printable",
    b"=\r\n",
    b"=3D",
    b"\\u0041",
    b"\\ud800",
    b"/",
    b"?",
    b"#",
    b".",
    b"..",
    b"boundary=b",
]


HEADERS: list[Any] = [
    {},
    {"x-a": "1"},
    {"X-A": "1"},
    {"x-a": ["1", "2"]},
    {"x-a": []},
    [{"x-a": "1"}, {"x-a": "2"}],
    [],
]
NAMES: list[Any] = [[], ["x-a"], ["X-A", "x-a"], ["a", "b"]]
MEMBERS: dict[str, list[Any]] = {
    "headers": HEADERS,
    "response_headers_to_add": HEADERS,
    "request_headers_to_remove": NAMES,
    "query_parameters_to_remove": NAMES,
    "query_parameters_to_set": [{}, {"a": "b"}, {"a": ["b", "c"], "d": []}],
    "http_status": [100, 200, 302, 401, 403, 503],
    "body": ["", "no", '{"a": 1}'],
    "dynamic_metadata": [{}, {"a": 1.5}, {"a": [{"b": None}, True]}, {"decision_id": "x"}],
    "other": [1, None],
}
WRONG: list[Any] = [
    None,
    1,
    1.0,
    "x",
    "1",
    True,
    False,
    [],
    [1],
    [[]],
    [None],
    {},
    {"a": 1},
    {"a": None},
    {"a": [1]},
    {"a": {}},
]
WRONG += [401, 0, 99, 418, 2**60, "401", 4e2, -1]


class Fuzz:
    """Requests that are nearly right."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._bodies = [
            *(
                (kind, text.encode())
                for kind in ("multipart/form-data; boundary=b",)
                for text in PARTS.values()
            ),
            *((kind, PARTS["one"].encode()) for kind in BOUNDARIES),
            *(("application/json", text) for text in DOCUMENTS if len(text) < 200),
            *(("application/x-www-form-urlencoded", text) for text in FORMS),
            *((kind, b"a=1") for kind in KINDS if kind),
        ]

    def request(self) -> bytes:
        random = self._random
        kind, body = random.choice(self._bodies)
        target = (
            random.choice(TARGETS) + "?" + random.choice([query for query in QUERIES if len(query) < 100])
        )
        headers = {"content-type": self._text(kind) if random.random() < 0.3 else kind}
        if random.random() < 0.1:
            headers["content-length"] = random.choice(LENGTHS)
        if random.random() < 0.05:
            headers[PARTIAL] = random.choice(("true", "false"))
        changed = self._changed(body)
        if random.random() < 0.1:
            changed = self._changed(NAMED.encode() + changed)
        path = self._text(target) if random.random() < 0.3 else "/p"
        return http(path=path, headers=headers, raw=changed)

    def result(self) -> bytes:
        """A request whose policy gives a result that is nearly right, with headers that HTTP permits."""
        found: Any = {"allowed": self._random.random() < 0.6}
        for member, right in MEMBERS.items():
            if self._random.random() < 0.4:
                found[member] = self._random.choice(right if self._random.random() < 0.8 else WRONG)
        if self._random.random() < 0.1:
            found = json.loads(json.dumps(self._random.choice(WRONG)))
        if self._random.random() < 0.1 and isinstance(found, dict):
            found["allowed"] = self._random.choice(WRONG)
        return message(
            {"contextExtensions": {"result": json.dumps(found)}, "request": {"http": {"path": "/"}}}
        )

    def _text(self, given: str) -> str:
        return self._changed(given.encode()).decode(errors="replace").replace("\ufffd", "")

    def _changed(self, data: bytes) -> bytes:
        for _ in range(self._random.randint(0, 3)):
            at = self._random.randint(0, len(data))
            end = at + self._random.choice((0, 0, 1, 2, 10))
            data = data[:at] + self._random.choice((b"", *PIECES)) + data[end:]
        return data


async def differences(binary: Path, group: Group, requests: list[tuple[str, bytes]]) -> int:
    found = 0
    with tempfile.TemporaryDirectory() as name, running(binary, group) as socket:
        async with answering(group, Path(name)) as ours:
            with grpc.insecure_channel(f"unix:{socket}") as channel:
                for what, message in requests:
                    theirs, own = ask(channel, message), await ours.ask(message)
                    if plain(theirs) != plain(own):
                        found += 1
                        print(f"{group.name}: {what}: {message!r}\n  plugin {theirs}\n  aegis  {own}\n")
    return found


async def main(binary: Path, requests: int, seed: int) -> int:
    fuzz = Fuzz(seed)
    random = [(f"seed {seed}", fuzz.request()) for _ in range(requests)]
    found = await differences(binary, groups()[0], random)
    results = [(f"seed {seed}", fuzz.result()) for _ in range(requests)]
    found += await differences(binary, Group("any result", "any.rego"), results)
    print(f"{2 * requests} requests at random (seed {seed}): {found} answered differently")
    return 1 if found else 0


if __name__ == "__main__":
    path, count, first = (*sys.argv[1:], "2000", "1")[:3] if len(sys.argv) < 3 else (*sys.argv[1:], "1")[:3]
    sys.exit(asyncio.run(main(Path(path), int(count), int(first))))

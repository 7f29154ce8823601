"""Put every case to the real opa-envoy-plugin and keep its answers as test vectors.

    python -m tests.compat.record path/to/opa-envoy-plugin

(`go install github.com/open-policy-agent/opa-envoy-plugin/cmd/opa-envoy-plugin@v1.19.1-envoy`, some minutes)
writes `tests/compat/vectors.json`, which names the plugin's version. `test_vectors.py` compares us with them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import grpc
import orjson

from tests.compat.cases import Group, groups
from tests.compat.plugin import ask, running, version

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ID = "00000000-0000-4000-8000-000000000000"
VECTORS = Path(__file__).parent / "vectors.json"


def answers(binary: Path, group: Group) -> dict[str, Any]:
    with running(binary, group) as socket, grpc.insecure_channel(f"unix:{socket}") as channel:
        return {case.name: _kept(ask(channel, case.message)) for case in group.cases}


def _kept(answer: dict[str, Any]) -> dict[str, Any]:
    """With one id for all, so that recording again changes nothing but what is answered otherwise."""
    if "dynamicMetadata" in answer:
        assert UUID4.fullmatch(answer["dynamicMetadata"]["decision_id"])
        answer["dynamicMetadata"]["decision_id"] = ID
    return answer


def main(binary: Path) -> None:
    found = {"plugin": version(binary), "answers": {group.name: answers(binary, group) for group in groups()}}
    VECTORS.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    print(f"{VECTORS}: {sum(map(len, found['answers'].values()))} answers of {found['plugin']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

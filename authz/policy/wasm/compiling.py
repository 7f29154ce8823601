"""Compiles a version's Rego to WebAssembly when it is made, or says why that would not be the same policy.

In: the files of a built bundle, without tests. Out: `policy.wasm`, or PolicyRejected, which names built-in,
file and line. Called where versions are made. OPA's WebAssembly has fewer built-ins than OPA, and of those it
has some answer otherwise (`builtins.py`); nothing of that may first be seen by a request.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from authz.errors import PolicyRejected
from authz.policy.opa_tool import OpaTool
from authz.policy.wasm.binary import MODULE
from authz.policy.wasm.builtins import BUILTINS, Outcome
from authz.policy.wasm.program import Bounds, Program

_TRIAL: Final = Bounds(1 << 30, 1 << 40)
_MOST_NAMED: Final = 20
_TEMPLATE: Final = "internal.template_string"  # what $"{x}" becomes
# Gone when the module is compiled: OPA's compiler erases or replaces them.
_COMPILED_AWAY: Final = frozenset(("assign", "eq", "print", "rego.metadata.chain", "rego.metadata.rule"))


def compile_wasm(files: dict[str, bytes], entry_points: Sequence[str], tool: OpaTool) -> bytes:
    """The module with these entry points. Raises PolicyRejected."""
    with tempfile.TemporaryDirectory(prefix="aegis-wasm-") as name:
        tree = Path(name) / "tree"
        for path, data in files.items():
            if path.endswith(".rego") or path == "/data.json":
                file = tree / path.lstrip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
        _refuse(tree, tool)
        entries = [argument for entry in entry_points for argument in ("--entrypoint", entry)]
        tool.run(["build", "--target", "wasm", "--bundle", ".", "-o", "../wasm.tar.gz", *entries], tree)
        with tarfile.open(Path(name) / "wasm.tar.gz", "r:gz") as tar:
            stream = tar.extractfile(MODULE)
            module = stream.read() if stream else b""
    for entry in entry_points:
        Program(module, files.get("/data.json", b"{}"), entry, _TRIAL)  # as a worker will, or not at all
    return module


def _refuse(tree: Path, tool: OpaTool) -> None:
    """Raises PolicyRejected for every use of a built-in that cannot be had."""
    known = {item["name"] for item in tool.json(["capabilities", "--current"], tree)["builtins"]}
    found = [use for module in sorted(tree.rglob("*.rego")) for use in _refused(module, tree, tool, known)]
    if found:
        more = [f"and {len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else []
        raise PolicyRejected(
            "not possible with --wasm:\n" + "\n".join([*found[:_MOST_NAMED], *more]) + "\nSee docs/wasm.md."
        )


def _refused(module: Path, tree: Path, tool: OpaTool, known: set[str]) -> Iterator[str]:
    name = str(module.relative_to(tree))
    parsed = tool.json(["parse", "--format", "json", "--json-include", "locations", name], tree)
    own = {rule["head"].get("name") for rule in parsed.get("rules", ())}
    for called, row in _names(parsed):
        if called not in known - own - _COMPILED_AWAY:
            continue
        if called not in BUILTINS:
            yield f"{name}:{row}: {called} is not in OPA's WebAssembly"
        elif BUILTINS[called].outcome is Outcome.DIFFERS:
            yield f"{name}:{row}: {called} may answer otherwise in OPA's WebAssembly than in OPA"


def _names(node: Any) -> Iterator[tuple[str, int]]:
    """Every reference in its dotted form, with its line: what is called, and what replaces a call."""
    if isinstance(node, list):
        for item in node:
            yield from _names(item)
    elif isinstance(node, dict):
        row = node.get("location", {}).get("row", 0)
        if node.get("type") == "ref" and isinstance(node.get("value"), list):
            yield ".".join(str(term["value"]) for term in node["value"]), row
        elif node.get("type") == "templatestring":
            yield _TEMPLATE, row
        for item in node.values():
            yield from _names(item)

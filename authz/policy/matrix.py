"""The policy matrix: category of action x sensitivity -> what is demanded, read and checked for people.

In: `data.matrix` of a source directory, of a published version, or of a running OPA. Out: a Matrix, or
PolicyRejected that names the cell. Called by `aegis policy matrix`; decisions are made from the same data by
the Rego, which never sees this reading.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import orjson
from msgspec import Struct

from authz.errors import Denied, PolicyRejected
from authz.policy.engine_opa import OpaEngine
from authz.policy.opa_tool import OpaTool

SENSITIVITIES: Final = ("public", "internal", "confidential", "regulated")
_TIMEOUT_S: Final = 2.0
_TESTS: Final = "*_test.rego"


class Cell(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one category needs at one sensitivity; rego/README.md says what each member means."""

    decision: Literal["allow", "approval_needed", "deny"]
    assurance: Literal["mtls", "jwt", "header", "none"]
    durability: Literal["synced", "bounded"]
    capture: Literal["hash", "redacted"]
    retention_days: int
    session: Literal["any", "identified"]
    session_labels: tuple[str, ...] = ()
    session_refuses: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()


Matrix = dict[str, dict[str, Cell]]


def read(tree: Any, where: str) -> Matrix:
    """The matrix in `tree`, every category with every sensitivity in order. Raises PolicyRejected."""
    if not isinstance(tree, dict) or not tree:
        raise PolicyRejected(f"{where}: no data.matrix, or none of the default library's form")
    return {category: _row(row, f"{where}: matrix.{category}") for category, row in sorted(tree.items())}


def _row(row: Any, where: str) -> dict[str, Cell]:
    if not isinstance(row, dict) or set(row) != set(SENSITIVITIES):
        raise PolicyRejected(f"{where}: not exactly {', '.join(SENSITIVITIES)}")
    try:
        return {name: msgspec.convert(row[name], Cell) for name in SENSITIVITIES}
    except msgspec.ValidationError as error:
        raise PolicyRejected(f"{where}: {error}") from None


def of_source(source: Path) -> Matrix:
    """What a version made of the directory `source` would hold, as OPA reads it."""
    arguments = ["eval", "--format", "json", "--bundle", ".", "--ignore", _TESTS, "data.matrix"]
    found = OpaTool().json(arguments, source).get("result")
    return read(found[0]["expressions"][0]["value"] if found else None, str(source))


def of_bundle(bundle: Path) -> Matrix:
    """What a published version holds. Its signature is OPA's to check, not ours."""
    try:
        with tarfile.open(bundle, "r:gz") as tar:
            member = next((item for item in tar if item.name.lstrip("/") == "data.json"), None)
            stream = tar.extractfile(member) if member else None
            tree = orjson.loads(stream.read()) if stream else {}
    except (tarfile.TarError, EOFError, OSError, orjson.JSONDecodeError) as error:
        raise PolicyRejected(f"{bundle}: not a bundle: {error}") from None
    return read(tree.get("matrix") if isinstance(tree, dict) else None, str(bundle))


async def of_opa(socket: Path) -> Matrix:
    """What the OPA that listens on `socket` decides by now."""
    engine = OpaEngine(socket, "none", connections=1)
    try:
        answer = await engine.get("/v1/data/matrix", _TIMEOUT_S)
    except Denied as denied:
        raise PolicyRejected(f"{socket}: {denied.detail}") from None
    finally:
        await engine.close()
    return read(answer.get("result") if isinstance(answer, dict) else None, str(socket))

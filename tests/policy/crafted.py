"""Bundles that the product would never publish, validly signed where a test wants that."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from authz.policy.making import ALGORITHM, KEY_ID, digest_of
from authz.policy.manifest import FORMAT
from tests.policy.opa import listed, signing_key, write

DECISION = "aegis/decision.rego"
ENTRY_POINT = "aegis/decision"


def manifest(facts: list[list[str]] | None = None, **members: Any) -> dict[str, Any]:
    """As `making.py` would write it; `members` replace its own."""
    entry = {"facts": [] if facts is None else facts, "prune": facts is not None}
    analysis = {"format": FORMAT, "entry_points": {ENTRY_POINT: entry}, "nondeterministic": []}
    return {"roots": [""], "metadata": {"aegis": analysis}} | members


def crafted(
    directory: Path,
    version: str,
    files: Mapping[str, str],
    *,
    said: dict[str, Any] | None = None,
    key: Path | None = None,
    facts: list[list[str]] | None = None,
) -> str:
    """Sign `files` unseen and put them into `directory/bundles` as `version`; the revision. `facts` are what
    it says that it reads (None: everything), `said` a whole manifest.
    """
    tree = manifest(facts) if said is None else said
    content = {f"/{name}": text.encode() for name, text in files.items()}
    revision = f"{version}+{digest_of(content | {'/.manifest': json.dumps(tree).encode()})}"
    tree = tree | {"revision": revision}
    source = write(directory / f"crafted-{version}", {**files, ".manifest": json.dumps(tree)})
    signing = ["--signing-alg", ALGORITHM, "--signing-key", str(key or signing_key())]
    claims = directory / f"claims-{version}.json"
    claims.write_text(json.dumps({"keyid": KEY_ID}))
    command = ["opa", "sign", "--bundle", ".", *signing, "--claims-file", str(claims.resolve())]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
    return packed(directory, revision, source)


def packed(directory: Path, revision: str, source: Path) -> str:
    """The files below `source` as the published `revision`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(f"/{file.relative_to(source)}")
            member.size = file.stat().st_size
            tar.addfile(member, io.BytesIO(file.read_bytes()))
    listed(directory / "bundles", revision, out.getvalue())
    return revision

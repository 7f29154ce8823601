"""Every way in which a bundle can be bad that OPA itself refuses, and the code that we name it by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from authz.policy.signing import ensure_signing_key
from authz.policy.versions import SUFFIX
from tests.attack.test_policy_bundle_tampering import relabelled, repack, rewritten, unsigned
from tests.policy.crafted import DECISION, crafted, manifest
from tests.policy.opa import ALLOW, DENY

VERSION = "v2.0.0"
LIMIT = 1_000_000  # bytes of one file, in these tests


class Fault(NamedTuple):
    """`make(directory)` publishes VERSION below it; the revision."""

    name: str
    code: str
    make: Callable[[Path], str]


def _of(rego: str) -> Callable[[Path], str]:
    return lambda directory: crafted(directory, VERSION, {DECISION: f"package aegis\n\n{rego}\n"})


def _changed(change: Callable[[Path], None]) -> Callable[[Path], str]:
    """A good version whose file somebody changed afterwards."""

    def make(directory: Path) -> str:
        revision = _of(DENY)(directory)
        change(directory / f"bundles/{revision}{SUFFIX}")
        return revision

    return make


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def _by_another(directory: Path) -> str:
    key = directory / "other.pem"
    ensure_signing_key(key)
    return crafted(directory, VERSION, {DECISION: f"package aegis\n\ndecision := {ALLOW}\n"}, key=key)


def _roots(*roots: str) -> Callable[[Path], str]:
    files = {DECISION: f"package aegis\n\ndecision := {ALLOW}\n"}
    return lambda directory: crafted(directory, VERSION, files, said=manifest(roots=list(roots)))


def _huge(directory: Path) -> str:
    files = {DECISION: f"package aegis\n\ndecision := {ALLOW}\n"}
    return crafted(directory, VERSION, files | {"names/data.json": json.dumps({"x": "y" * LIMIT})})


def _over_data(directory: Path) -> str:
    files = {DECISION: f"package aegis\n\ndecision := {ALLOW}\n", "aegis/decision/data.json": '{"x": 1}'}
    return crafted(directory, VERSION, files)


def _faults() -> Iterator[Fault]:
    yield Fault("truncated", "unreadable", _changed(_cut))
    yield Fault("empty", "unreadable", _changed(lambda file: file.write_bytes(b"") and None))
    yield Fault("no archive", "unreadable", _changed(lambda file: file.write_bytes(b"x" * 5000) and None))
    yield Fault("unsigned", "unsigned", _changed(lambda file: repack(file, unsigned)))
    yield Fault("signed by another key", "bad_signature", _by_another)
    yield Fault("changed after signing", "bad_signature", _changed(lambda file: repack(file, rewritten)))
    yield Fault("its facts changed", "bad_signature", _changed(lambda file: repack(file, relabelled)))
    yield Fault("huge", "too_large", _huge)
    yield Fault("roots that overlap", "bad_roots", _roots("aegis", "aegis/decision"))
    yield Fault("outside its roots", "bad_roots", _roots("other"))
    yield Fault("a cycle", "rego_recursion_error", _of("decision := a\n\na := b\n\nb := a"))
    yield Fault("no Rego", "rego_parse_error", _of("decision := {"))
    yield Fault("an unknown function", "rego_type_error", _of("decision := allow.all(1)"))
    yield Fault("a rule over data", "rego_compile_error", _over_data)


FAULTS = {fault.name: fault for fault in _faults()}

"""`aegis proof`, `aegis proof verify`: that an entry is in a log, for somebody who has only files.

    <seq>.json            the entry's bytes, as they were signed
    <seq>.tlog-proof      the way from its hash to a signed checkpoint (c2sp.org/tlog-proof)
    <seq>.pem             the certificate of the record key, where a root vouches for it

Exit status 0: made, verified; 1: not verified, no such record, or under no checkpoint yet; 2: could not run.
What is read may be hostile: nothing of it reaches the terminal without `plain`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from authz.cli.ledger import Anchors, Json, explained, find
from authz.errors import IntegrityViolation
from authz.ledger import anchors, certificates, form, proofs, reader, sealed, single, trust, vouching
from authz.ledger.proofs import Proofs
from authz.ledger.report import plain
from authz.ledger.single import Named, Verified

SUFFIX: Final = ".tlog-proof"
CERTIFICATE: Final = ".pem"
# What a verified proof leaves open.
ALONE: Final = "whether others were shown this checkpoint: no quorum of pinned witnesses has cosigned it"
NOT_CHECKED: Final = (
    "completeness: what else was, or was not, recorded",
    "disclosures, and whether what the entry says is true",
)

TrustFile = Annotated[Path, typer.Option("--trust", help="The pinned public keys, trust.json.")]


class _Group(typer.core.TyperGroup):
    """`aegis proof RECORD` is `aegis proof make RECORD`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = not args or args[0] in self.commands
        return super().resolve_command(ctx, args if known else ["make", *args])


app = typer.Typer(
    cls=_Group, no_args_is_help=True, help="Proofs of single records: RECORD makes one, `verify` checks it."
)


@app.command()
def make(
    record: Annotated[
        str,
        typer.Argument(metavar="DECISION_ID|LOG@SEQ|SEQ", help="Which record; LOG may be its last parts."),
    ],
    log: Annotated[str, typer.Option(help="The log of SEQ, or its last parts.")] = "",
    ledger: Annotated[Path, typer.Option(help="One log's directory, or a tree of them.")] = Path(
        "var/ledger"
    ),
    trust_file: TrustFile = Path("var/trust.json"),
    out: Annotated[Path, typer.Option(help="The directory to write the files to.")] = Path(),
) -> None:
    """Write a record's entry, and the proof that its log's newest checkpoint covers it."""
    with explained():
        pinned = trust.load(trust_file)
        found = find(ledger, f"{log}@{record}" if log else record)
        entry, proof = _prove(found, pinned)
        vouched = vouching.of_entry(entry, found.file, found.seq, pinned.record_roots)
        made = {".json": entry, SUFFIX: proof}
        if vouched:
            made[CERTIFICATE] = certificates.to_pem(vouched[1])
        for suffix, data in made.items():
            file = out / f"{found.seq}{suffix}"
            file.write_bytes(data)
            typer.echo(plain(str(file)))


def _prove(found: reader.Found, pinned: trust.Trust) -> tuple[bytes, bytes]:
    """The entry's bytes and its proof. Raises IntegrityViolation."""
    directory = found.file.parent.parent
    under = sealed.read(directory, pinned)
    size = under.checkpoint.size if under else 0
    if under is None or found.seq >= size:
        what = f"under no checkpoint yet: the newest one covers {size} entries"
        raise IntegrityViolation(what, file=str(found.file), line=found.line, seq=found.seq)
    made = Proofs()
    tree = made.tree(directory, under.checkpoint)
    return tree.entry(found.seq), made.prove(directory, found.seq, under.note)


@app.command()
def verify(
    proof_file: Annotated[Path, typer.Argument(metavar="PROOF", help=f"A file like 17{SUFFIX}.")],
    entry_file: Annotated[Path, typer.Option("--entry", help="The entry's bytes, a file like 17.json.")],
    trust_file: TrustFile = Path("trust.json"),
    given: Anchors = None,
    as_json: Json = False,
) -> None:
    """Verify a proof from files alone: its checkpoint, the way from the entry to it, the attestation.

    A certificate beside it (17.pem) is used if a pinned root has signed it.
    """
    with explained():
        pinned = trust.load(trust_file)
        others = anchors.read(given or (), pinned)
        found = single.verify(
            Named(str(proof_file), _read(proof_file, proofs.MAX_PROOF)),
            Named(str(entry_file), _read(entry_file, form.MAX_ENTRY + 1)),
            pinned,
            others,
            _certificate(proof_file),
        )
    unchecked = [*(() if found.cosigned_at else (ALONE,)), *others.unused, *NOT_CHECKED]
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found) | {"not_checked": unchecked}, indent=1))
    else:
        for line in _lines(found, unchecked):
            typer.echo(plain(line))


def _certificate(proof_file: Path) -> Named | None:
    """The one beside the proof, if it is there."""
    file = proof_file.with_suffix(CERTIFICATE)
    return Named(str(file), _read(file, certificates.MAX_CERTIFICATE)) if file.exists() else None


def _lines(found: Verified, unchecked: list[str]) -> Iterator[str]:
    yield f"verified      entry {found.seq} of {found.log}"
    yield f"              under its checkpoint of {found.size:,} entries"
    if found.cosigned_at:
        at = datetime.fromtimestamp(found.cosigned_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield f"cosigned      by the quorum of the pinned witnesses, {at}"
    yield f"entry hash    {found.entry_hash}"
    yield f"attested by   {found.attested_by}"
    yield "not checked"
    for line in unchecked:
        yield f"  {line}"


def _read(file: Path, most: int) -> bytes:
    """At most one byte more than `most`. Raises OSError."""
    with file.open("rb") as stream:
        return stream.read(most + 1)

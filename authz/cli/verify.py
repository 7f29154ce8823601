"""`aegis verify`: the evidence, judged from its bytes on disk.

    exit status    0 verified    1 not verified    2 could not run

For auditors and outsiders, from the files and pinned keys; on level 4 also from the policy versions and the
facts that were disclosed. What is stored may be hostile: nothing of it reaches the terminal without `plain`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from authz.cli import recorded
from authz.cli.ledger import EXIT_NOT_VERIFIED, Anchors, Json, explained, settings_of, to_a_reader
from authz.errors import ConfigError
from authz.followers.bundles import copies_of
from authz.ledger import anchors, trust
from authz.ledger import verify as verifier
from authz.ledger.disclosures.vault import Vault, vault_of
from authz.ledger.report import Disclosed, LogReport, Repeated, Report, plain
from authz.replay import recorded as records
from authz.replay import repeat
from authz.replay.judges import Judges
from authz.replay.recorded import WORDS, Recorded, Wanted, Why

REPEATED: Final = 4  # the level


def verify(
    path: Annotated[Path, typer.Argument(help="One epoch's directory, or a tree of them.")],
    trust_file: Annotated[Path, typer.Option("--trust", help="The pinned public keys, trust.json.")],
    level: Annotated[
        int,
        typer.Option(
            min=1,
            max=4,
            help="1: tree and checkpoints; 2: also chain and form; 3: also attestations; 4: also every "
            "decision, put again to the policy version that made it.",
        ),
    ] = 3,
    sealed: Annotated[
        bool,
        typer.Option("--sealed", help="Nothing is verified that no checkpoint covers: for copies at rest."),
    ] = False,
    given: Anchors = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Open disclosures with the keys of this state directory.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="... or of the state that these settings name.")
    ] = None,
    bundles: Annotated[
        Path | None, typer.Option(help="Level 4: the published policy versions; else those of the state.")
    ] = None,
    entry: recorded.Entry = "",
    as_json: Json = False,
) -> None:
    """Verify a ledger from its bytes on disk: exit status 0 verified, 1 not verified, 2 could not run."""
    with explained():
        pinned = trust.load(trust_file)
        judges = _judges(bundles, entry, state, config) if level == REPEATED else None
        found = verifier.verify(
            path,
            pinned,
            min(level, 3),
            sealed=sealed,
            processes=len(os.sched_getaffinity(0)),
            given=anchors.read(given or (), pinned),
            vault=(vault := _vault(state, config, level)),
        )
        if judges and found.verified:
            with judges:
                found = repeated(found, repeat.repeat(_watched(path, vault), judges))
    with to_a_reader():
        if as_json:
            typer.echo(json.dumps(msgspec.to_builtins(found), indent=1))
        else:
            for line in describe(found):
                typer.echo(line)
    raise typer.Exit(0 if found.verified else EXIT_NOT_VERIFIED)


def _judges(bundles: Path | None, entry: str, state: Path | None, config: Path | None) -> Judges:
    """Raises ConfigError."""
    if not (bundles or state or config):
        raise ConfigError("--level 4 needs the policy versions: say --bundles, --state or --config")
    settings = settings_of(state, config)
    directory = bundles or copies_of(settings)
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such directory")
    entry = entry or settings.policy.entry_point
    return Judges(directory, entry, compat=bool(settings.policy.compat))


def _vault(state: Path | None, config: Path | None, level: int) -> Vault | None:
    if not (state or config):
        return None
    settings = settings_of(state, config)
    return recorded.vault_if_there(settings) if level == REPEATED else vault_of(settings)


def _watched(path: Path, vault: Vault | None) -> Iterator[Recorded]:
    everything = Wanted()
    found = records.decisions(path, everything, vault)
    return recorded.watched(found, records.count(path, everything), "replaying")


def repeated(found: Report, said: Repeated) -> Report:
    """The same report, on level 4."""
    return msgspec.structs.replace(
        found, level=REPEATED, verified=said.first is None, first_fault=said.first, repeated=said
    )


def describe(found: Report) -> Iterator[str]:
    """A report for people, line by line."""
    entries = sum(log.entries for log in found.logs)
    if found.first_fault:
        yield plain(f"NOT VERIFIED  {found.first_fault}")
    else:
        logs = "1 log" if len(found.logs) == 1 else f"{len(found.logs):,} logs"
        yield f"verified      {logs}, {entries:,} entries, level {found.level}"
        unsealed = sum(log.unsealed for log in found.logs)
        if unsealed:
            yield f"              {unsealed:,} of them under no checkpoint: more may have followed them"
    if found.repeated:
        yield from _describe_repeated(found.repeated)
    for log in found.logs:
        yield ""
        yield plain(log.log or log.directory)
        for line in _describe_log(log):
            yield f"  {plain(line)}"
    yield ""
    yield "not checked"
    for line in found.not_checked:
        yield f"  {plain(line)}"
    yield f"tail exposure\n  {found.exposure}"


def _describe_repeated(said: Repeated) -> Iterator[str]:
    left_out = sum(said.not_replayable.values())
    yield f"              {said.decisions:,} decisions put to their policy version again:"
    came = f"{said.same:,} came out the same, {said.faults:,} otherwise, {left_out:,} not replayable"
    yield f"              {came}"
    for why, count in said.not_replayable.items():
        yield f"              not_replayable: {why}: {count:,} ({WORDS[Why(why)]})"


def _describe_log(log: LogReport) -> Iterator[str]:
    sealed = log.entries - log.unsealed
    closed = "; closed" if log.closed else ""
    yield f"{log.entries:,} entries: {sealed:,} sealed, {log.unsealed:,} not yet sealed{closed}"
    if log.fault:
        yield f"fault: {log.fault}"
    elif log.torn_bytes:
        yield f"an incomplete last line of {log.torn_bytes} bytes: an unfinished write, not an entry"
    for anchor in log.anchors:
        proven = f"there before {anchor.time} ({anchor.by})" if anchor.by else "no date (copies)"
        yield f"anchored outside: the first {anchor.size:,} entries, {proven}"
    if log.pruned:
        yield f"{log.pruned:,} of them pruned: their hashes are left, and lead to the checkpoint"
    if told := _describe_disclosures(log.disclosed):
        yield f"disclosures: {told}"
    for gap in log.gaps:
        yield f"gap: {gap.old_log} after its first {gap.good_entries:,} entries: {gap.why}"
    if log.gap_count > len(log.gaps):
        yield f"and {log.gap_count - len(log.gaps):,} more gaps"
    for line in log.not_checked:
        yield f"not checked: {line}"


def _describe_disclosures(found: Disclosed) -> str:
    counts = {
        "fit their entries": found.fit,
        "encrypted, not opened": found.encrypted,
        "erased or lost": found.absent,
        "of entries that are not here": found.strange,
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)

"""`aegis policy list|show|diff|changelog`: what is published, by whom and why, and what differs.

In: the store that the settings name. Out: lines for people, or JSON. What others wrote there reaches a
terminal without control characters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer

from authz.cli.ledger import ConfigFile, Json, State
from authz.cli.policy.common import explained, settings_of
from authz.errors import PolicyRejected
from authz.followers.bundles import versions_of
from authz.ledger.report import plain
from authz.policy import difference
from authz.policy.making import Files, files_of, files_of_source
from authz.policy.manifest import Changes, read_manifest
from authz.policy.opa_tool import OpaTool
from authz.policy.versions import Activation, Entry, Versions


def list_(state: State = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show every published version, the newest first, and which one is active."""
    with explained():
        versions = versions_of(settings_of(state, config))
        entries, active = versions.entries()[::-1], versions.active()
    revision = active.revision if active else ""
    if as_json:
        _print_json([_head(entry) | {"active": entry.revision == revision} for entry in entries])
        return
    wide = max((len(entry.version) for entry in entries), default=0)
    for entry in entries:
        mark = "active" if entry.revision == revision else ""
        release = entry.release
        _print(
            f"{entry.version:{wide}}  {mark:6}  {release.published[:19]}Z  {entry.digest[:12]}  "
            f"{release.author}: {release.why or 'no reason given'}"
        )


def show(version: str, state: State = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show what VERSION is: who published it, what it reads, what changed, and when it was active."""
    with explained():
        versions = versions_of(settings_of(state, config))
        entry = versions.find(version)
        files = files_of(versions.published_bundle(entry))
        active = versions.active()
        history = [active, *versions.before(active.number)] if active else []
    manifest = orjson.loads(files["/.manifest"])
    activations = [each for each in history[::-1] if each.revision == entry.revision]
    if as_json:
        said = _head(entry) | {
            "bundle_sha256": entry.bundle_sha256,
            "key_id": entry.key_id,
            "files": sorted(files.keys() - set(difference.MADE_HERE)),
            "analysis": manifest["metadata"]["aegis"],
            "activations": msgspec.to_builtins(activations),
        }
        _print_json(said)
        return
    for line in [*_described(entry), *_read(manifest), *_times(activations, active)]:
        _print(line)


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A version, or a directory with a source.")],
    after: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    unified: Annotated[bool, typer.Option("--unified", "-u", help="Show the lines, too.")] = False,
    state: State = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show what B has that A has not, and the other way round: files, rules, data by JSON pointer."""
    with explained():
        tool = OpaTool()
        sources = all(Path(name).is_dir() for name in (before, after))
        versions = versions_of(settings_of(state, config, there=not sources))
        old, new = (_files(name, versions, tool) for name in (before, after))
        found = difference.compare(old, new, tool)
    if as_json:
        _print_json(msgspec.to_builtins(found) | {"sha256": found.sha256()})
        return
    for sort in ("files", "rules", "data"):
        for change in getattr(found, sort):
            _print(f"{sort:5}  {change.what:7}  {change.where}{_values(change)}")
    for line in difference.unified(old, new) if unified else ():
        _print(line)


def changelog(state: State = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show who published what when and why, with what changed; the newest first."""
    with explained():
        entries = versions_of(settings_of(state, config)).entries()[::-1]
    if as_json:
        _print_json([_head(entry) for entry in entries])
        return
    for number, entry in enumerate(entries):
        for line in ["", *_described(entry)] if number else _described(entry):
            _print(line)


def _files(name: str, versions: Versions, tool: OpaTool) -> Files:
    entry = versions.named(name)
    if entry is not None:
        return files_of(versions.published_bundle(entry))
    if Path(name).is_dir():
        return files_of_source(Path(name), tool)
    raise PolicyRejected(f"{name} is neither published in {versions.store.place()} nor a directory")


def _values(change: difference.Change) -> str:
    if change.old and change.new:
        return f": {change.old} -> {change.new}"
    return f": {change.old or change.new}" if change.old or change.new else ""


def _head(entry: Entry) -> dict[str, Any]:
    head = {"number": entry.number, "version": entry.version, "digest": entry.digest, "who": entry.who}
    release: dict[str, Any] = msgspec.to_builtins(entry.release)
    return head | release


def _described(entry: Entry) -> Iterator[str]:
    release = entry.release
    yield f"{entry.version}  {release.published[:19]}Z  {release.author}: {release.why or 'no reason given'}"
    yield f"  digest     {entry.digest}"
    if release.commit:
        yield f"  commit     {release.commit}"
    if release.coverage:
        yield f"  coverage   {release.coverage} %"
    yield f"  against    {release.previous or 'nothing: the first version'}"
    yield from (f"  {line}" for line in _changes(release.changes))


def _changes(changes: Changes) -> Iterator[str]:
    for sort in ("files", "rules", "data"):
        for line in getattr(changes, sort):
            yield f"{sort:9}  {line}"
    if changes.left_out:
        yield f"and {changes.left_out} changes more: `aegis policy diff` shows all"


def _read(manifest: dict[str, Any]) -> Iterator[str]:
    found = read_manifest(manifest)
    if found is None:
        return
    for name, entry in found.analysis.entry_points.items():
        reads = ", ".join("input" + "".join(f"[{term!r}]" for term in path) for path in entry.facts)
        yield f"  {name} reads {reads or 'nothing of the input'}"
    for name, paths in manifest["metadata"].get("release", {}).get("dependencies", {}).items():
        yield f"  {name} rests on {', '.join(paths) or 'no data'}"
    if found.analysis.nondeterministic:
        yield f"  not cached: {', '.join(found.analysis.nondeterministic)} may answer differently each time"


def _times(activations: list[Activation], active: Activation | None) -> Iterator[str]:
    for each in activations:
        now = ", active now" if active and each.number == active.number else ""
        yield f"  {each.action:9}  {each.at[:19]}Z  {each.who}: {each.why or 'no reason given'}{now}"
    if not activations:
        yield "  never active"


def _print(line: str) -> None:
    typer.echo(plain(line))


def _print_json(said: Any) -> None:
    typer.echo(json.dumps(said, indent=1))

"""Is a destination or a path matched by something that others can be made to match?

In: a Program. Out: Findings. Called by `run.py`. Only where an allow rests on it: a denial that matches too
much is not unsafe. `input.destination.host` is lower-case, without port and trailing dot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from authz.policy.lint import patterns
from authz.policy.lint.finding import Edit, Finding, LintRule, Severity
from authz.policy.lint.program import Path, Program, below, text_of
from authz.policy.lint.syntax import Expr, Rule, Term, terms_of

HTTP: Final = ("attributes", "request", "http")
RAW_HOST: Final[tuple[Path, ...]] = (
    (*HTTP, "host"),
    (*HTTP, "headers", ":authority"),
    (*HTTP, "headers", "host"),
    ("attributes", "tlsSession", "sni"),
)
HOST: Final[tuple[Path, ...]] = (("destination", "host"), ("destination", "sni"), *RAW_HOST)
PATH: Final[tuple[Path, ...]] = (("action", "resource"), (*HTTP, "path"), (*HTTP, "headers", ":path"))
_ALL_OF_IT: Final = frozenset({("destination",)})  # by `walk`, or by a loop
_NETWORKS: Final = (
    "net.cidr_contains",
    "net.cidr_intersects",
    "net.cidr_contains_matches",
    "net.cidr_expand",
)
_AFFIXES: Final = (
    "startswith endswith contains indexof trim_prefix trim_suffix "
    "strings.any_prefix_match strings.any_suffix_match strings.count".split()
)

AFFIX: Final = LintRule(
    id="host-by-affix",
    severity=Severity.ERROR,
    why="Anyone can register a name that begins with, ends with or contains the one that is meant: "
    "`evil-example.com`, `example.com.evil.net`.",
    fix="Compare the whole name, or look it up: `input.destination.host in {...}`.",
    bad='allow if endswith(input.destination.host, "example.com")',
    good='allow if input.destination.host in {"api.example.com", "www.example.com"}',
)
SUBDOMAINS: Final = LintRule(
    id="host-any-subdomain",
    severity=Severity.WARNING,
    why="Every name below the domain is meant, also one that others are given (`bucket.s3.example.com`), or "
    "that is forgotten and taken over.",
    fix="List the names. Where it has to be the whole domain, say why in a suppression.",
    bad='allow if endswith(input.destination.host, ".example.com")',
    good='allow if input.destination.host == "api.example.com"',
)
REGEX: Final = LintRule(
    id="host-unanchored-regex",
    severity=Severity.ERROR,
    why="Without `^` and `$` a pattern matches anywhere inside: `api.example.com.evil.net` has it, too. An "
    "alternation is anchored only inside of parentheses.",
    fix="Put the whole pattern between `^(?:` and `)$`, or compare names.",
    bad="allow if regex.match(`api\\.example\\.com`, input.destination.host)",
    good="allow if regex.match(`^(?:api|www)\\.example\\.com$`, input.destination.host)",
    mends=True,
)
DOT: Final = LintRule(
    id="host-regex-dot",
    severity=Severity.ERROR,
    why="A dot that is not escaped stands for any character: `^api.example.com$` matches `apixexample.com`.",
    fix="Escape it: `\\.`.",
    bad="allow if regex.match(`^api.example\\.com$`, input.destination.host)",
    good="allow if regex.match(`^api\\.example\\.com$`, input.destination.host)",
    mends=True,
)
GLOB: Final = LintRule(
    id="host-glob-crosses-labels",
    severity=Severity.ERROR,
    why="With `null` or without `.` among the delimiters `*` takes dots as well, and `**` always does: "
    "`*.example.com` then matches `a.b.example.com`, `api.**` matches `api.evil.net`.",
    fix='Let `*` stand for one label: `glob.match("*.example.com", ["."], host)`.',
    bad='allow if glob.match("*.example.com", ["/"], input.destination.host)',
    good='allow if glob.match("*.example.com", ["."], input.destination.host)',
    mends=True,
)
NEVER: Final = LintRule(
    id="host-never-matches",
    severity=Severity.ERROR,
    why="`input.destination.host` is lower-case, without scheme, port and trailing dot: it is never equal to "
    "this, so a denial that rests on it never happens.",
    fix="Write the name in that form, and compare the port with `input.destination.port`.",
    bad='deny if input.destination.host == "Evil.example:443"',
    good='deny if input.destination.host == "evil.example"',
)
AUTHORITY: Final = LintRule(
    id="host-as-sent",
    severity=Severity.WARNING,
    why="The authority and the SNI are what was sent: with a port or without, and perhaps not the same.",
    fix="Use `input.destination.host` and `input.destination.port`.",
    bad='allow if input.attributes.request.http.host == "api.example.com"',
    good='allow if {\n\tinput.destination.host == "api.example.com"\n\tinput.destination.port == 443\n}',
)
NETWORK: Final = LintRule(
    id="network-of-a-host",
    severity=Severity.WARNING,
    why="A host is a name more often than an address. `net.cidr_contains` then fails: `policy_error` here, "
    "and undefined, so that no denial happens, where built-in errors are not strict.",
    fix='Compare names, or ask first if it is an address: `net.cidr_is_valid(concat("/", [host, "32"]))`.',
    bad='deny if net.cidr_contains("10.0.0.0/8", input.destination.host)',
    good='deny if {\n\tnet.cidr_is_valid(concat("/", [input.destination.host, "32"]))\n'
    '\tnet.cidr_contains("10.0.0.0/8", input.destination.host)\n}',
)
PATH_AFFIX: Final = LintRule(
    id="path-by-affix",
    severity=Severity.WARNING,
    why="`/v1` is also the beginning of `/v1-admin`, and what contains or ends with a text may be any path.",
    fix='End a prefix with a slash, or compare segments: `input.parsed_path[0] == "v1"`.',
    bad='allow if startswith(input.action.resource, "/v1")',
    good='allow if startswith(input.action.resource, "/v1/")',
)
PATH_REGEX: Final = LintRule(
    id="path-unanchored-regex",
    severity=Severity.WARNING,
    why="A pattern without `^` and `$` matches anywhere inside of the path: so `/admin/v1/public`, too.",
    fix="Put the whole pattern between `^(?:` and `)$`.",
    bad="allow if regex.match(`/v1/public`, input.action.resource)",
    good="allow if regex.match(`^/v1/public/[0-9]+$`, input.action.resource)",
    mends=True,
)
RULES: Final = (AFFIX, SUBDOMAINS, REGEX, DOT, GLOB, NEVER, AUTHORITY, NETWORK, PATH_AFFIX, PATH_REGEX)


def check(program: Program) -> Iterator[Finding]:
    for rule in program.rules:
        permitting = {id(part) for part in program.permitting(rule)}
        calls = [(part, call) for part in program.parts(rule) for call in _calls(part)]
        guarded = any(call.name == "net.cidr_is_valid" for _, call in calls)
        for part, call in calls:
            yield from _never(program, rule, call)
            if call.name in _NETWORKS and not guarded and (read := _read(program, rule, call, HOST)):
                yield Finding(NETWORK, call.place, f"{call.name} of {read}")
            if id(part) in permitting:
                yield from _matched(program, rule, call)
                yield from _as_sent(program, rule, call)


def _calls(part: Term | Expr) -> Iterator[Term]:
    return (term for term in terms_of(part) if term.kind == "call")


def _read(program: Program, rule: Rule, term: Term, prefixes: tuple[Path, ...]) -> str:
    """The first of the paths below `prefixes` that the arguments of a call stem from, as text."""
    origins = frozenset().union(*(program.origins(rule, arg) for arg in term.value))
    found = below(origins, *prefixes) or sorted(_ALL_OF_IT & origins if prefixes is HOST else ())
    return text_of(found[0]) if found else ""


def _matched(program: Program, rule: Rule, call: Term) -> Iterator[Finding]:
    host = _read(program, rule, call, HOST)
    path = "" if host else _read(program, rule, call, PATH)
    if call.name in _AFFIXES:
        if host:
            label = call.name in ("endswith", "strings.any_suffix_match") and _begins_with_dot(call.value[1])
            yield Finding(SUBDOMAINS if label else AFFIX, call.place, f"{call.name} of {host}")
        elif path and not (call.name == "startswith" and _ends_with_slash(call.value[1])):
            yield Finding(PATH_AFFIX, call.place, f"{call.name} of {path}")
    elif call.name == "regex.match" and (host or path):
        yield from _regex(call, host, path)
    elif call.name == "glob.match" and host:
        yield from _glob(call, host)


def _regex(call: Term, host: str, path: str) -> Iterator[Finding]:
    pattern = call.value[0]
    if pattern.kind != "string":
        return
    rule, read = (REGEX, host) if host else (PATH_REGEX, path)
    if not patterns.anchored(pattern.value):
        edit = Edit(pattern.place, pattern.text, patterns.between_anchors(pattern.text))
        yield Finding(rule, call.place, f"{pattern.text} of {read} is not anchored", edit)
    elif host and patterns.open_ended(pattern.value):
        yield Finding(rule, call.place, f"{pattern.text} of {read}: `.*` beside a name undoes the anchor")
    elif host and patterns.has_bare_dot(pattern.value):
        edit = Edit(pattern.place, pattern.text, patterns.with_dots_escaped(pattern.text))
        yield Finding(DOT, call.place, f"{pattern.text} of {read} has a dot for any character", edit)


def _glob(call: Term, host: str) -> Iterator[Finding]:
    pattern, delimiters = call.value[0], call.value[1]
    literal = pattern.value if pattern.kind == "string" else None
    if literal is not None and "**" in literal:
        yield Finding(GLOB, call.place, f"`**` in {pattern.text} of {host}")
    elif (literal is None or "*" in literal) and _lets_dots_through(delimiters):
        edit = Edit(delimiters.place, delimiters.text, '["."]')
        yield Finding(GLOB, call.place, f"delimiters {delimiters.text} of {host}", edit)


def _lets_dots_through(delimiters: Term) -> bool:
    if delimiters.kind == "array":  # none at all means "."
        known = [item.value for item in delimiters.value]
        return bool(known) and "." not in known
    return delimiters.kind == "null"


def _never(program: Program, rule: Rule, call: Term) -> Iterator[Finding]:
    """A comparison of the host, in its normal form, with a text that is in another."""
    if call.name not in ("equal", "eq", "neq", "internal.member_2"):
        return
    for one, other in (call.value, call.value[::-1]):
        if one.kind in ("var", "ref") and _is_host(program, rule, one):
            for term in other.value if other.kind in ("set", "array") else (other,):
                if term.kind == "string" and not _normal(term.value):
                    yield Finding(NEVER, term.place, f"{term.text} is no host in normal form")


def _is_host(program: Program, rule: Rule, term: Term) -> bool:
    return program.origins(rule, term) == {("destination", "host")}


def _normal(host: str) -> bool:
    bare = re.fullmatch(r"\[[0-9a-f:.]+\]|[^A-Z:/\s]*", host)
    return bare is not None and not host.endswith(".")


def _as_sent(program: Program, rule: Rule, call: Term) -> Iterator[Finding]:
    if call.name in ("assign", "eq") and not any(arg.kind == "string" for arg in call.value):
        return
    if any(inner is not call and inner.kind == "call" for inner in terms_of(call)):
        return  # reported at the innermost one
    if read := _read(program, rule, call, RAW_HOST):
        yield Finding(AUTHORITY, call.place, f"{call.name} of {read}")


def _begins_with_dot(term: Term) -> bool:
    """A literal, a list of them, or what is put together from a dot on."""
    if term.kind == "string":
        return bool(term.value.startswith("."))
    if term.kind in ("array", "set") and term.value:
        return all(_begins_with_dot(item) for item in term.value)
    if term.kind == "call" and term.name in ("concat", "sprintf"):
        parts = term.value[1] if term.name == "concat" else term.value[0]
        return _begins_with_dot(parts.value[0] if parts.kind == "array" and parts.value else parts)
    return False


def _ends_with_slash(term: Term) -> bool:
    return term.kind != "string" or term.value.endswith("/")

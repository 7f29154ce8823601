"""Does policy call what answers differently each time, asks the network, or believes what nobody signed?

In: a Program, the names of the built-ins that opa calls non-deterministic. Out: Findings. Called by `run.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from authz.policy.lint.finding import Finding, LintRule, Severity
from authz.policy.lint.program import Program
from authz.policy.lint.syntax import Term, terms_of

NETWORK: Final = LintRule(
    id="network-call",
    severity=Severity.ERROR,
    why="Every decision waits for another server, which can be slow, wrong or away, learns what is asked, "
    "and answers differently when the decision is replayed.",
    fix="Bring what it knows into the policy's data, or into the token's claims.",
    bad='allow if http.send({"method": "GET", "url": "https://pdp.example/ok"}).status_code == 200',
    good="allow if input.agent.id in data.approved",
)
CHANGING: Final = LintRule(
    id="changing-built-in",
    severity=Severity.WARNING,
    why="The answer differs each time: no verdict is cached, each costs a question to OPA, and a replay of "
    "the record may come out otherwise.",
    fix="For the time use `input.now` (weekday, hour, minute, date; UTC), which is recorded.",
    bad='allow if {\n\tinput.agent.id == "x"\n\ttime.now_ns() < 1900000000000000000\n}',
    good='allow if {\n\tinput.agent.id == "x"\n\tinput.now.date < "2030-03-17"\n}',
)
ZONE: Final = LintRule(
    id="local-time",
    severity=Severity.WARNING,
    why="`Local` is the time zone of the machine that OPA runs on: another one decides differently.",
    fix="Use `input.now`, which is UTC, or name the zone.",
    bad='allow if time.weekday([input.agent.claims.at, "Local"]) == "Monday"',
    good='allow if input.now.weekday == "monday"',
)
UNVERIFIED: Final = LintRule(
    id="unverified-token",
    severity=Severity.ERROR,
    why="`io.jwt.decode` checks no signature: the agent wrote what it yields.",
    fix="Use `input.agent.claims`: they were verified. For another token use `io.jwt.decode_verify`.",
    bad='allow if {\n\t[_, payload, _] := io.jwt.decode(input.attributes.request.http.headers["x-token"])\n'
    '\tpayload.sub == "x"\n}',
    good='allow if input.agent.claims.role == "clerk"',
)
RULES: Final = (NETWORK, CHANGING, ZONE, UNVERIFIED)
_ASKING: Final = frozenset(("http.send", "net.lookup_ip_addr"))
_CLOCKS: Final = frozenset(("time.clock", "time.weekday", "time.date", "time.format", "time.diff"))
_VERIFYING: Final = ("io.jwt.verify_", "io.jwt.decode_verify")


def check(program: Program, changing: Collection[str]) -> Iterator[Finding]:
    for rule in program.rules:
        terms = [term for part in program.parts(rule) for term in terms_of(part)]
        verifies = any(_name(term).startswith(_VERIFYING) for term in terms)
        for term in terms:
            name, place = _name(term), term.place
            if name in _ASKING:
                yield Finding(NETWORK, place, f"{name} asks the network")
            elif name in changing:
                yield Finding(CHANGING, place, f"{name} answers differently each time")
            elif name == "io.jwt.decode" and not verifies:
                yield Finding(UNVERIFIED, place, "io.jwt.decode believes an unverified token")
            elif name in _CLOCKS and any(inner.value == "Local" for inner in terms_of(term)):
                yield Finding(ZONE, place, f"{name} in the zone of the machine")


def _name(term: Term) -> str:
    """Of a built-in that is called, or put in the place of a function by `with`."""
    if term.kind == "ref":
        return ".".join(str(part.value) for part in term.value)
    return term.name

"""Does an allow rest on what the agent says about itself?

In: a Program. Out: Findings. Called by `run.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from authz.policy.facts import CREDENTIALS
from authz.policy.lint.finding import Finding, LintRule, Severity
from authz.policy.lint.hosts import HTTP
from authz.policy.lint.program import Program, below, text_of
from authz.policy.lint.syntax import Expr
from authz.values import CLAIMS

HEADER: Final = LintRule(
    id="identity-from-a-header",
    severity=Severity.ERROR,
    why="The agent writes its headers itself, and can call itself whatever it likes there.",
    fix="Use `input.agent`: its id, chain and claims come from a verified token or certificate.",
    bad='allow if input.attributes.request.http.headers["x-user-role"] == "admin"',
    good='allow if input.agent.claims.role == "admin"',
)
CLAIM: Final = LintRule(
    id="claim-as-fact",
    severity=Severity.WARNING,
    why="`input.context` is what the caller says of itself, its model or its prompt; nobody verifies it.",
    fix='Require at most that it is said (`"model" in input.context.claimed`); permit by `input.agent`.',
    bad='allow if {\n\tinput.agent.id == "x"\n\tinput.context.model == "safe@1"\n}',
    good='allow if {\n\tinput.agent.id == "x"\n\t"model" in input.context.claimed\n}',
)
RULES: Final = (HEADER, CLAIM)
_HEADERS: Final = (*HTTP, "headers")
_WHO: Final = re.compile(
    r".*(^|[-_])(user|agent|role|roles|tenant|client|caller|identity|subject|principal|group|groups|scope|scopes|"
    r"admin|internal|trusted|forwarded|real-ip|email|account|org)($|[-_]).*"
)
_NOT_WHO: Final = CREDENTIALS | {"user-agent"}  # a credential is verified, or is no name


def check(program: Program) -> Iterator[Finding]:
    for rule in program.rules:
        for part in program.permitting(rule):
            if isinstance(part, Expr) and part.terms[0].name == "assign":
                continue
            read = program.read(rule, part)
            for path in below(read, _HEADERS):
                name = path[len(_HEADERS)] if len(path) > len(_HEADERS) else ""
                if _WHO.fullmatch(name) and name not in _NOT_WHO:
                    yield Finding(HEADER, part.place, f"{text_of(path)} says who asks")
            for path in below(read, *(("context", name) for name in CLAIMS)):
                yield Finding(CLAIM, part.place, f"{text_of(path)} is only claimed")

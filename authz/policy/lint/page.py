"""The rules of the linter as a page of Markdown, so that the page cannot say anything else.

In: LintRules. Out: text. Called by `aegis policy lint --rules`; `docs/policy-lint.md` ends with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from authz.policy.lint.finding import LintRule

HEAD = "| rule | severity | `--fix` |\n|---|---|---|\n"


def page(rules: Sequence[LintRule]) -> str:
    """A table of all rules, then each with its reason, its fix and an example of both kinds."""
    rows = "".join(
        f"| [`{rule.id}`](#{rule.id}) | {rule.severity} | {'yes' if rule.mends else ''} |\n" for rule in rules
    )
    return HEAD + rows + "".join(part for rule in rules for part in _section(rule))


def _section(rule: LintRule) -> Iterator[str]:
    yield f"\n### {rule.id}\n\n{rule.why}\n\n**Fix.** {rule.fix}\n\n"
    for title, rego in (("found", rule.bad), ("not found", rule.good)):
        yield f"```rego\n# {title}\n{rego}\n```\n"

"""Each check on the forms that its rule's own example does not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.policy.lint.run import lint

HEAD = "package aegis\n\n"
DENY = 'default decision := {"decision": "deny", "reason_code": "not_permitted"}\n\n'
KNOWN = "input.agent.id in data.known"


def found(directory: Path, rego: str, *entries: str) -> set[str]:
    (directory / "a.rego").write_text(HEAD + rego + "\n")
    return {finding.rule.id for finding in lint(directory, entries or ["aegis/decision"])}


@pytest.mark.parametrize(
    ("rego", "rule"),
    [
        ('default decision := {"decision": "allow", "reason_code": "x"}', "allow-by-default"),
        ('default decision := {"allowed": true}', "allow-by-default"),
        ('decision := {"decision": "allow", "reason_code": "x"}', "allow-by-default"),
        (
            'decision := {"decision": "deny", "reason_code": "x"} if {\n\tinput.now.hour < 6\n} else := '
            '{"decision": "allow", "reason_code": "y"}',
            "allow-by-default",
        ),
        (DENY + 'decision := object.get(data.answers, input.agent.id, "allow")', "allow-by-default"),
        (DENY + "allow if true", "allow-by-absence"),
        (DENY + "x := y if {\n\tnot data.bad\n\ty := {`allowed`: true}\n}", "allow-by-absence"),
        (DENY + "allow if not input.agent.id in data.bad", "allow-by-absence"),
        (DENY + "allow if deny == set()\n\ndeny contains 1 if input.now.hour < 6", "allow-by-absence"),
        (DENY + "allow if fine\n\nfine if not bad\n\nbad if input.now.hour < 6", "allow-by-absence"),
        (DENY + "allow if {\n\th := input.destination.host\n\tnot data.bad[h]\n}", "allow-by-absence"),
        (
            DENY + 'decision := {"decision": "allow", "reason_code": "x"} if {\n\tcount(bad) < 1\n}\n\n'
            "bad contains 1 if input.now.hour < 6",
            "allow-by-absence",
        ),
    ],
)
def test_an_allow_that_needs_nothing(rego: str, rule: str, tmp_path: Path) -> None:
    assert rule in found(tmp_path, rego)


@pytest.mark.parametrize(
    "rego",
    [
        DENY + f"allow if {KNOWN}",
        DENY + f"allow if {{\n\t{KNOWN}\n\tnot input.now.hour < 6\n}}",
        DENY + f"allow if fine\n\nfine if {KNOWN}",
        "default allow := false",
        "default denied := true",
        'default decision := {"allowed": false}',
        DENY + 'decision := object.get(data.answers, input.agent.id, "deny")',
    ],
)
def test_a_denial_by_default_and_an_allow_with_evidence(rego: str, tmp_path: Path) -> None:
    assert not {"allow-by-default", "allow-by-absence"} & found(tmp_path, rego)


@pytest.mark.parametrize(
    ("condition", "rule"),
    [
        ("regex.match(`^api\\.example\\.com`, HOST)", "host-unanchored-regex"),
        ("regex.match(`api\\.example\\.com$`, HOST)", "host-unanchored-regex"),
        ("regex.match(`^a\\.example$|^b\\.example`, HOST)", "host-unanchored-regex"),
        ("regex.match(`(?m)^a\\.example$`, HOST)", "host-unanchored-regex"),
        ("regex.match(`^.*example\\.com$`, HOST)", "host-unanchored-regex"),
        ("regex.match(`^(.*)example\\.com$`, HOST)", "host-unanchored-regex"),
        ("regex.match(`^api\\..*$`, HOST)", "host-unanchored-regex"),
        ('regex.match("^api.example$", HOST)', "host-regex-dot"),
        ("regex.match(`^(a|b).example$`, HOST)", "host-regex-dot"),
        ('glob.match("*.example.com", null, HOST)', "host-glob-crosses-labels"),
        ('glob.match("**.example.com", ["."], HOST)', "host-glob-crosses-labels"),
        ('glob.match(data.pattern, ["/"], HOST)', "host-glob-crosses-labels"),
        ('strings.any_suffix_match(HOST, {"a.example"})', "host-by-affix"),
        ('strings.any_suffix_match(HOST, {".a.example", ".b.example"})', "host-any-subdomain"),
        ('endswith(HOST, concat("", [".", data.domain]))', "host-any-subdomain"),
        ('endswith(HOST, sprintf(".%s", [data.domain]))', "host-any-subdomain"),
        ('HOST == "API.example"', "host-never-matches"),
        ('HOST == "api.example."', "host-never-matches"),
        ('HOST in {"a.example", "https://b.example"}', "host-never-matches"),
        ('input.attributes.request.http.headers[":authority"] == "a"', "host-as-sent"),
        ('input.attributes.tlsSession.sni == "a.example"', "host-as-sent"),
        ('contains(input.action.resource, "/public/")', "path-by-affix"),
        ("regex.match(`^/v1/`, input.attributes.request.http.path)", "path-unanchored-regex"),
    ],
)
def test_a_destination_that_others_can_match(condition: str, rule: str, tmp_path: Path) -> None:
    rego = DENY + "allow if " + condition.replace("HOST", "input.destination.host")
    assert rule in found(tmp_path, rego)


@pytest.mark.parametrize(
    "condition",
    [
        "regex.match(`^api\\.example\\.com$`, HOST)",
        "regex.match(`\\Aapi\\.example\\.com\\z`, HOST)",
        "regex.match(`(?i)^api[.]example$`, HOST)",
        "regex.match(`^(a|b)\\.example$`, HOST)",
        "regex.match(`^[a-z.]+\\.example$`, HOST)",
        "regex.match(`^.+\\.example$`, HOST)",
        "regex.match(data.pattern, HOST)",
        'glob.match("*.example.com", [], HOST)',
        'glob.match("api.example.com", null, HOST)',
        'HOST in {"a.example", "[2001:db8::1]", "192.0.2.1", "a_b.example"}',
        "HOST == data.host",
        'data.names["X"] == HOST',
        'startswith(input.action.resource, "/v1/")',
        "startswith(input.action.resource, data.prefix)",
        'input.parsed_path[0] == "v1"',
        'glob.match("/v1/*", ["/"], input.action.resource)',
    ],
)
def test_a_destination_that_is_matched_as_a_whole(condition: str, tmp_path: Path) -> None:
    assert found(tmp_path, DENY + "allow if " + condition.replace("HOST", "input.destination.host")) == set()


@pytest.mark.parametrize(
    ("rego", "rules"),
    [
        (f"allow if {{\n\t{KNOWN}\n\tnot input.parsed_body.amount > 9\n}}", {"body-absent-allows"}),
        (
            f"allow if {{\n\t{KNOWN}\n\tnot contains(body, `rm`)\n}}\n\n"
            "body := input.attributes.request.http.body",
            {"body-absent-allows"},
        ),
        ("deny contains `big` if input.action.arguments.amount > 9", {"body-absent-allows"}),
        (
            'decision := {"decision": "deny", "reason_code": "big"} if {\n\tinput.parsed_body.amount > 9\n}'
            " else := "
            f'{{"decision": "allow", "reason_code": "known"}} if {{\n\t{KNOWN}\n}}',
            {"body-absent-allows"},
        ),
        ("allow if input.parsed_body.kind == `a`", {"body-unchecked"}),
        ("allow if {\n\tinput.parsed_body.kind == `a`\n\tnot input.truncated_body\n}", set()),
        (
            "allow if {\n\tread\n\tinput.action.arguments.n == 1\n}\n\nread if input.action.body == `parsed`",
            set(),
        ),
        (f"allow if {{\n\t{KNOWN}\n\tnot input.agent.claims.blocked\n}}", {"not-of-what-may-be-missing"}),
        (f"allow if {{\n\t{KNOWN}\n\tnot input.parsed_query.admin\n}}", {"not-of-what-may-be-missing"}),
        (f"allow if {{\n\t{KNOWN}\n\tnot input.mcp.name == `x`\n}}", {"not-of-what-may-be-missing"}),
        (f"allow if {{\n\t{KNOWN}\n\tnot input.agent.assurance == `none`\n}}", set()),
        (f"allow if {{\n\t{KNOWN}\n\tnot `x` in input.agent.chain\n}}", set()),
        ("deny contains `no` if not input.agent.claims.role", set()),
    ],
)
def test_what_may_not_be_there(rego: str, rules: set[str], tmp_path: Path) -> None:
    assert found(tmp_path, DENY + rego) - {"conflicting-values"} == rules


@pytest.mark.parametrize(
    ("condition", "rules"),
    [
        ('input.attributes.request.http.headers["x-tenant-id"] == "a"', {"identity-from-a-header"}),
        ('data.agents[input.attributes.request.http.headers["x-agent"]]', {"identity-from-a-header"}),
        (
            'input.attributes.request.http.headers["x-forwarded-client-cert"] == "a"',
            {"identity-from-a-header"},
        ),
        ('input.attributes.request.http.headers["content-type"] == "text/plain"', set()),
        ('input.attributes.request.http.headers["user-agent"] == "curl"', set()),
        ("input.context.branch == `main`", {"claim-as-fact"}),
        ("`branch` in input.context.claimed", set()),
        ("net.lookup_ip_addr(input.destination.host)", {"network-call"}),
        ("rand.intn(`a`, 9) == 1", {"changing-built-in"}),
        ("time.clock([1, `Local`])[0] == 1", {"local-time"}),
        ("time.clock([1, `Europe/Vienna`])[0] == 1", set()),
        ("f(1) with f as rand.intn", {"changing-built-in"}),
        ("io.jwt.decode(`x`)[1].sub == `a`", {"unverified-token"}),
        ("io.jwt.decode_verify(`x`, {`secret`: `s`})[0]", {"changing-built-in"}),
    ],
)
def test_what_is_asked_and_believed(condition: str, rules: set[str], tmp_path: Path) -> None:
    rego = DENY + f"allow if {{\n\t{KNOWN}\n\t{condition}\n}}\n\nf(_) := 1"
    assert found(tmp_path, rego) - {"changing-built-in"} == rules - {"changing-built-in"}
    if "changing-built-in" in rules and "jwt" not in condition:
        assert "changing-built-in" in found(tmp_path, rego)


@pytest.mark.parametrize(
    ("rego", "rules"),
    [
        (DENY + 'decision := {"decision": "denied", "reason_code": "a"} if data.x', {"unknown-decision"}),
        (DENY + 'decision := {"decision": "deny", "reason_code": "Not-Good"} if data.x', {"reason-missing"}),
        (DENY + "decision := {`allowed`: data.x}", set()),
        (DENY + "x := 1 if input.action.method == `GET`\n\nx := 2 if input.action.method == `PUT`", set()),
        (DENY + "x := 1 if input.now.hour < 6\n\nx := 2 if not input.now.hour < 6", set()),
        (DENY + "x := 1 if input.now.hour < 6\n\nx := 1 if input.now.hour > 20", set()),
        (DENY + "x := 1 if input.now.hour < 9\n\nx := 2 if input.now.hour > 6", {"conflicting-values"}),
        (DENY + "x[y] := 1 if {\n\tsome y in data.a\n}\n\nx[y] := 2 if {\n\tsome y in data.b\n}", set()),
        (DENY + "f(1) := 1\n\nf(2) := 2", set()),
        ("decision := {`decision`: data.x, `reason_code`: `a`}", set()),
    ],
)
def test_what_an_entry_point_returns(rego: str, rules: set[str], tmp_path: Path) -> None:
    assert found(tmp_path, rego) == rules


@pytest.mark.parametrize(
    ("rego", "rules"),
    [
        ("allow if endswith(HOST, `a.b`) # aegis-lint: ignore host-by-affix: ours alone", set()),
        ("# aegis-lint: ignore host-by-affix: ours alone\nallow if endswith(HOST, `a.b`)", set()),
        (
            "# aegis-lint: ignore host-by-affix\nallow if endswith(HOST, `a.b`)",
            {"host-by-affix", "suppression-without-reason"},
        ),
        (
            "# aegis-lint: ignore path-by-affix: other\nallow if endswith(HOST, `a.b`)",
            {"host-by-affix", "suppression-unused"},
        ),
        (
            "# aegis-lint: ignore host-by-affix: two rows up\n\nallow if endswith(HOST, `a.b`)",
            {"host-by-affix", "suppression-unused"},
        ),
        (
            "x := 1 # aegis-lint: ignore host-by-affix: row before\nallow if endswith(HOST, `a.b`)",
            {"host-by-affix", "suppression-unused"},
        ),
        ("# a word on aegis-lint is none\nallow if HOST == `a.b`", set()),
    ],
)
def test_a_suppression_counts_for_one_place_and_needs_a_reason(
    rego: str, rules: set[str], tmp_path: Path
) -> None:
    assert found(tmp_path, DENY + rego.replace("HOST", "input.destination.host")) == rules

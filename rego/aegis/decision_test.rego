# METADATA
# title: Which reason decides
# description: With data of its own, so that who edits the library's data does not break it.
package aegis_test

import data.aegis

agents := {
	"reader": {"tools": {"notes.read": {}, "notes.purge": {}, "notes.leak": {}, "pay": {}}},
	"payer": {"tools": {"pay": {"arguments": {"cents": {"maximum": 500}}}, "notes.read": {}}},
	"broker": {"tools": {"pay": {}, "feed": {}, "notes.upload": {}}},
	"caller": {"tools": {"mcp.session": {}, "mcp.pay": {"arguments": {"cents": {"maximum": 500}}}}},
	"helper": {"delegated_only": true, "tools": {"notes.read": {}}},
}

destinations := {
	"notes.test": {
		"ports": [443],
		"routes": {
			"GET": {"/notes/*": "notes.read", "/notes/all": "notes.leak", "/": "notes.leak"},
			"DELETE": {"/notes/*": "notes.purge"},
			"PUT": {"/notes/*/file": "notes.upload"},
		},
		"named": ["pay"],
	},
	"mcp.test": {"ports": [443], "mcp": {"/mcp": {
		"tools": {"pay": "mcp.pay", "leak": "mcp.leak"},
		"session": "mcp.session",
		"methods": {"resources/read": "mcp.leak"},
	}}},
	"pay.test": {"ports": [443, 8443], "routes": {"POST": {"/pay": "pay"}, "CONNECT": {"": "feed"}}},
}

tools := {
	"notes.read": {"category": "read", "sensitivity": "internal", "query": {"lang": {"type": "string", "enum": ["en"]}}},
	"notes.purge": {"category": "deletion", "sensitivity": "internal"},
	"notes.leak": {"category": "leak", "sensitivity": "internal", "query": "any"},
	"notes.upload": {"category": "read", "sensitivity": "internal", "arguments": "opaque"},
	"pay": {"category": "payment", "sensitivity": "internal", "arguments": {
		"cents": {"type": "integer", "required": true, "maximum": 1000},
		"to": {"type": "string"},
	}},
	"feed": {"category": "read", "sensitivity": "internal", "kind": "tunnel"},
	"mcp.session": {"category": "read", "sensitivity": "internal", "kind": "mcp", "arguments": "any"},
	"mcp.leak": {"category": "read", "sensitivity": "internal", "kind": "mcp", "arguments": "any"},
	"mcp.pay": {"category": "payment", "sensitivity": "internal", "kind": "mcp", "arguments": {"cents": {
		"type": "integer",
		"required": true,
		"maximum": 1000,
	}}},
}

matrix := {
	"read": {"internal": cell({"assurance": "header"})},
	"deletion": {"internal": cell({"decision": "approval_needed", "capture": "redacted"})},
	"leak": {"internal": cell({"decision": "deny", "assurance": "none"})},
	"payment": {"internal": cell({"durability": "synced"})},
}

cell(changes) := object.union(
	{
		"decision": "allow",
		"assurance": "jwt",
		"durability": "bounded",
		"capture": "hash",
		"retention_days": 30,
		"session": "any",
	},
	changes,
)

decided(asked) := made if {
	made := aegis.decision with input as asked
		with data.agents as agents
		with data.destinations as destinations
		with data.tools as tools
		with data.matrix as matrix
}

asking(agent, method, host, path) := {
	"agent": {"id": agent, "chain": [], "assurance": "jwt"},
	"action": {"kind": "http", "tool": "", "method": method, "resource": path, "body": "none"},
	"destination": {"host": host, "port": 443},
	"parsed_query": {},
}

reading := asking("reader", "GET", "notes.test", "/notes/7")

paying(agent, arguments) := changed(
	asking(agent, "POST", "pay.test", "/pay"),
	{"action": {"body": "parsed", "arguments": arguments}},
)

changed(asked, changes) := object.union(asked, changes)

# The outcome in the form [decision, reason, rule].
outcome(asked) := [made.decision, made.reason_code, made.rule] if made := decided(asked)

denied(asked, reason, rule) if {
	outcome(asked) == ["deny", reason, rule]
	object.get(decided(asked), "obligations", {}) in [{}, {"capture": "redacted"}]
	decided(asked).rationale[0] == "policy-violation"
}

test_a_permitted_read if {
	decided(reading) == {
		"decision": "allow",
		"reason_code": "permitted",
		"rule": "matrix/read/internal",
		"rationale": ["policy-compliant"],
		"obligations": {"capture": "hash", "retention_days": 30},
		"evidence": ["agents/reader", "destinations/notes.test", "matrix/read/internal", "tools/notes.read"],
		"classification": {"tool": "notes.read", "category": "read", "sensitivity": "internal"},
	}
}

test_a_permitted_payment_is_bound_to_the_sync if {
	made := decided(paying("payer", {"cents": 500, "to": "x"}))
	made.decision == "allow"
	made.obligations == {"reply_after": "synced", "capture": "hash", "retention_days": 30}
}

test_a_deletion_needs_approval_and_is_no_allow if {
	made := decided(asking("reader", "DELETE", "notes.test", "/notes/7"))
	[made.decision, made.reason_code, made.rule] == ["approval_needed", "approval_required", "matrix/deletion/internal"]
	made.obligations == {"capture": "redacted", "retention_days": 30}
}

test_of_a_denied_payload_the_matrix_lets_be_kept_what_it_lets_be_kept if {
	made := decided(changed(asking("reader", "DELETE", "notes.test", "/notes/7"), {"agent": {"assurance": "none"}}))
	made.decision == "deny"
	made.obligations == {"capture": "redacted"}
	not decided(changed(reading, {"agent": {"assurance": "none"}})).obligations
	not decided(changed(asking("reader", "DELETE", "notes.test", "/nothing/7"), {})).obligations
}

test_an_agent_that_is_not_in_the_data if {
	every agent in ["nobody", "", null, 7, ["reader"], {"reader": 1}] {
		denied(changed(reading, {"agent": {"id": agent}}), "agent_unknown", "agent-known")
	}
}

test_a_destination_that_is_not_in_the_data if {
	every to in [{"host": "evil.test"}, {"host": "NOTES.test"}, {"host": "x.notes.test"}, {"host": 7}, {"port": 80}, {"port": "443"}] {
		denied(changed(reading, {"destination": to}), "egress_violation", "destination-known")
	}
}

test_the_port_of_one_destination_is_none_of_another if {
	denied(changed(reading, {"destination": {"port": 8443}}), "egress_violation", "destination-known")
	outcome(changed(paying("broker", {"cents": 1}), {"destination": {"port": 8443}}))[0] == "allow"
}

test_a_tool_at_another_destination_is_named_in_the_denial if {
	asked := asking("reader", "DELETE", "pay.test", "/notes/7")
	denied(asked, "egress_violation", "egress-destination")
	decided(asked).classification.tool == "notes.purge"
	"tools/notes.purge" in decided(asked).evidence
}

test_what_no_route_names_is_no_tool if {
	every path in [
		"/", "", "/notes", "/notes/", "/notes//7", "/notes/7/", "/notes/7/x", "/Notes/7", "notes/7", "/notes/7;a", "/notes/*",
		"/notes/7*", "/notes/a b", "/notes/{}", "/notes/7\n", 7, null, ["/notes/7"],
	] {
		denied(changed(reading, {"action": {"resource": path, "method": "DELETE"}}), "tool_unknown", "tool-known")
	}
	every method in ["POST", "get", "", null, 7] {
		denied(changed(reading, {"action": {"method": method}}), "tool_unknown", "tool-known")
	}
}

test_a_variable_segment_takes_what_every_server_reads_alike if {
	every segment in ["7", "a-b_c.d~e", "a@b.test", "urn:x:1", "2026-01-31", "caf%C3%A9", "a%20b", "A=1,+"] {
		decided(asking("reader", "GET", "notes.test", concat("", ["/notes/", segment]))).decision == "allow"
	}
	every segment in ["a;b", "..%3Bx", "..%3bx", "a%3Fb", "a%23b", "%2A", "%252F", "a'b", "(1)", "a|b", "a\\b", "a?b", "é"] {
		denied(asking("reader", "GET", "notes.test", concat("", ["/notes/", segment])), "tool_unknown", "tool-known")
	}
}

test_a_literal_segment_goes_before_a_variable_one if {
	decided(asking("reader", "GET", "notes.test", "/notes/all")).classification.tool == "notes.leak"
	decided(asking("reader", "GET", "notes.test", "/notes/al")).classification.tool == "notes.read"
	routes := {"routes": {"GET": {"/*/b/*": "1", "/a/*/*": "2", "/a/*/c": "3", "/*/b/c": "4"}}}
	expected := {"/a/b/c": "3", "/a/b/d": "2", "/x/b/c": "4", "/x/b/d": "1"}
	every path, tool in expected {
		aegis.request.routed(routes) == tool with input.action as {"method": "GET", "resource": path}
	}
}

test_envoys_route_may_name_a_tool_where_the_data_says_so if {
	named := changed(asking("broker", "POST", "notes.test", "/any"), {"action": {
		"tool": "pay",
		"body": "parsed",
		"arguments": {"cents": 1},
	}})
	decided(named).decision == "allow"
	denied(changed(named, {"action": {"tool": "feed"}}), "tool_unknown", "tool-known")
	denied(changed(named, {"destination": {"host": "pay.test"}}), "tool_unknown", "tool-known")
	denied(changed(reading, {"action": {"tool": "nothing"}}), "tool_unknown", "tool-known")
	denied(changed(reading, {"action": {"tool": null}}), "tool_unknown", "tool-known")
}

test_a_tool_that_the_agent_does_not_have if {
	denied(asking("payer", "DELETE", "notes.test", "/notes/7"), "tool_not_permitted", "agent-tool")
}

test_a_tunnel_only_where_the_tool_is_one if {
	connect := changed(asking("broker", "CONNECT", "pay.test", ""), {"action": {"kind": "tunnel"}})
	decided(connect).decision == "allow"
	decided(connect).obligations == {"tunnel": "opaque", "capture": "hash", "retention_days": 30}
	denied(changed(reading, {"action": {"kind": "tunnel"}}), "tunnel_not_permitted", "tunnel-known")
	denied(changed(connect, {"destination": {"host": "notes.test"}}), "egress_violation", "egress-destination")
	denied(changed(connect, {"action": {"kind": "http"}}), "tool_unknown", "tool-known")
	denied(changed(reading, {"action": {"kind": null}}), "tool_unknown", "tool-known")
}

test_arguments_out_of_the_tools_bounds if {
	every arguments in [
		{}, {"cents": 1001}, {"cents": "1"}, {"cents": 1.5}, {"cents": null}, {"cents": [1]}, {"cents": 1, "more": 1}, {"to": "x"},
		{"cents": 1, "to": 7}, [], [1], "x", 7, null, false, {"cents": {"cents": 1}},
	] {
		denied(paying("broker", arguments), "argument_not_permitted", "tool-arguments")
	}
}

test_an_argument_over_the_agents_limit if {
	asked := paying("payer", {"cents": 501})
	denied(asked, "argument_not_permitted", "agent-limits")
	decided(asked).rationale == ["policy-violation", "cents: maximum"]
	decided(paying("broker", {"cents": 501})).decision == "allow"
}

test_a_rationale_names_no_value_and_is_bounded if {
	many := {sprintf("secret%d", [n]): "secret" | some n in numbers.range(1, 100)}
	decided(paying("broker", many)).rationale == ["policy-violation", "argument: undeclared", "cents: required"]
}

test_a_body_that_was_not_read if {
	pay := asking("broker", "POST", "pay.test", "/pay")
	every body in ["opaque", "other", null] {
		denied(changed(pay, {"action": {"body": body}}), "argument_not_permitted", "tool-arguments")
		denied(changed(reading, {"action": {"body": body}}), "argument_not_permitted", "tool-arguments")
	}
	denied(changed(reading, {"action": {"body": "parsed"}}), "argument_not_permitted", "tool-arguments")
	decided(changed(asking("broker", "PUT", "notes.test", "/notes/7/file"), {"action": {"body": "opaque"}})).decision == "allow"
}

test_a_query_that_the_tool_does_not_take if {
	every query in [{"x": ["1"]}, {"lang": ["en", "en"]}, {"lang": ["de"]}, {"lang": []}, {"lang": "en"}, {"lang[]": ["en"]}, null, []] {
		asked := object.union(object.remove(reading, ["parsed_query"]), {"parsed_query": query})
		denied(asked, "argument_not_permitted", "tool-arguments")
	}
	decided(changed(reading, {"parsed_query": {"lang": ["en"]}})).decision == "allow"
}

test_a_query_of_any_form_where_the_tool_takes_any if {
	anything := changed(asking("reader", "GET", "notes.test", "/"), {"parsed_query": {"x": ["1", "2"]}})
	denied(anything, "category_not_permitted", "matrix/leak/internal")
}

test_a_chain_in_which_everybody_has_the_tool if {
	every chain in [["payer"], ["helper", "payer"], ["reader"]] {
		decided(changed(reading, {"agent": {"chain": chain}})).decision == "allow"
	}
	delegated := changed(reading, {"agent": {"chain": ["helper", "payer"]}})
	count(decided(delegated).evidence) == 6
}

test_a_chain_in_which_one_does_not_have_the_tool if {
	every chain in [["broker"], ["payer", "broker"], ["nobody"], [7], [null], [["reader"]], "reader", {"a": "reader"}, null] {
		asked := object.union(reading, {"agent": object.union(object.remove(reading.agent, ["chain"]), {"chain": chain})})
		denied(asked, "delegation_not_permitted", "delegation-chain")
	}
}

test_a_limit_holds_through_whomever_it_asks if {
	through := changed(paying("broker", {"cents": 501}), {"agent": {"chain": ["payer"]}})
	denied(through, "delegation_not_permitted", "delegation-chain")
	decided(changed(paying("broker", {"cents": 500}), {"agent": {"chain": ["payer"]}})).decision == "allow"
}

test_an_agent_that_only_acts_for_others if {
	alone := changed(reading, {"agent": {"id": "helper"}})
	denied(alone, "delegation_missing", "delegation-required")
	decided(changed(alone, {"agent": {"chain": ["reader"]}})).decision == "allow"
}

test_an_assurance_below_the_matrix if {
	pay := paying("broker", {"cents": 1})
	every weak in ["header", "none", "", "JWT", null, 7] {
		denied(changed(pay, {"agent": {"assurance": weak}}), "assurance_too_low", "matrix/payment/internal")
	}
	every strong in ["jwt", "mtls"] {
		decided(changed(pay, {"agent": {"assurance": strong}})).decision == "allow"
	}
}

test_a_category_that_nobody_is_permitted if {
	denied(asking("reader", "GET", "notes.test", "/"), "category_not_permitted", "matrix/leak/internal")
}

# What is decided about `asked` with this cell for what it reads.
made_with(only, asked) := made if {
	made := decided(asked) with data.aegis_test.matrix as {"read": {"internal": only}}
}

test_a_cell_that_says_nothing_of_use_denies if {
	wrong := [
		{}, {"decision": "allow"}, {"decision": "allow", "assurance": "jwt"}, cell({"decision": "permit"}), cell({"decision": true}),
		cell({"durability": "soon"}), cell({"session": "none"}), cell({"session": null}), cell({"claims": "model"}),
	]
	less := [object.remove(cell({}), [name]) | some name in object.keys(cell({}))]
	every only in array.concat(wrong, less) {
		made_with(only, reading).decision == "deny"
		not made_with(only, reading).obligations
	}
	made_with(cell({}), reading).decision == "allow"
}

test_what_the_matrix_does_not_have_is_denied if {
	every held in [{}, {"reed": {"internal": cell({})}}, {"read": {}}, {"read": {"public": cell({})}}] {
		made := decided(reading) with data.aegis_test.matrix as held
		[made.decision, made.reason_code, made.rule] == ["deny", "category_unknown", "matrix-known"]
		not made.obligations
	}
}

test_a_session_where_the_matrix_wants_one if {
	only := cell({"session": "identified"})
	made := made_with(only, changed(reading, {"session": {"identified": true}}))
	made.decision == "allow"
	every session in [{}, {"identified": false}, {"identified": "true"}, {"identified": null}, {"id": "s-1"}] {
		without := made_with(only, changed(reading, {"session": session}))
		[without.decision, without.reason_code, without.rule] == ["deny", "session_missing", "matrix/read/internal"]
	}
	made_with(only, reading).reason_code == "session_missing"
}

test_claims_where_the_matrix_wants_them if {
	only := cell({"claims": ["model", "action_id"]})
	every claimed in [["action_id", "model"], ["action_id", "branch", "model"]] {
		made_with(only, changed(reading, {"context": {"claimed": claimed}})).decision == "allow"
	}
	every claimed in [[], ["model"], {"model": "action_id"}, "model", null, {"action_id": 1, "model": 1}] {
		context := object.union(reading, {"context": {"claimed": claimed, "model": "m", "action_id": "a"}})
		without := made_with(only, context)
		[without.decision, without.reason_code] == ["deny", "claim_missing"]
	}
	made_with(only, reading).rationale == ["policy-violation", "claim missing: action_id", "claim missing: model"]
}

test_rules_for_the_session_are_obligations_whoever_can_carry_them_out if {
	only := cell({"session_labels": ["phi"], "session_refuses": ["untrusted"]})
	made := made_with(only, reading)
	made.decision == "allow"
	made.obligations.session_labels == ["phi"]
	made.obligations.session_refuses == ["untrusted"]
}

test_without_any_data_everything_is_denied if {
	aegis.decision.reason_code == "agent_unknown" with input as reading
		with data.agents as {}
		with data.destinations as {}
		with data.tools as {}
		with data.matrix as {}
}

test_without_one_member_nothing_is_allowed if {
	pay := changed(paying("broker", {"cents": 1}), {"agent": {"chain": ["payer"]}})
	decided(pay).decision == "allow"
	every path in leaves {
		decided(json.remove(pay, [path])).decision == "deny"
	}
}

leaves := [
	"agent", "agent/id", "agent/chain", "agent/assurance", "action", "action/kind", "action/tool", "action/method",
	"action/resource", "action/body", "action/arguments", "destination", "destination/host", "destination/port", "parsed_query",
]

# MCP: the message names the tool, and where MCP is required nothing else passes.

messaging(agent, message, arguments) := changed(asking(agent, "POST", "mcp.test", "/mcp"), {
	"action": {"kind": "mcp", "body": "parsed", "arguments": arguments},
	"mcp": message,
})

calling(name, arguments) := messaging("caller", {"message": "request", "method": "tools/call", "name": name}, arguments)

test_a_tool_call_is_decided_as_the_tool_that_the_server_has if {
	outcome(calling("pay", {"cents": 500})) == ["allow", "permitted", "matrix/payment/internal"]
	decided(calling("pay", {"cents": 5})).classification.tool == "mcp.pay"
	denied(calling("leak", {}), "tool_not_permitted", "agent-tool")
	denied(calling("Pay", {"cents": 5}), "tool_unknown", "tool-known")
	denied(calling("mcp.pay", {"cents": 5}), "tool_unknown", "tool-known")
}

test_its_arguments_are_judged_like_any if {
	every arguments in [{}, {"cents": "5"}, {"cents": 1001}, {"Cents": 5}, {"cents": 5, "to": "me"}] {
		denied(calling("pay", arguments), "argument_not_permitted", "tool-arguments")
	}
	denied(calling("pay", {"cents": 501}), "argument_not_permitted", "agent-limits")
}

test_a_session_is_kept_up_by_who_may if {
	every method in ["initialize", "ping", "server/discover", "tools/list", "notifications/initialized"] {
		message := {"message": "request", "method": method}
		outcome(messaging("caller", message, {"x": 1})) == ["allow", "permitted", "matrix/read/internal"]
		denied(messaging("payer", message, {}), "tool_not_permitted", "agent-tool")
	}
	every message in ["response", "error", "stream", "end"] {
		outcome(messaging("caller", {"message": message}, {}))[0] == "allow"
	}
}

test_other_methods_are_what_the_data_says_or_nothing if {
	denied(messaging("caller", {"message": "request", "method": "resources/read"}, {}), "tool_not_permitted", "agent-tool")
	every method in ["prompts/get", "tools/Call", "notifications/own", "completion/complete"] {
		denied(messaging("caller", {"message": "request", "method": method}, {}), "tool_unknown", "tool-known")
	}
}

test_what_is_no_message_is_denied_where_mcp_is_required if {
	plain := asking("caller", "POST", "mcp.test", "/mcp")
	denied(plain, "mcp_required", "mcp-required")
	denied(changed(plain, {"action": {"tool": "pay"}}), "mcp_required", "mcp-required")
	denied(changed(plain, {"mcp": {"fault": "malformed_mcp_batch"}}), "malformed_mcp_batch", "mcp-message")
	denied(changed(calling("pay", {"cents": 5}), {"mcp": {"fault": "malformed_mcp_id"}}), "malformed_mcp_id", "mcp-message")
	denied(changed(calling("pay", {"cents": 5}), {"action": {"kind": "tunnel"}}), "mcp_required", "mcp-required")
}

test_a_message_is_no_tool_where_there_is_no_mcp_server if {
	elsewhere := changed(calling("pay", {"cents": 5}), {"destination": {"host": "pay.test"}, "action": {"resource": "/pay"}})
	denied(elsewhere, "tool_unknown", "tool-known")
	denied(changed(calling("pay", {"cents": 5}), {"action": {"resource": "/mcp/"}}), "tool_unknown", "tool-known")
}

test_a_message_has_no_query if {
	denied(changed(calling("pay", {"cents": 5}), {"parsed_query": {"cents": ["1"]}}), "argument_not_permitted", "tool-arguments")
}

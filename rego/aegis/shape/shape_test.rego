# METADATA
# title: What is wrong with the data
# description: |
#   The form of agents, destinations, tools and matrix: unknown members, wrong types, names that lead nowhere.
#   Runs with every `opa test`, so also whenever a version is built.
package aegis.shape_test

import data.agents
import data.destinations
import data.matrix
import data.tools

test_the_data_has_its_form_and_names_what_exists if {
	print(concat("\n", faults)) # shown when this fails
	count(faults) == 0
}

text := {"type": "string", "minLength": 1, "maxLength": 200}

tool_name := {"type": "string", "pattern": `^[a-z0-9][a-z0-9._-]{0,99}$`}

schemas["agents"] := {
	"type": "object",
	"propertyNames": {"pattern": `^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$`},
	"additionalProperties": {
		"type": "object",
		"required": ["tools"],
		"additionalProperties": false,
		"properties": {
			"description": text,
			"delegated_only": {"type": "boolean"},
			"identities": {"type": "array", "items": text, "minItems": 1, "uniqueItems": true},
			"tools": {
				"type": "object",
				"propertyNames": tool_name,
				"additionalProperties": {
					"type": "object",
					"additionalProperties": false,
					"properties": {"arguments": {"type": "object", "additionalProperties": limit}},
				},
			},
		},
	},
}

schemas["destinations"] := {
	"type": "object",
	"propertyNames": {"pattern": `^[a-z0-9_\[][a-z0-9._:\]-]{0,199}$`},
	"additionalProperties": {
		"type": "object",
		"required": ["ports"],
		"additionalProperties": false,
		"properties": {
			"description": text,
			"ports": {
				"type": "array",
				"minItems": 1,
				"items": {"type": "integer", "minimum": 1, "maximum": 65535},
			},
			"routes": {
				"type": "object",
				"propertyNames": {"pattern": `^[A-Z][A-Z_-]{0,31}$`},
				"additionalProperties": {
					"type": "object",
					"propertyNames": {"pattern": route},
					"additionalProperties": tool_name,
				},
			},
			"mcp": {
				"type": "object",
				"propertyNames": {"pattern": `^(/[A-Za-z0-9._~:@=+,%-]*)+$`},
				"additionalProperties": {
					"type": "object",
					"required": ["tools", "session"],
					"additionalProperties": false,
					"properties": {
						"tools": {
							"type": "object",
							"propertyNames": {"pattern": `^[!-~]{1,128}$`},
							"additionalProperties": tool_name,
						},
						"session": tool_name,
						"methods": {
							"type": "object",
							"propertyNames": {"pattern": `^[a-z]+(/[a-zA-Z_]+)+$`, "not": {"const": "tools/call"}},
							"additionalProperties": tool_name,
						},
					},
				},
			},
			"named": {"type": "array", "items": tool_name},
		},
	},
}

# Nothing, as CONNECT has it, or segments: each is `*`, or literal and without what a glob would read.
route := `^$|^(/(\*|[A-Za-z0-9._~:@=+,%-]*))+$`

schemas["tools"] := {
	"type": "object",
	"propertyNames": tool_name,
	"additionalProperties": {
		"type": "object",
		"required": ["category", "sensitivity"],
		"additionalProperties": false,
		"properties": {
			"description": text,
			"category": {"enum": [category | some category, _ in matrix]},
			"sensitivity": {"enum": sensitivities},
			"kind": {"enum": ["http", "tunnel", "mcp"]},
			"query": taken({"any"}, `^[A-Za-z0-9_-]+$`),
			"arguments": taken({"any", "opaque"}, `^(\[\]|[A-Za-z0-9_-]+)(\[\]|\.[A-Za-z0-9_-]+)*$`),
		},
	},
}

taken(words, names) := {
	"if": {"type": "string"},
	"then": {"enum": words},
	"else": {"type": "object", "propertyNames": {"pattern": names}, "additionalProperties": constraint},
}

keywords := {
	"minimum": {"type": "number"},
	"maximum": {"type": "number"},
	"enum": {"type": "array", "minItems": 1},
	"pattern": {"type": "string", "pattern": `^\^.*\$$`},
	"max_length": {"type": "integer", "minimum": 0},
	"max_count": {"type": "integer", "minimum": 0},
	"required": {"type": "boolean"},
}

types := ["string", "integer", "number", "boolean", "null", "object", "array"]

constraint := {
	"type": "object",
	"required": ["type"],
	"additionalProperties": false,
	"properties": object.union(keywords, {"type": {"enum": types}}),
}

limit := {"type": "object", "additionalProperties": false, "properties": keywords, "minProperties": 1}

sensitivities := ["public", "internal", "confidential", "regulated"]

schemas["matrix"] := {
	"type": "object",
	"propertyNames": {"pattern": `^[a-z][a-z_]{0,63}$`},
	"additionalProperties": {
		"type": "object",
		"required": sensitivities,
		"additionalProperties": false,
		"properties": {sensitivity: cell | some sensitivity in sensitivities},
	},
}

cell := {
	"type": "object",
	"required": ["decision", "assurance", "durability", "capture", "retention_days", "session"],
	"additionalProperties": false,
	"properties": {
		"decision": {"enum": ["allow", "approval_needed", "deny"]},
		"assurance": {"enum": ["mtls", "jwt", "header", "none"]},
		"durability": {"enum": ["synced", "bounded"]},
		"capture": {"enum": ["hash", "redacted"]},
		"retention_days": {"type": "integer", "minimum": 1, "maximum": 36500},
		"session": {"enum": ["any", "identified"]},
		"session_labels": labels,
		"session_refuses": labels,
		"claims": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"enum": claims}},
	},
}

labels := {"type": "array", "minItems": 1, "maxItems": 8, "uniqueItems": true, "items": {
	"type": "string",
	"pattern": `^[a-z][a-z0-9_-]{0,63}$`,
}}

claims := [
	"action_id", "step_id", "parent_decision_id", "correlation_id", "model", "model_version", "decoding",
	"prompt_template_version", "prompt_hash", "corpus_version", "retrieval_filter", "retrieval_time", "branch",
	"tool_version",
]

shaped["agents"] := agents

shaped["destinations"] := destinations

shaped["tools"] := tools

shaped["matrix"] := matrix

faults contains error.error if {
	some name, schema in schemas
	whole := {"type": "object", "properties": {name: schema}}
	[_, errors] := json.match_schema({name: object.get(shaped, name, null)}, whole)
	some error in errors
}

faults contains sprintf("agents: %s has %s, which is no tool", [agent, tool]) if {
	some agent, entry in agents
	some tool, _ in entry.tools
	not tools[tool]
}

faults contains sprintf("agents: %s limits %s of %s, which that does not declare", [agent, name, tool]) if {
	some agent, entry in agents
	some tool, grant in entry.tools
	some name, _ in grant.arguments
	not tools[tool].arguments[name]
}

faults contains sprintf("destinations: %s has %s, which is no tool", [host, tool]) if {
	some host, entry in destinations
	some tool in named_at(entry)
	not tools[tool]
}

named_at(entry) := ({tool | some tool in entry.named} | {tool | some tool in entry.routes[_]}) | over_mcp(entry)

over_mcp(entry) := {tool |
	some endpoint in entry.mcp
	some tool in array.concat(
		[endpoint.session],
		array.concat([tool | some tool in endpoint.tools], [tool | some tool in endpoint.methods]),
	)
}

faults contains sprintf("destinations: %s has %s over MCP, which is of another kind", [host, tool]) if {
	some host, entry in destinations
	some tool in over_mcp(entry)
	object.get(tools[tool], "kind", "http") != "mcp"
}

faults contains sprintf("destinations: %s has a route and MCP at %s", [host, path]) if {
	some host, entry in destinations
	some path, _ in entry.mcp
	entry.routes[_][path]
}

faults contains sprintf("tools: %s is at no destination", [tool]) if {
	some tool, _ in tools
	every entry in destinations {
		not tool in named_at(entry)
	}
}

faults contains sprintf("%s: %s is no regular expression", [name, pattern]) if {
	some name, tree in {"tools": tools, "agents": agents}
	walk(tree, [path, pattern])
	path[count(path) - 1] == "pattern"
	is_string(pattern)
	not regex.is_valid(pattern)
}

# What the rules above find in data that is wrong.

rows := {"read": {sensitivity: denying | some sensitivity in sensitivities}}

denying := {
	"decision": "deny", "assurance": "jwt", "durability": "bounded", "capture": "hash", "retention_days": 1,
	"session": "any",
}

wrong_agent(agent) := found if {
	found := faults with data.agents as {"a": agent}
		with data.tools as {"t": {"category": "read", "sensitivity": "public", "arguments": {"n": {"type": "integer"}}}}
		with data.destinations as {"h.test": {"ports": [1], "named": ["t"]}}
		with data.matrix as rows
}

test_agents_that_are_right if {
	every agent in [{"tools": {}}, {"tools": {"t": {"arguments": {"n": {"maximum": 5}}}}, "delegated_only": true}] {
		wrong_agent(agent) == set()
	}
}

test_agents_that_are_wrong if {
	every agent in [
		{}, [], {"tools": ["t"]}, {"tools": {"t": true}}, {"tools": {"u": {}}}, {"tools": {}, "toolz": {}},
		{"tools": {"t": {"argument": {}}}}, {"tools": {"t": {"arguments": {"n": {"maximun": 5}}}}},
		{"tools": {"t": {"arguments": {"m": {"maximum": 5}}}}}, {"tools": {"t": {"arguments": {"n": {}}}}},
		{"tools": {}, "delegated_only": "yes"}, {"tools": {"t": {"arguments": {"n": {"pattern": "^($"}}}}},
	] {
		count(wrong_agent(agent)) > 0
	}
}

wrong_tool(tool) := found if {
	found := faults with data.tools as {"t": tool}
		with data.agents as {}
		with data.destinations as {"h.test": {"ports": [1], "named": ["t"]}}
		with data.matrix as rows
}

declaring(members) := object.union({"category": "read", "sensitivity": "public"}, members)

test_tools_that_are_right if {
	every members in [
		{}, {"kind": "tunnel"}, {"arguments": "any"}, {"arguments": "opaque"}, {"query": "any"}, {"query": {"q": {"type": "string"}}},
		{"arguments": {"a[].b-c_d.e[][]": {"type": "string", "pattern": "^a$"}, "[].x": {"type": "null"}}},
	] {
		wrong_tool(declaring(members)) == set()
	}
}

test_tools_that_are_wrong if {
	every members in [
		{"category": "reed"}, {"sensitivity": "secret"}, {"kind": "tcp"}, {"arguments": "all"}, {"query": "opaque"}, {"args": {}},
		{"arguments": {"a": {}}},
		{"arguments": {"a": {"type": "string", "description": "a keyword would never be met"}}}, {"arguments": {"a": {"type": "int"}}}, {"arguments": {"a": {"type": "string", "patern": "^a$"}}},
		{"arguments": {"a": {"type": "string", "pattern": "a"}}}, {"arguments": {"a": {"type": "string", "pattern": "^[$"}}},
		{"arguments": {"a": {"type": "integer", "maximum": "5"}}}, {"arguments": {"a..b": {"type": "string"}}},
		{"arguments": {"a[0]": {"type": "string"}}}, {"query": {"a.b": {"type": "string"}}}, {"arguments": {"": {"type": "string"}}},
	] {
		count(wrong_tool(declaring(members))) > 0
	}
}

wrong_place(entry) := found if {
	found := faults with data.destinations as {"h.test": entry}
		with data.agents as {}
		with data.tools as {"t": declaring({})}
		with data.matrix as rows
}

test_destinations_that_are_right if {
	every routes in [
		{"GET": {"/": "t"}}, {"GET": {"/a/*/b": "t", "/a/b.c~d": "t", "/*": "t"}}, {"CONNECT": {"": "t"}}, {"PUT": {"/a/": "t"}},
	] {
		wrong_place({"ports": [443], "routes": routes}) == set()
	}
}

test_destinations_that_are_wrong if {
	every entry in [
		{}, {"ports": []}, {"ports": ["443"]}, {"ports": [0]}, {"ports": 443}, {"ports": [443], "hosts": []},
	] {
		count(wrong_place(object.union({"named": ["t"]}, entry))) > 0
	}
	every routes in [
		{"get": {"/": "t"}}, {"GET": {"a": "t"}}, {"GET": {"/a?b": "t"}}, {"GET": {"/a*": "t"}}, {"GET": {"/**": "t"}},
		{"GET": {"/{id}": "t"}}, {"GET": {"/[a]": "t"}}, {"GET": {"/a;b": "t"}}, {"GET": {"/a": "u"}}, {"GET": ["/a"]}, {},
	] {
		count(wrong_place({"ports": [443], "routes": routes})) > 0
	}
	count(faults) > 0 with data.destinations as {"H.test": {"ports": [443]}}
	count(faults) > 0 with data.destinations as {"*.test": {"ports": [443]}}
}

at_mcp(members) := found if {
	found := faults with data.destinations as {"h.test": {"ports": [1], "mcp": {"/mcp": members}}}
		with data.agents as {}
		with data.tools as {"t": declaring({"kind": "mcp"})}
		with data.matrix as rows
}

test_mcp_servers_that_are_right if {
	every members in [{"tools": {}, "session": "t"}, {"tools": {"a.B_c-1/d": "t"}, "session": "t", "methods": {"resources/read": "t"}}] {
		at_mcp(members) == set()
	}
}

test_mcp_servers_that_are_wrong if {
	every members in [
		{}, {"tools": {}}, {"session": "t"}, {"tools": ["t"], "session": "t"}, {"tools": {"a b": "t"}, "session": "t"},
		{"tools": {"a": "u"}, "session": "t"}, {"tools": {}, "session": "t", "methods": {"tools/call": "t"}},
		{"tools": {}, "session": "t", "method": {}}, {"tools": {}, "session": "t", "methods": {"Initialize": "t"}},
	] {
		count(at_mcp(members)) > 0
	}
	every entry in [
		{"ports": [1], "mcp": {"/mcp": {"tools": {}, "session": "t"}}},
		{"ports": [1], "routes": {"GET": {"/mcp": "t"}}, "mcp": {"/mcp": {"tools": {}, "session": "t"}}},
	] {
		count(wrong_place(entry)) > 0
	}
	count(faults) > 0 with data.destinations as {"h.test": {"ports": [1], "mcp": {"/*": {"tools": {}, "session": "mcp.session"}}}}
}

test_a_matrix_with_a_hole_is_wrong if {
	every sensitivity in sensitivities {
		row := object.remove(rows.read, [sensitivity])
		count(faults) > 0 with data.matrix as object.union(rows, {"more": row})
	}
}

row_of(cell) := {sensitivity: cell | some sensitivity in sensitivities}

test_cells_that_are_right if {
	every more in [
		{}, {"session": "identified", "claims": ["model", "action_id"]}, {"session_labels": ["phi"]}, {"session_refuses": ["a-1"]},
	] {
		faults == set() with data.matrix as object.union(data.matrix, {"more": row_of(object.union(denying, more))})
	}
}

test_cells_that_are_wrong if {
	every wrong in [
		{"decision": "permit"}, {"decision": "sanitize"}, {"assurance": "strong"}, {"durability": "soon"}, {"capture": "all"},
		{"retention_days": 0}, {"retention_days": "7"}, {"retention_days": 1.5}, {"retention_days": 36501},
		{"session": "none"}, {"session_labels": []}, {"session_labels": ["A"]}, {"session_refuses": "phi"}, {"claims": []},
		{"claims": ["modle"]}, {"claims": ["model", "model"]}, {"claims": "model"}, {"obligations": {"budget": 1}}, {"claim": []},
	] {
		count(faults) > 0 with data.matrix as object.union(rows, {"more": row_of(object.union(denying, wrong))})
	}
	every name, _ in denying {
		count(faults) > 0 with data.matrix as object.union(rows, {"more": row_of(object.remove(denying, [name]))})
	}
}

test_missing_data_is_wrong if {
	count(faults) > 0 with data.agents as null
	count(faults) > 0 with data.destinations as null
	count(faults) > 0 with data.tools as null
	count(faults) > 0 with data.matrix as null
}

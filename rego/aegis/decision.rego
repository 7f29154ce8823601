# METADATA
# title: The decision on one request
# description: |
#   One list of reasons, most basic first: the first that applies decides. An allow is its end and needs
#   everything to be there; whatever no reason speaks of is denied.
package aegis

import data.aegis.arguments
import data.aegis.demands
import data.aegis.request
import data.agents

# METADATA
# description: Defined for every input; what it looks like is said in README.md.
# entrypoint: true
decision := object.union_n([kept_of_denials, ruling, {
	"evidence": array.slice(sort(evidence), 0, 32),
	"classification": classification,
}])

# METADATA
# description: |
#   What the matrix lets be kept of a payload is kept of a denied one, too: what was denied is what somebody will
#   ask about, and without its facts nobody can say what another version would have made of it.
default kept_of_denials := {}

kept_of_denials := {"obligations": {"capture": "redacted"}} if {
	ruling.decision == "deny"
	request.cell.capture == "redacted"
}

default ruling := {
	"decision": "deny",
	"reason_code": "not_permitted",
	"rule": "default",
	"rationale": ["policy-violation", "nothing permits this"],
}

ruling := {
	"decision": "deny",
	"reason_code": "agent_unknown",
	"rule": "agent-known",
	"rationale": ["policy-violation", "the agent is not in the data"],
} if {
	not request.agent
} else := {
	"decision": "deny",
	"reason_code": "egress_violation",
	"rule": "destination-known",
	"rationale": ["policy-violation", "the destination's host or port is not in the data"],
} if {
	not destination_open
} else := {
	"decision": "deny",
	"reason_code": request.fault, # one of the authorizer's own
	"rule": "mcp-message",
	"rationale": ["policy-violation", "not an MCP message that every reader reads alike"],
} if {
	request.fault
} else := {
	"decision": "deny",
	"reason_code": "mcp_required",
	"rule": "mcp-required",
	"rationale": ["policy-violation", "the destination speaks MCP here, and this is none"],
} if {
	request.not_mcp
} else := {
	"decision": "deny",
	"reason_code": "egress_violation",
	"rule": "egress-destination",
	"rationale": ["policy-violation", "the tool may not go to this destination"],
} if {
	request.tool
	not request.tool_here
} else := {
	"decision": "deny",
	"reason_code": "tunnel_not_permitted",
	"rule": "tunnel-known",
	"rationale": ["policy-violation", "no tunnel is permitted here"],
} if {
	input.action.kind == "tunnel"
	not right_kind
} else := {
	"decision": "deny",
	"reason_code": "tool_unknown",
	"rule": "tool-known",
	"rationale": ["policy-violation", "this is no tool of this destination"],
} if {
	not right_kind
} else := {
	"decision": "deny",
	"reason_code": "tool_not_permitted",
	"rule": "agent-tool",
	"rationale": ["policy-violation", "the agent does not have this tool"],
} if {
	not request.grant
} else := {
	"decision": "deny",
	"reason_code": "argument_not_permitted",
	"rule": "tool-arguments",
	"rationale": array.concat(["policy-violation"], spelt(arguments.faults)),
} if {
	count(arguments.faults) > 0
} else := {
	"decision": "deny",
	"reason_code": "argument_not_permitted",
	"rule": "agent-limits",
	"rationale": array.concat(["policy-violation"], spelt(arguments.limit_faults(request.grant))),
} if {
	count(arguments.limit_faults(request.grant)) > 0
} else := {
	"decision": "deny",
	"reason_code": "delegation_missing",
	"rule": "delegation-required",
	"rationale": ["policy-violation", "the agent acts only for another one"],
} if {
	request.agent.delegated_only
	input.agent.chain == []
} else := {
	"decision": "deny",
	"reason_code": "delegation_not_permitted",
	"rule": "delegation-chain",
	"rationale": ["policy-violation", "an agent that it acts for may not do this itself"],
} if {
	not chain_permitted
} else := {
	"decision": "deny",
	"reason_code": "category_unknown",
	"rule": "matrix-known",
	"rationale": ["policy-violation", "the matrix does not have this category at this sensitivity"],
} if {
	not request.cell
} else := {
	"decision": "deny",
	"reason_code": "assurance_too_low",
	"rule": request.cell_name,
	"rationale": ["policy-violation", "the agent is not known surely enough for this"],
} if {
	not assured
} else := {
	"decision": "deny",
	"reason_code": "category_not_permitted",
	"rule": request.cell_name,
	"rationale": ["policy-violation", "the matrix permits this to nobody"],
} if {
	request.cell.decision == "deny"
} else := {
	"decision": "deny",
	"reason_code": "session_missing",
	"rule": request.cell_name,
	"rationale": ["policy-violation", "the matrix wants a token with a session"],
} if {
	demands.unidentified
} else := {
	"decision": "deny",
	"reason_code": "claim_missing",
	"rule": request.cell_name,
	"rationale": array.concat(["policy-violation"], spelt({["claim missing", name] | some name in demands.missing})),
} if {
	count(demands.missing) > 0
} else := {
	"decision": "approval_needed",
	"reason_code": "approval_required",
	"rule": request.cell_name,
	"rationale": ["approval-required", "the matrix wants a person's approval"],
	"obligations": demands.obligations,
} if {
	request.cell.decision == "approval_needed"
} else := {
	"decision": "allow",
	"reason_code": "permitted",
	"rule": request.cell_name,
	"rationale": ["policy-compliant"],
	"obligations": demands.obligations,
} if {
	request.cell.decision == "allow"
}

# METADATA
# description: The data that the decision rests on, by its path.
evidence contains concat("/", ["agents", input.agent.id]) if request.agent

evidence contains concat("/", ["agents", caller]) if {
	some caller in input.agent.chain
	agents[caller]
}

evidence contains concat("/", ["destinations", input.destination.host]) if request.destination

evidence contains concat("/", ["tools", request.tool_name]) if request.tool

evidence contains request.cell_name if request.cell

default classification := {}

classification := {
	"tool": request.tool_name,
	"category": request.tool.category,
	"sensitivity": request.tool.sensitivity,
}

destination_open if input.destination.port in request.destination.ports

right_kind if object.get(request.tool, "kind", "http") == input.action.kind

# Nobody gains a permission by being called, or by calling: each agent of the chain needs the tool itself and
# stays within its own limits.
chain_permitted if {
	is_array(input.agent.chain)
	every caller in input.agent.chain {
		own := agents[caller].tools[request.tool_name]
		count(arguments.limit_faults(own)) == 0
	}
}

assured if strength[input.agent.assurance] >= strength[request.cell.assurance]

strength := {"mtls": 3, "jwt": 2, "header": 1, "none": 0}

# METADATA
# description: Some of the faults as sentences; a record holds only so many.
spelt(faults) := array.slice([line | some fault in sort(faults); line := concat(": ", fault)], 0, 8)

# METADATA
# title: What the matrix demands beside permission
# description: |
#   Of the caller: a session, claims about itself. Of us: obligations, which are part of the allow that carries
#   them. A cell that does not say all of it has no obligations, and what has none is not allowed.
package aegis.demands

import data.aegis.request

# METADATA
# description: The subject has a session; which one must not make the verdict another.
unidentified if {
	request.cell.session == "identified"
	not input.session.identified == true
}

# METADATA
# description: The names of claims that the cell wants and the caller does not make.
missing contains name if {
	some name in request.cell.claims
	not name in claimed
}

claimed contains name if {
	is_array(input.context.claimed)
	some name in input.context.claimed
}

# METADATA
# description: |
#   `capture` is the most that may be kept of the payload, `retention_days` the least time that the record stays.
obligations := object.union_n([
	{"capture": request.cell.capture, "retention_days": request.cell.retention_days},
	durability,
	session_rules,
	tunnel,
]) if {
	request.cell.session in {"any", "identified"}
	is_array(object.get(request.cell, "claims", []))
}

durability := {"reply_after": "synced"} if {
	request.cell.durability == "synced"
} else := {} if {
	request.cell.durability == "bounded"
}

session_rules := {name: rule |
	some name, rule in request.cell
	name in {"session_labels", "session_refuses"}
}

default tunnel := {}

tunnel := {"tunnel": "opaque"} if input.action.kind == "tunnel"

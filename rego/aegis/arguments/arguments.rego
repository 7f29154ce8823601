# METADATA
# title: Whether arguments are what the data permits
# description: |
#   Faults as [name, keyword] pairs, for body and query. Names are those of the data, never the agent's. A
#   keyword that is not known here never holds, so a misspelt one denies.
package aegis.arguments

import data.aegis.request

# METADATA
# description: What the tool itself does not take.
faults := _body_faults | _query_faults

# METADATA
# description: What goes beyond an agent's own limits, given its grant of the tool.
limit_faults(grant) := set() if {
	not grant.arguments
} else := unmet(_body, grant.arguments)

_declared_body := object.get(request.tool, "arguments", {})

_declared_query := object.get(request.tool, "query", {})

_body_faults := missing({}, _declared_body) if {
	input.action.body == "none"
} else := {["body", "opaque"]} if {
	_declared_body != "opaque"
	not _read
} else := undeclared(_body, _declared_body) | unmet(_body, _declared_body) if {
	is_object(_declared_body)
} else := set()

_read if {
	input.action.body == "parsed"
	type_name(input.action.arguments)
}

# Servers differ on which value of a repeated parameter counts.
_query_faults := missing({}, _declared_query) if {
	input.parsed_query == {}
} else := {["query", "repeated"]} if {
	_declared_query != "any"
	not _once_each
} else := undeclared(_query, _declared_query) | unmet(_query, _declared_query) if {
	is_object(_declared_query)
} else := set()

_once_each if {
	is_object(input.parsed_query)
	every values in input.parsed_query {
		is_array(values)
		count(values) == 1
	}
}

_query := [[named([name]), value] |
	some name, values in input.parsed_query
	some value in values
]

_body := [[named(path), value] |
	walk(input.action.arguments, [path, value])
	leaf(path, value)
]

leaf(_, value) if not type_name(value) in {"object", "array"}

# An empty one is a value; an empty body is none.
leaf(path, value) if {
	value in [{}, []]
	[path, value] != [[], {}]
}

# METADATA
# description: The name of a path in the data's spelling, `items[].price`; `?` if the data cannot spell it.
named(path) := trim_prefix(concat("", parts), ".") if {
	parts := [part | some step in path; part := spelt(step)]
	count(parts) == count(path)
} else := "?"

spelt(step) := "[]" if is_number(step)

spelt(step) := concat("", [".", step]) if {
	is_string(step)
	regex.match(`^[A-Za-z0-9_-]+$`, step)
}

undeclared(found, declared) := {["argument", "undeclared"] |
	some [name, _] in found
	not declared[name]
}

unmet(found, constraints) := (violated | missing(names, constraints)) | excess if {
	violated := {[name, keyword] |
		some [name, value] in found
		some keyword, bound in constraints[name]
		not holds(keyword, bound, value)
	}
	names := {name | some [name, _] in found}
	excess := {[name, "max_count"] |
		some name, constraint in constraints
		most := constraint.max_count
		count([1 | some [name, _] in found]) > most
	}
}

missing(names, constraints) := {[name, "required"] |
	some name, constraint in constraints
	constraint.required
	not name in names
}

holds("type", type, value) if type == type_name(value)

holds("type", "integer", value) if {
	is_number(value)
	floor(value) == value
}

holds("minimum", bound, value) if {
	is_number(value)
	value >= bound
}

holds("maximum", bound, value) if {
	is_number(value)
	value <= bound
}

holds("enum", values, value) if value in values

holds("pattern", pattern, value) if {
	is_string(value)
	regex.match(pattern, value)
}

holds("max_length", bound, value) if {
	is_string(value)
	count(value) <= bound
}

# These two are about all values of a name together.
holds(keyword, _, _) if keyword in {"required", "max_count"}

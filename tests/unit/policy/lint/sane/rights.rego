package aegis

default decision := {"decision": "deny", "reason_code": "not_permitted"}

decision := {"decision": "allow", "reason_code": "role_permits", "rule": concat("/", ["role", role])} if {
	some role in input.agent.claims.roles
	some right in data.rights[role]
	right.method == input.action.method
	glob.match(right.path, ["/"], input.action.resource)
	right.host == input.destination.host
}

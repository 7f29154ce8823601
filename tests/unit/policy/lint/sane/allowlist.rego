package aegis

import data.agents

default decision := {"decision": "deny", "reason_code": "not_permitted", "rule": "default"}

decision := {"decision": "deny", "reason_code": "blocked", "rule": "blocklist"} if {
	blocked
} else := {"decision": "allow", "reason_code": "listed", "rule": "allowlist"} if {
	known
	input.destination.host in agents[input.agent.id].hosts
	input.destination.port == 443
}

blocked if strings.any_suffix_match(input.destination.host, {".onion", "pastebin.com"})

blocked if regex.match(`(^|\.)evil`, input.destination.host)

known if agents[input.agent.id]

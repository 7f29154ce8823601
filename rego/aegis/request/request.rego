# METADATA
# title: What is asked
# description: |
#   Who asks (agent), where it goes (destination) and what it would do (tool), found in the data. What is not
#   found is undefined. Nothing is decided here.
package aegis.request

import data.agents
import data.destinations
import data.matrix
import data.tools

agent := agents[input.agent.id]

# METADATA
# description: The agent's grant of the tool; an agent has no other permissions.
grant := agent.tools[tool_name]

destination := destinations[input.destination.host]

tool := tools[tool_name]

# METADATA
# description: What the destination calls it; else what it would be elsewhere, so that records can say it.
tool_name := tool_here if {
	tool_here
} else := name if {
	not endpoint
	input.action.tool == ""
	name := min({name |
		some other in destinations
		name := routed(other)
	})
}

# METADATA
# description: The tool at this destination. Envoy's route may name it, an agent cannot.
tool_here := called if {
	endpoint
} else := routed(destination) if {
	input.action.tool == ""
} else := input.action.tool if {
	input.action.tool in destination.named
}

# METADATA
# description: What the data says of the path where only MCP may be spoken; undefined elsewhere.
endpoint := destination.mcp[input.action.resource]

# METADATA
# description: |
#   The tool that an MCP message is about: one that the server has, or what the data calls the upkeep of a session
#   and other methods.
called := endpoint.tools[input.mcp.name] if {
	input.mcp.method == "tools/call"
} else := endpoint.methods[input.mcp.method] if {
	input.mcp.method != "tools/call"
} else := endpoint.session if {
	upkeep
}

upkeep if input.mcp.method in {
	"initialize", "ping", "server/discover", "logging/setLevel",
	"tools/list", "prompts/list", "resources/list", "resources/templates/list",
	"notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed",
}

# What the client answers to the server; GET for the server's own messages; DELETE of the session.
upkeep if input.mcp.message in {"response", "error", "stream", "end"}

# METADATA
# description: Why this is no MCP message that every reader reads alike; undefined where there is no such fault.
fault := input.mcp.fault if endpoint

# METADATA
# description: MCP is required here, and this is none.
not_mcp if {
	endpoint
	input.action.kind != "mcp"
}

# METADATA
# description: |
#   The tool of the path at a destination. Where two routes differ, `*` sorts before whatever a literal segment
#   can begin with, so that the greatest one is the most exact.
routed(at) := name if {
	name := at.routes[input.action.method][input.action.resource]
	not contains(input.action.resource, "*")
} else := at.routes[input.action.method][route] if {
	plain
	route := max([route |
		some route, _ in at.routes[input.action.method]
		glob.match(route, ["/"], input.action.resource)
	])
}

# METADATA
# description: |
#   Segments that a `*` may take: none is empty, and none has, escaped or not, a `;`, `?` or `#`, where some
#   servers cut it, nor a wildcard.
plain if {
	is_string(input.action.resource)
	regex.match(`^(/[A-Za-z0-9._~:@=+,%-]+)+$`, input.action.resource)
	not regex.match(`(?i)%(23|25|2A|3B|3F)`, input.action.resource)
}

# METADATA
# description: What the matrix demands for the tool.
cell := matrix[tool.category][tool.sensitivity]

cell_name := concat("/", ["matrix", tool.category, tool.sensitivity])

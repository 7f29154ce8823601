# METADATA
# title: The default library asked by opa-envoy-plugin
# description: |
#   What Aegis does before it asks, as far as the library reads it, in Rego: verifies the agent's token and names
#   action and destination. So both decide the same request by the same rules. `data.issuer` holds the issuer's
#   keys, name and audience.
package peer

default allow := {"allowed": false}

allow := {"allowed": true} if {
	verdict := data.aegis.decision with input as question
	verdict.decision == "allow"
}

request := input.attributes.request.http

claims := payload if {
	[valid, _, payload] := io.jwt.decode_verify(request.headers["x-aegis-agent-token"], {
		"cert": json.marshal(data.issuer.keys),
		"iss": data.issuer.issuer,
		"aud": data.issuer.audience,
	})
	valid
}

question := {
	"agent": {"id": claims.sub, "assurance": "jwt", "chain": [], "claims": claims},
	"action": {
		"kind": "http",
		"tool": "",
		"method": request.method,
		"resource": split(request.path, "?")[0],
		"body": "none",
	},
	"destination": {"host": request.host, "port": 80, "scheme": "http", "sni": ""},
	"parsed_path": input.parsed_path,
	"parsed_query": input.parsed_query,
	"session": {"id": "", "labels": []},
}

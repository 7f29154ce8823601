package envoy.authz

import input.attributes.request.http

# As the plugin's users write them: roles from basic authentication, paths, bodies, a token's claims.

default allow := {"allowed": false, "http_status": 403, "body": "Unauthorized Request", "headers": {"x-ext-auth-allow": "no"}}

allow := response if {
	some role in roles
	permits(role)
	response := {
		"allowed": true,
		"headers": {"x-ext-auth-allow": "yes", "x-user": user},
		"request_headers_to_remove": ["authorization"],
		"response_headers_to_add": {"x-foo": "bar"},
		"dynamic_metadata": {"role": role},
	}
}

permits("guest") if {
	http.method == "GET"
	input.parsed_path[0] == "people"
	not hidden
}

permits("admin") if {
	http.method in {"GET", "POST"}
	input.parsed_path == ["people"]
	not input.truncated_body
	lower(input.parsed_body.firstname) != lower(base64url.decode("YWRtaW4"))
}

hidden if input.parsed_query.internal[_] == "true"

hidden if "secret" in input.parsed_path

user := name if {
	[_, encoded] := split(http.headers.authorization, " ")
	[name, _] := split(base64.decode(encoded), ":")
}

roles := {"alice": {"guest"}, "bob": {"admin", "auditor"}}[user]

package envoy.authz

# Of the form of the plugin's quick start: a verified token, its life, and methods and paths by its role.

import input.attributes.request.http

default allow := false

allow if {
	in_time
	permitted
}

in_time if {
	token.valid
	now := time.now_ns() / 1000000000
	token.claims.nbf <= now
	now < token.claims.exp
}

permitted if {
	http.method == "GET"
	token.claims.role in {"guest", "admin"}
	glob.match("/people*", ["/"], http.path)
}

permitted if {
	http.method == "POST"
	token.claims.role == "admin"
	glob.match("/people", ["/"], http.path)
	lower(input.parsed_body.firstname) != base64url.decode(token.claims.sub)
}

token := {"valid": valid, "claims": claims} if {
	[_, encoded] := split(http.headers.authorization, " ")
	[valid, _, claims] := io.jwt.decode_verify(encoded, {"secret": "secret"})
}

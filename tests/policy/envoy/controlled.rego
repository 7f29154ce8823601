package envoy.authz

# Of the form of OPA's primer for Envoy, with additional controls: an object that is put together member by
# member, so that what is undefined is not in it. No clock: its verdicts are kept.

import input.attributes.request.http

allow["allowed"] := allowed

allow["headers"] := headers

allow["request_headers_to_remove"] := ["authorization", "x-internal"]

allow["response_headers_to_add"] := {"x-seen": http.method}

allow["http_status"] := status if not allowed

allow["body"] := body

allow["dynamic_metadata"] := {"role": role, "lang": object.get(input.parsed_query, "lang", ["none"])[0]}

default allowed := false

allowed if {
	verified
	not forbidden
	some pattern in patterns[role]
	glob.match(pattern, ["/"], concat("/", array.concat([""], input.parsed_path)))
}

patterns := {"guest": ["/people/*"], "admin": ["/people", "/people/*", "/accounts/*/limits"]}

forbidden if input.truncated_body

forbidden if "secret" in input.parsed_path

forbidden if input.parsed_query.internal[_] == "true"

forbidden if {
	some name, _ in http.headers
	startswith(name, "x-forbidden")
}

forbidden if not input.attributes.source.principal

default role := "nobody"

role := payload.role if verified

verified if io.jwt.verify_hs256(encoded, "secret")

encoded := trim_prefix(http.headers.authorization, "Bearer ")

payload := io.jwt.decode(encoded)[1]

status := 401 if not verified

status := 403 if verified

body := "who are you?" if status == 401

headers["x-validated-by"] := "policy"

headers["x-role"] := role

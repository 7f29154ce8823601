package envoy.authz

# Of the form of the plugin's gRPC example: whole paths and whole bodies.

default allow := false

allow if input.parsed_path = ["people"]

allow if {
	input.parsed_path = ["accounts", account, "limits"]
	input.attributes.contextExtensions.account == account
	input.parsed_body = {"firstname": _, "limits": [first, _]}
	first < 10
}

allow if {
	input.parsed_query == {"lang": ["en"], "id": ["1", "2"]}
	input.version.ext_authz == "v3"
}

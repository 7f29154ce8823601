package envoy.authz

allow := case[input.attributes.contextExtensions.case]

case["1 number"] := 1

case["1 string"] := "true"

case["1 null"] := null

case["1 array"] := [true]

case["1 empty object"] := {}

case["1 allowed missing"] := {"headers": {}}

case["1 allowed string"] := {"allowed": "true"}

case["1 allowed null"] := {"allowed": null}

case["1 allowed number"] := {"allowed": 1}

case["1 headers string"] := {"allowed": true, "headers": "x"}

case["1 headers null"] := {"allowed": true, "headers": null}

case["1 header number"] := {"allowed": true, "headers": {"x": 1}}

case["1 header null"] := {"allowed": true, "headers": {"x": null}}

case["1 header object"] := {"allowed": true, "headers": {"x": {}}}

case["1 header list of numbers"] := {"allowed": true, "headers": {"x": [1]}}

case["1 headers on a denial number"] := {"allowed": false, "headers": {"x": 1}}

case["1 metadata string"] := {"allowed": true, "dynamic_metadata": "x"}

case["1 metadata null"] := {"allowed": true, "dynamic_metadata": null}

case["1 metadata list"] := {"allowed": false, "dynamic_metadata": []}

case["1 body number"] := {"allowed": false, "body": 1}

case["1 body null"] := {"allowed": false, "body": null}

case["1 status string"] := {"allowed": false, "http_status": "401"}

case["1 status null"] := {"allowed": false, "http_status": null}

case["1 remove string"] := {"allowed": true, "request_headers_to_remove": "x"}

case["1 remove null"] := {"allowed": true, "request_headers_to_remove": null}

case["1 remove numbers"] := {"allowed": true, "request_headers_to_remove": [1]}

case["1 remove object"] := {"allowed": true, "request_headers_to_remove": {}}

case["1 add string"] := {"allowed": true, "response_headers_to_add": "x"}

case["1 query remove string"] := {"allowed": true, "query_parameters_to_remove": "x"}

case["1 query set list"] := {"allowed": true, "query_parameters_to_set": [{"a": "b"}]}

case["1 query set number"] := {"allowed": true, "query_parameters_to_set": {"a": 1}}

case["1 query set numbers"] := {"allowed": true, "query_parameters_to_set": {"a": [1]}}

case["1 query set null"] := {"allowed": true, "query_parameters_to_set": null}

case["4 conflict"] := conflicting

conflicting := true if input.version.ext_authz == "v3"

conflicting := false if input.version.encoding == "protojson"

case["4 division"] := {"allowed": 1 / zero == 1}

zero := 0 if input.version

case["4 not to_number"] := {"allowed": broken}

default broken := true

broken := false if to_number(input.version.ext_authz) == 1

case["5 other branch of an allow"] := {"allowed": true, "body": 1, "http_status": "x"}

case["5 other branch of a denial"] := {
	"allowed": false,
	"request_headers_to_remove": 1,
	"response_headers_to_add": 1,
	"query_parameters_to_remove": 1,
	"query_parameters_to_set": 1,
}

case["5 unknown member"] := {"allowed": true, "allow": false, "reason": null}

case["6 path in a header"] := {"allowed": true, "headers": {"x-path": input.parsed_path[0]}}

case["6 path in metadata"] := {"allowed": true, "dynamic_metadata": {input.parsed_path[0]: [input.parsed_path]}}

case["6 path in a denial"] := {"allowed": false, "body": input.parsed_path[0]}

case["6 path as JSON"] := {"allowed": true, "headers": {"x-path": json.marshal(input.parsed_path)}}

case["7 true"] := true

case["7 false"] := false if input.version

case["7 object true"] := {"allowed": true}

case["7 object false"] := {"allowed": false}

case["8 headers on an allow"] := {"allowed": true, "headers": {"x-a": "1"}, "response_headers_to_add": {"x-b": "2"}}

case["8 headers on a denial"] := {
	"allowed": false,
	"headers": {"x-a": "1"},
	"body": "no",
	"http_status": 401,
	"response_headers_to_add": {"x-b": "2"},
	"request_headers_to_remove": ["x-c"],
}

case["8 removals"] := {
	"allowed": true,
	"request_headers_to_remove": ["x-a", "X-B", "host", ":path"],
	"query_parameters_to_remove": ["q", ""],
	"query_parameters_to_set": {"a": "b", "c": ["d", "e"], "f": []},
}

case["10 blanks"] := {"allowed": true, "headers": {"x a": "v"}}

case["10 upper case"] := {"allowed": true, "headers": {"X-A": "V"}}

case["10 empty name"] := {"allowed": true, "headers": {"": "v"}}

case["10 line break"] := {"allowed": true, "headers": {"x-a": "b\r\nx-evil: 1"}}

case["10 line break in a name"] := {"allowed": true, "headers": {"x-a\r\nx-evil": "1"}}

case["10 line break to add"] := {"allowed": true, "response_headers_to_add": {"x-a": "b\nc"}}

case["10 line break on a denial"] := {"allowed": false, "headers": {"x-a": "b\r\nc"}, "http_status": 401}

case["10 pseudo header"] := {"allowed": true, "headers": {":path": "/other"}}

case["10 blanks around a value"] := {"allowed": true, "headers": {"x-a": " v\t"}}

case["10 tab and high bytes"] := {"allowed": true, "headers": {"x-a": "a\tb é"}}

case["10 no values"] := {"allowed": true, "headers": {"x-a": [], "x-b": ["1", "2"]}}

case["10 set"] := {"allowed": true, "headers": {"x-a": {"b", "a"}}, "request_headers_to_remove": {"y", "x"}}

case["10 list of objects"] := {"allowed": true, "headers": [{"x-a": "1"}, {"x-a": "2", "x-b": ["3"]}, {}]}

case["10 list of lists"] := {"allowed": true, "headers": [["x-a", "1"]]}

case["10 list of strings"] := {"allowed": true, "headers": ["x-a"]}

case["10 empty list"] := {"allowed": true, "headers": []}

case["10 query with blanks"] := {"allowed": true, "query_parameters_to_set": {"a b": "c d\r\n#é%20&x=y"}}

case["11 float"] := {"allowed": false, "http_status": 401.0}

case["11 exponent"] := {"allowed": false, "http_status": 4e2}

case["11 negative"] := {"allowed": false, "http_status": -401}

case["11 zero"] := {"allowed": false, "http_status": 0}

case["11 sum"] := {"allowed": false, "http_status": 400 + count(input.version)}

case[name] := {"allowed": false, "http_status": code} if {
	some code in numbers.range(99, 600)
	name := sprintf("11 code %d", [code])
}

case["12 metadata"] := {
	"allowed": true,
	"dynamic_metadata": {
		"decision_id": "mine",
		"number": 9007199254740993,
		"real": 1.5,
		"list": [1, "a", null, true, {"b": []}],
		"empty": {},
	},
}

case["12 metadata on a denial"] := {"allowed": false, "dynamic_metadata": {"a": "b", "decision_id": {"x": 1}}}

case["12 huge"] := {"allowed": true, "dynamic_metadata": {"n": 1e400}}

case["12 large"] := {"allowed": true, "dynamic_metadata": {"n": 123456789012345678901234567890}}

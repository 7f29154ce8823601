# METADATA
# title: How arguments are read and compared
package aegis.arguments_test

import data.aegis.arguments

faults_of(given, declared) := found if {
	found := arguments.faults with data.aegis.request.tool as {"arguments": declared}
		with input as {"action": {"body": "parsed", "arguments": given}, "parsed_query": {}}
}

one(constraint, value) := faults_of({"x": value}, {"x": constraint})

taken(constraint, values) if {
	every value in values {
		one(constraint, value) == set()
	}
}

refused(constraint, values, keyword) if {
	every value in values {
		["x", keyword] in one(constraint, value)
	}
}

test_types_are_exact if {
	some_of := {
		"string": ["", "1"],
		"integer": [0, -7, 1.0, 1e3],
		"boolean": [true, false],
		"null": [null],
		"object": [{}],
		"array": [[]],
	}
	every type, values in some_of {
		taken({"type": type}, values)
		others := object.remove(some_of, [type])
		every other in others {
			refused({"type": type}, other, "type")
		}
	}
	taken({"type": "number"}, [1, 1.5])
	refused({"type": "integer"}, [1.5], "type")
}

test_bounds_take_their_own_value_and_only_numbers if {
	between := {"minimum": 1, "maximum": 3}
	taken(between, [1, 2, 2.5, 3])
	refused(between, [0.99, -1, "2", null, false], "minimum")
	refused(between, [3.01, 1e300, "2", null, false], "maximum")
}

test_an_enum_takes_what_is_listed_by_type_and_case if {
	taken({"enum": ["EUR", 7]}, ["EUR", 7])
	refused({"enum": ["EUR", 7]}, ["eur", "EUR ", "7", null], "enum")
}

test_a_pattern_takes_the_whole_string if {
	taken({"pattern": "^[a-z]{1,3}$"}, ["a", "abc"])
	refused({"pattern": "^[a-z]{1,3}$"}, ["", "abcd", "A", "a\n", "a\nb", 1, null], "pattern")
}

test_a_length_counts_characters if {
	taken({"max_length": 3}, ["", "abc", "äöü"])
	refused({"max_length": 3}, ["abcd", 1, null, false], "max_length")
}

test_a_keyword_that_is_not_known_is_never_met if refused({"maximun": 3}, [1, "x"], "maximun")

test_what_is_required_has_to_be_there if {
	declared := {"x": {"type": "string", "required": true}, "y": {"type": "string", "required": false}}
	faults_of({"y": "a"}, declared) == {["x", "required"]}
	faults_of({"x": "a"}, declared) == set()
	faults_of({}, declared) == {["x", "required"]}
}

test_members_inside_of_others_are_named_by_their_path if {
	declared := {"card.number": {"type": "string"}, "lines[].cents": {"type": "integer"}, "tags[][]": {"type": "string"}}
	faults_of({"card": {"number": "1"}, "lines": [{"cents": 1}, {"cents": 2}], "tags": [["a"], ["b", "c"]]}, declared) == set()
	faults_of({"lines": [{"cents": 1}, {"cents": "2"}]}, declared) == {["lines[].cents", "type"]}
	every other in [
		{"card": "1"}, {"card": {}}, {"lines": []}, {"lines": {"cents": 1}}, {"lines": [1]}, {"tags": ["a"]}, {"card": {"number": {}}},
	] {
		count(faults_of(other, declared)) > 0
	}
}

test_a_name_that_only_looks_like_a_path_is_none if {
	declared := {"card.number": {"type": "string"}, "tags[]": {"type": "string"}, "?": {"type": "string"}}
	every other in [{"card.number": "1"}, {"tags[]": "a"}, {"card": {".number": "1"}}, {".card": {"number": "1"}}, {"": "a"}] {
		["argument", "undeclared"] in faults_of(other, object.remove(declared, ["?"]))
	}
}

test_a_body_that_is_no_object_is_named_by_its_elements if {
	faults_of(["a", "b"], {"[]": {"type": "string"}}) == set()
	faults_of([{"id": 1}], {"[].id": {"type": "integer"}}) == set()
	every other in [[], "a", 1, null, true] {
		["argument", "undeclared"] in faults_of(other, {"[]": {"type": "string"}})
	}
}

test_as_many_as_are_declared_and_no_more if {
	declared := {"tags[]": {"type": "string", "max_count": 2}}
	faults_of({"tags": ["a", "b"]}, declared) == set()
	faults_of({"tags": ["a", "b", "c"]}, declared) == {["tags[]", "max_count"]}
}

test_any_takes_whatever_was_read_and_opaque_also_what_was_not if {
	faults_of({"x": [1]}, "any") == set()
	every word, expected in {"any": {["body", "opaque"]}, "opaque": set()} {
		found := arguments.faults with data.aegis.request.tool as {"arguments": word}
			with input as {"action": {"body": "opaque"}, "parsed_query": {}}
		found == expected
	}
}

test_an_agents_limits_add_to_the_tools if {
	limits := {"arguments": {"x": {"maximum": 5, "required": true}}}
	every given, expected in {"5": set(), "6": {["x", "maximum"]}} {
		found := arguments.limit_faults(limits) with input.action.arguments as {"x": to_number(given), "y": 1}
		found == expected
	}
	arguments.limit_faults(limits) == {["x", "required"]} with input.action.arguments as {}
	arguments.limit_faults({}) == set() with input.action.arguments as {"x": 9}
}

package aegis

default decision := {"decision": "deny", "reason_code": "not_permitted"}

decision := {"decision": "deny", "reason_code": "body_not_read"} if {
	input.action.body != "parsed"
} else := {"decision": "approval_needed", "reason_code": "large_amount"} if {
	charge
	input.parsed_body.amount_cents > 100000
} else := {"decision": "allow", "reason_code": "small_amount"} if {
	charge
	input.parsed_body.amount_cents <= 100000
	input.parsed_body.currency in {"EUR", "USD"}
	not input.now.weekday in {"saturday", "sunday"}
}

charge if {
	input.destination.host == "payments.example"
	input.action.method == "POST"
	input.parsed_path == ["v1", "charges"]
}

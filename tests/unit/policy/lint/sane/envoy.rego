package aegis

import input.attributes.request.http as request

default decision := false

decision if {
	request.method in {"GET", "HEAD"}
	startswith(request.path, "/public/")
	input.agent.assurance in {"jwt", "mtls"}
	request.headers.accept == "application/json"
}

decision if {
	input.agent.claims.role == "admin"
	count(problems) == 0
}

problems contains "mode" if {
	object.get(input.attributes.contextExtensions, "mode", "strict") == "strict"
	request.method == "DELETE"
}

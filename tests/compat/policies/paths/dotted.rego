package paths["do.tted"]

allowed := {"allowed": true, "headers": {"x-from": "dotted"}} if input.version

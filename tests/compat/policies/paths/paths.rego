package paths

allowed := true

headers := {"x-from": "package"}

reach := {"deep": [false, {"allowed": true}]}

function(x) := x

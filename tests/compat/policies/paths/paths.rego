package paths

allowed if input.version

headers := {"x-from": "package"}

reach := {"deep": [false, {"allowed": true}]} if input.version

function(x) := x

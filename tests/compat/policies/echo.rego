package envoy.authz

# Everything that a policy is shown, as text, so that numbers keep theirs.
allow := {"allowed": true, "dynamic_metadata": {"input": json.marshal(input), "printed": sprintf("%v", [exp])}}

default exp := "none"

exp := input.attributes.metadataContext.filterMetadata.n.exp

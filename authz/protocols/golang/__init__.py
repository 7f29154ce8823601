"""Text as Go's standard library reads and writes it: what policies written for opa-envoy-plugin rely on."""

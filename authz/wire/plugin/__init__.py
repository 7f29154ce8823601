"""What of the wire differs for an entry point with `compat: opa-envoy-plugin`."""

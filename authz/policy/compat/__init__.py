"""How policy is asked and answers where it was written for opa-envoy-plugin (`policy.compat`)."""

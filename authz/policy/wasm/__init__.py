"""The embedded engine's half of policy: OPA's WebAssembly, made as strict and as orderly as OPA itself."""

"""Everything on one machine: what `aegis up`, the end-to-end tests and the benchmark start and play."""

"""Retention: what may go, what is held, and how it goes without breaking a proof (EVIDENCE sections 1, 9)."""

"""Finds what makes the policies of agents unsafe, in OPA's syntax tree: `run.lint` is the way in."""

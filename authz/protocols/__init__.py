"""What the agent speaks, as text and bytes: one reading of it, or a denial that names the reason."""

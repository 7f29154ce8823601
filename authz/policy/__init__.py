"""Policy: which version is active, what it is asked, what it answered, and for how long that holds."""

"""Shows checkpoints to others outside, who cannot be made to forget them: one module a kind."""

"""Who asks, and how strongly that is known: by signed tokens, against keys from a file."""

"""Policy versions that change under load, judged from the ledger on disk."""

"""What explains a decision and can be erased: SD-JWT disclosures beside the ledger (EVIDENCE section 5)."""

"""Whether no record of an interval is missing, over all logs of a deployment (EVIDENCE section 6)."""

"""Who keeps which key: making, rotating and revoking. Workers and followers take up what is changed here."""

"""Takes records to other systems: one exporter a destination, each with cursors of its own."""

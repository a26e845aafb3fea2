"""Sources to checked records to prepared arrays; no torch."""

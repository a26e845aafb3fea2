"""A run on Ray, whose course is told here; an import goes down from it to `trials`, `cluster`, `files` and `nodes`."""

"""A run, or its best model, in a form that other programs read: `formats/` has one format a file."""

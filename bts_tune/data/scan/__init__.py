"""What each slice of a dataset shows, found by opening it once, and which slices show the same."""

"""Which slice is in which split, which slices belong together, and what leaks from split to split."""

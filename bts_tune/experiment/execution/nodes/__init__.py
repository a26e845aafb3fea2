"""The nodes of a cluster: what each has, whether it can train, and how many trials fit on it."""

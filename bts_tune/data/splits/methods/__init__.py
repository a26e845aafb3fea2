"""One way to split a dataset a file."""

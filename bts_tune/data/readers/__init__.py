"""One layout or format of a dataset a file: a folder to checked records."""

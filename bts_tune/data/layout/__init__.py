"""Where the files of a dataset lie, and what the names of its folders and files say."""

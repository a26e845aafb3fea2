"""What is told of every event of a run: the record, the console."""

"""What is wrong with a dataset, and a sheet that shows its masks."""

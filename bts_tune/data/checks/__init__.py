"""What is looked at in every image of a dataset, and what is wrong with it."""

"""How sure a ranking is: intervals, comparisons image by image, rank tests, and the importance of hyperparameters."""

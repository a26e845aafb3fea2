"""Augmentation steps, one a file: its magnitudes, its form for one image and its form for a batch."""

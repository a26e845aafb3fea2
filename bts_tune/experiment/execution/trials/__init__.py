"""Trials on Ray Tune: their processes, how many share a GPU, and what becomes of those that fail."""

"""Trackers, one a file: each sends the epochs of a run to one place where people look at learning curves."""

"""The run folder and what follows from it: ranking, statistics, comparison; neither torch nor Ray."""

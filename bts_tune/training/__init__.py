"""One trial: the loop, the loader, the optimiser, checkpoints and prediction."""

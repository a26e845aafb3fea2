"""Results as pages and tables; neither torch nor Ray."""

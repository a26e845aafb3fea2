"""Ray itself: found or started, its environment, its signals, and when it is lost."""

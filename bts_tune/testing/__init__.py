"""Contract tests: what every implementation of a kind must keep, as classes that its own tests inherit."""

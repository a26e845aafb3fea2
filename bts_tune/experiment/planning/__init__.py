"""What a run is asked to do, what it needs, what it costs, and what has changed since it began."""

"""What a benchmark's runs found: compared by value within a run, and by rank alone between runs."""

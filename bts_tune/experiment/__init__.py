"""Runs on Ray Tune: planned, carried out and recorded."""

"""Datasets: read, checked, split and prepared as arrays; no torch."""

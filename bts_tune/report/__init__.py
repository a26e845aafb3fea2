"""Rows to ranking, figures, CSV and Markdown; no Ray, no torch."""

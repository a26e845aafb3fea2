"""Masks for images: by one network, by an ensemble, and the files that they are written to."""

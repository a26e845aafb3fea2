"""Decoders, one a file: architectures that turn an encoder's features into a mask."""

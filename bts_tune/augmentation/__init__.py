"""Random changes of training images: policies, and what carries them out."""

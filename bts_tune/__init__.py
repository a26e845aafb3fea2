"""Hyperparameter search and benchmark for 2-D brain-tumour MRI segmentation."""

__version__ = "0.1.0"

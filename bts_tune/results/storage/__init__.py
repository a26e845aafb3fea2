"""Runs and files that are kept elsewhere: in a bucket or in a folder."""

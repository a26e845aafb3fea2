"""Images and masks as arrays of one size, kept in a cache."""

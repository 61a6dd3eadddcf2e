"""A video that is read while it runs."""

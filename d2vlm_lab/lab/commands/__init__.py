"""Commands that are too small for a folder of their own."""

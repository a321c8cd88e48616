"""The finished cache, read."""

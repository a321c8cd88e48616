"""The adapter's mathematics: no data, no files."""

"""From the labels of a cache to batches."""

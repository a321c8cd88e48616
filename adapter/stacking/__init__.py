"""The adapter and a straight line, stacked: per query, weights that unseen images have chosen."""

"""The adapter and ridge regression, stacked: per query, weights that unseen images have chosen."""

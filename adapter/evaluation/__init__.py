"""Predictions, metrics, and the ranking of new photos."""

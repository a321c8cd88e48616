"""Trained runs for others: a model card, a folder anywhere, and ranking with what lies there."""

"""Pixels: files decoded, preprocessing as a value, measures of the original."""

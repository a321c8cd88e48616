"""What the adapter looked at: shares of patches in a score, and in the order of two photos."""

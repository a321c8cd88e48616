"""Learning from a person who picks the better of two photos, as they pick."""

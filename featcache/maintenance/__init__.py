"""What happens to a cache later: verify, repair, merge, relabel, export."""

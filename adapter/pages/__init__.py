"""Self-contained HTML: a run's report, and a ranked gallery of one's own photos."""

"""Extraction by several workers, on one machine or several: who makes which shard, and when."""

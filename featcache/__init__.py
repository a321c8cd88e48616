"""featcache: run a frozen CLIP backbone once and keep its features in HDF5 shards."""
